"""The hooks on an SQLite database."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from exlab_store.backend import (
    ANY,
    DocumentNotFound,
    Expectation,
    Guarantees,
    HeldLock,
    InvalidKey,
    Location,
    LocationError,
    LockOwner,
    Snapshot,
    Version,
    ensure_expected,
    hookimpl,
    is_key,
    mode_at,
    version_of,
)
from exlab_store_sqlite.database import Database
from exlab_store_sqlite.faults import translated
from exlab_store_sqlite.locking import take_lock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["SqliteBackend", "open_backend"]


def open_backend(location: Location, options: Mapping[str, object]) -> SqliteBackend:
    """Opens ``sqlite:///data/lab.db``, or ``sqlite:///data/lab.db/folder``.

    Args:
        location: The database is the first part of the path that is a file; where none is one yet, the first
            whose name ends in ``.db``. What follows is a folder of documents.
        options: None are known.

    Raises:
        LocationError: There is an option, a server or a user; or the file is missing, or is no such database.
        AccessDenied: The file may not be opened.
    """
    if options:
        raise LocationError(f"sqlite: has no option {', '.join(map(repr, options))}")
    if location.host or location.username is not None or location.port is not None:
        raise LocationError("an sqlite: URL names no server", hint="Write sqlite:///path/to/file.db.")
    path, folder = _divided(location.path)
    if folder and not is_key(folder):
        raise LocationError("what follows the database file is not a valid folder")
    exists = mode_at(path) != 0
    if not exists and not location.create:
        raise LocationError("there is no such database file", hint="Open it with create=True to have it made.")
    backend = SqliteBackend(Database(path, create=location.create), f"{folder}/" if folder else "")
    if exists:
        backend.check()
    return backend


def _divided(path: str) -> tuple[str, str]:
    """The path of the database file, and the folder in it."""
    named = None
    names = path.split("/")
    for count in range(2, len(names) + 1):
        part, rest = "/".join(names[:count]), "/".join(names[count:])
        try:
            mode = os.stat(part).st_mode
        except (FileNotFoundError, NotADirectoryError):
            mode = 0
        except OSError as error:
            raise translated(error, "find the database file", part) from error
        if stat.S_ISREG(mode):
            return part, rest
        if named is None and mode == 0 and part.endswith(".db"):
            named = part, rest
    if named is None:
        raise LocationError("no part of the path is a database file", hint="Name one that ends in .db.")
    return named


class SqliteBackend:
    """Documents as rows of a table.

    Args:
        database: The database.
        folder: What is put before each key: empty, or ends with ``/``.
    """

    guarantees = Guarantees(
        atomic_replace=True,
        # Windows has no way to synchronise the folder that holds the file.
        durable=os.name != "nt",
        conditional_write="native",
        # The log's index is shared memory, and locks on network mounts cannot be trusted: one host.
        lock_scope="host",
        lock_release="crash",
        fenced=True,
        lists=True,
        deletes=True,
        fresh="always",
    )

    def __init__(self, database: Database, folder: str = "") -> None:
        self._database = database
        self._folder = folder

    def close(self) -> None:
        """Closes the connections; locks that are held stay so until they are released."""
        self._database.close()

    def check(self) -> None:
        """Opens the file, to find out now whether that can be done.

        Raises:
            StoreError: It cannot.
        """
        with self._database.reading("open the database"):
            pass

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """One statement, so one state of the database."""
        place = self._folder + key
        with self._database.reading("read the document") as connection:
            if connection is None:
                raise DocumentNotFound("there is no such document")
            data = _stored(connection, place)
            if data is None:
                _refuse_folder(connection, place)
                raise DocumentNotFound("there is no such document")
        return Snapshot(data)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """Checks and replaces in one transaction."""
        place, version = self._folder + key, version_of(data)
        with self._database.writing("write the document", version) as connection:
            _check(connection, place, expect, lock)
            _refuse_folder(connection, place)
            _refuse_below_document(connection, place)
            connection.execute("REPLACE INTO document (key, data) VALUES (?, ?)", (place, data))
        return version

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Checks and deletes in one transaction."""
        place = self._folder + key
        with self._database.writing("delete the document") as connection:
            _check(connection, place, expect, lock)
            if not connection.execute("DELETE FROM document WHERE key = ?", (place,)).rowcount:
                _refuse_folder(connection, place)
                raise DocumentNotFound("there is no such document")

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """The keys that begin with the folder."""
        begin = f"{self._folder}{prefix}/" if prefix else self._folder
        with self._database.reading("list the folder") as connection:
            keys = [] if connection is None else list(_below(connection, begin))
        found = [key[len(self._folder) :] for key in keys]
        return [key for key in found if is_key(key)]

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Takes the lock's file; see ``exlab_store_sqlite.locking``."""
        return take_lock(self._database, self._folder + key, key, owner, timeout, cancelled)


def _stored(connection: sqlite3.Connection, place: str) -> bytes | None:
    row = connection.execute("SELECT data FROM document WHERE key = ?", (place,)).fetchone()
    return None if row is None else row[0]


def _below(connection: sqlite3.Connection, begin: str) -> Iterator[str]:
    if not begin:
        rows = connection.execute("SELECT key FROM document")
    else:
        # "0" is the character after "/".
        rows = connection.execute("SELECT key FROM document WHERE key > ? AND key < ?", (begin, begin[:-1] + "0"))
    return (key for (key,) in rows)


def _check(connection: sqlite3.Connection, place: str, expect: Expectation, lock: HeldLock | None) -> None:
    """Everything that can refuse a write; nobody else writes before this transaction ends."""
    if lock is not None:
        lock.ensure_held()
    if expect is ANY:
        return
    data = _stored(connection, place)
    ensure_expected(expect, None if data is None else version_of(data))


# A name is a document's or a folder's, as in a file system, so that a store can be moved to one.
def _refuse_folder(connection: sqlite3.Connection, place: str) -> None:
    if next(_below(connection, place + "/"), None) is not None:
        raise InvalidKey("the key names a folder, not a document", hint="Choose another key for the document.")


def _refuse_below_document(connection: sqlite3.Connection, place: str) -> None:
    folder = place.rpartition("/")[0]
    while folder:
        if connection.execute("SELECT 1 FROM document WHERE key = ?", (folder,)).fetchone():
            raise InvalidKey("a part of the key is a document", hint="Choose another key for the document.")
        folder = folder.rpartition("/")[0]
