"""Everybody who keeps a document in a local directory: by hand, with a library, or with this package."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exlab_store import open_store
from exlab_store.benching.bare import BareFiles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OURS", "RAW", "Writer", "all_writers", "writer"]

OURS = "exlab_store"
RAW = "raw system calls"

_NAME = "document.json"


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who replaces one document as a whole and reads it.

    Attributes:
        name: What it is called in the tables.
        write: Replaces the document.
        read: Reads it.
    """

    name: str
    write: Callable[[bytes], object]
    read: Callable[[], bytes]


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _ours(directory: str) -> Writer:
    store = open_store(directory)
    return Writer(OURS, lambda data: store.atomic_write(_NAME, data), lambda: store.read_snapshot(_NAME).data)


def _raw(directory: str) -> Writer:
    files = BareFiles(directory)
    return Writer(RAW, lambda data: files.write(_NAME, data), lambda: files.read(_NAME))


def _in_place(directory: str) -> Writer:
    path = f"{directory}/{_NAME}"

    def write(data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)

    return Writer("open().write()", write, lambda: _read(path))


def _replaced(directory: str) -> Writer:
    """What programs do by hand: right for readers, and nothing that a power cut respects."""
    path = f"{directory}/{_NAME}"

    def write(data: bytes) -> None:
        temporary = f"{path}.tmp.{os.getpid()}"
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)

    return Writer("temporary file, os.replace", write, lambda: _read(path))


def _atomicwrites(directory: str) -> Writer:
    from atomicwrites import atomic_write

    path = f"{directory}/{_NAME}"

    def write(data: bytes) -> None:
        with atomic_write(path, mode="wb", overwrite=True) as file:
            file.write(data)

    return Writer("atomicwrites", write, lambda: _read(path))


def _fsspec(directory: str) -> Writer:
    import fsspec

    files = fsspec.filesystem("file")
    path = f"{directory}/{_NAME}"
    return Writer("fsspec pipe_file", lambda data: files.pipe_file(path, data), lambda: bytes(files.cat_file(path)))


def _fsspec_transaction(directory: str) -> Writer:
    import fsspec

    files = fsspec.filesystem("file")
    path = f"{directory}/{_NAME}"

    def write(data: bytes) -> None:
        with files.transaction, files.open(path, "wb") as file:
            file.write(data)

    return Writer("fsspec transaction", write, lambda: bytes(files.cat_file(path)))


def _universal_pathlib(directory: str) -> Writer:
    from upath import UPath

    path = UPath(f"file://{directory}/{_NAME}")
    return Writer("universal_pathlib", path.write_bytes, path.read_bytes)


def _obstore(directory: str) -> Writer:
    from obstore.store import LocalStore

    store = LocalStore(directory)
    return Writer("obstore LocalStore", lambda data: store.put(_NAME, data), lambda: bytes(store.get(_NAME).bytes()))


def _opendal(directory: str) -> Writer:
    import opendal

    os.makedirs(f"{directory}/unfinished", exist_ok=True)
    operator = opendal.Operator("fs", root=directory, atomic_write_dir=f"{directory}/unfinished")
    return Writer("opendal fs", lambda data: operator.write(_NAME, data), lambda: bytes(operator.read(_NAME)))


def _zarr(directory: str) -> Writer:
    import asyncio

    from zarr.core.buffer import cpu, default_buffer_prototype
    from zarr.storage import LocalStore

    store, loop = LocalStore(directory), asyncio.Runner()
    prototype = default_buffer_prototype()
    # Releases before zarr.abc.store.SupportsSyncStore have only the coroutines.
    synchronous = hasattr(store, "get_sync") and hasattr(store, "set_sync")

    def get() -> cpu.Buffer | None:
        return store.get_sync(_NAME, prototype=prototype) if synchronous else loop.run(store.get(_NAME, prototype))

    def read() -> bytes:
        found = get()
        if found is None:
            raise FileNotFoundError(_NAME)
        return bytes(found.to_bytes())

    def write(data: bytes) -> None:
        buffer = cpu.Buffer.from_bytes(data)
        if synchronous:
            store.set_sync(_NAME, buffer)
        else:
            loop.run(store.set(_NAME, buffer))

    return Writer("zarr LocalStore", write, read)


def _diskcache(directory: str) -> Writer:
    import diskcache

    cache = diskcache.Cache(directory)
    return Writer("diskcache", lambda data: cache.set(_NAME, data), lambda: cache[_NAME])


def _sqlite(directory: str) -> Writer:
    base = sqlite3.connect(f"{directory}/documents.sqlite", isolation_level=None, timeout=60)
    base.execute("pragma journal_mode = wal")
    base.execute("pragma synchronous = full")
    base.execute("create table if not exists documents (name text primary key, data blob)")

    def write(data: bytes) -> None:
        base.execute("insert or replace into documents values (?, ?)", (_NAME, data))

    def read() -> bytes:
        found = base.execute("select data from documents where name = ?", (_NAME,)).fetchone()
        if found is None:
            raise FileNotFoundError(_NAME)
        return bytes(found[0])

    return Writer("SQLite, WAL, full", write, read)


_ALL: dict[str, Callable[[str], Writer]] = {
    OURS: _ours,
    RAW: _raw,
    "atomicwrites": _atomicwrites,
    "SQLite, WAL, full": _sqlite,
    "temporary file, os.replace": _replaced,
    "open().write()": _in_place,
    "fsspec pipe_file": _fsspec,
    "fsspec transaction": _fsspec_transaction,
    "universal_pathlib": _universal_pathlib,
    "obstore LocalStore": _obstore,
    "opendal fs": _opendal,
    "zarr LocalStore": _zarr,
    "diskcache": _diskcache,
}


def writer(name: str, directory: str) -> Writer:
    """One of them, in a directory of its own below the one that is given."""
    own = os.path.join(directory, "".join(letter for letter in name if letter.isalnum()))
    os.makedirs(own, exist_ok=True)
    return _ALL[name](own)


def all_writers(directory: str) -> tuple[list[Writer], list[str]]:
    """All that are installed, and a line for each that is not."""
    found: list[Writer] = []
    missing: list[str] = []
    for name in _ALL:
        try:
            found.append(writer(name, directory))
        except ImportError as error:
            missing.append(f"{name}: left out, as {error.name or error} is not installed")
    return found, missing
