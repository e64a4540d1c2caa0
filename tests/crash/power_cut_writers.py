"""Writers that lose power: right ones, and four that are wrong in one way each (the negative controls)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from exlab_store import open_store
from exlab_store.testing.crash import Ledger, stamp_of, stamped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDERS = ("a.json", "lab/b.json", "lab/rack/c.json", "lab/rack/shelf/box/d.json")


def life_of_documents(place: Path, ledger: Ledger) -> None:
    """First writes into new folders, rewrites, deletions and first writes again."""
    with open_store(place) as store:
        for number in range(1, 13):
            for name in [*FOLDERS, f"new/of/{number}/e.json"]:
                deletion = number % 4 == 0 and name in FOLDERS
                ledger.begin(name, number, present=not deletion)
                if deletion:
                    store.delete(name)
                elif number % 2:
                    store.atomic_write(name, stamped(name, number))
                else:
                    store.update(name, lambda _, name=name, number=number: stamped(name, number))
                ledger.acknowledge(name, number)


def one_of_two(place: Path, ledger: Ledger) -> None:
    """Updates documents that another process updates too, each time in folders that neither has made yet."""
    with open_store(place) as store:
        for folder in range(15):
            name = f"shared/{folder}/deep/down/f.json"
            for _ in range(2):
                noted = 0

                def change(current: bytes | None, name: str = name) -> bytes:
                    nonlocal noted
                    noted = 1 + (stamp_of(name, current) or 0 if current is not None else 0)
                    ledger.begin(name, noted)
                    return stamped(name, noted)

                store.update(name, change)
                ledger.acknowledge(name, noted)


def _plain(place: Path, ledger: Ledger, write: Callable[[Path, bytes], None]) -> None:
    for number in range(1, 9):
        for name in [*FOLDERS, f"new/of/{number}/e.json"]:
            data = stamped(name, number)
            ledger.begin(name, number)
            write(place / name, data)
            ledger.acknowledge(name, number)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _replace(path: Path, data: bytes, *, fsync_file: bool = True, fsync_directory: Path | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp.1")
    temporary.write_bytes(data)
    if fsync_file:
        _fsync(temporary)
    temporary.rename(path)
    if fsync_directory is not None:
        _fsync(fsync_directory)


def without_the_file_s_fsync(place: Path, ledger: Ledger) -> None:
    _plain(place, ledger, lambda path, data: _replace(path, data, fsync_file=False, fsync_directory=path.parent))


def without_the_directory_s_fsync(place: Path, ledger: Ledger) -> None:
    _plain(place, ledger, lambda path, data: _replace(path, data))


def without_the_new_directories_fsync(place: Path, ledger: Ledger) -> None:
    """Synchronises only the directory in which the topmost new one was made."""
    for number in range(1, 21):
        name = f"new/{number}/deep/down/f.json"
        data = stamped(name, number)
        ledger.begin(name, number)
        _replace(place / name, data, fsync_directory=place)
        ledger.acknowledge(name, number)


def in_place(place: Path, ledger: Ledger) -> None:
    def write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_SYNC, 0o666)
        # In pieces, as a document comes through a buffer.
        for start in range(0, len(data), 4096):
            os.pwrite(descriptor, data[start : start + 4096], start)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
        os.close(descriptor)
        _fsync(path.parent)

    _plain(place, ledger, write)


def that_fails(place: Path, ledger: Ledger) -> None:
    raise ArithmeticError
