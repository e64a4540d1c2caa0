"""Everybody who changes a document under its lock: read, change, write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from exlab_store import open_store
from exlab_store.benching.bare import BareFiles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OURS", "RAW", "updaters"]

OURS, RAW = "exlab_store", "flock, read, raw durable write"


def _ours(directory: str) -> Callable[[bytes], object]:
    store = open_store(directory)
    return lambda data: store.update("ours.json", lambda _: data)


def _raw(directory: str) -> Callable[[bytes], object]:
    files = BareFiles(directory)
    files.write("raw.json", bytes(2048))
    return lambda data: files.update("raw.json", data)


def _by_hand(directory: str, *, synced: bool) -> Callable[[bytes], object]:
    import filelock

    path = f"{directory}/{'synced' if synced else 'hand'}.json"
    lock = filelock.FileLock(f"{path}.lock")

    def update(data: bytes) -> None:
        with lock:
            try:
                with open(path, "rb") as file:
                    file.read()
            except FileNotFoundError:
                pass
            temporary = f"{path}.tmp.{os.getpid()}"
            with open(temporary, "wb") as file:
                file.write(data)
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if synced:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                os.fsync(descriptor)
                os.close(descriptor)

    return update


def updaters(directory: str) -> tuple[dict[str, Callable[[bytes], object]], list[str]]:
    """All that are installed, and a line for each that is not."""
    found: dict[str, Callable[[bytes], object]] = {OURS: _ours(directory), RAW: _raw(directory)}
    try:
        found["FileLock, temporary file, os.replace"] = _by_hand(directory, synced=False)
        found["FileLock, temporary file, os.replace, both fsyncs"] = _by_hand(directory, synced=True)
    except ImportError as error:
        return found, [f"FileLock by hand: left out, as {error.name} is not installed"]
    return found, []
