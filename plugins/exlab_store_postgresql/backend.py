"""The hooks of the PostgreSQL backend: each document is a row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.backend import (
    DocumentNotFound,
    Expectation,
    FolderItem,
    FolderNotEmpty,
    HeldLock,
    InvalidKey,
    Leftover,
    Location,
    LockOwner,
    LockTimeout,
    Snapshot,
    Stat,
    Version,
    hookimpl,
    is_key,
    lock_key,
    without_variables,
)
from exlab_store_postgresql.changing import DocumentChanges
from exlab_store_postgresql.database import DocumentDatabase
from exlab_store_postgresql.listening import ListeningSource, begin_to_listen
from exlab_store_postgresql.locking import AdvisoryLock, DocumentLocks
from exlab_store_postgresql.options import options_of
from exlab_store_postgresql.session import BoundStatement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PostgresqlBackend", "open_backend"]


@without_variables
def open_backend(location: Location, options: Mapping[str, object]) -> PostgresqlBackend:
    """Opens a table of documents, or a folder of it: connects, and asks the server what it is.

    Args:
        location: ``postgresql://[user[:password]@][host][:port]/database[/folder]``; the database must exist, and the
            table too, unless ``location.create`` is set.
        options: The fields of `PostgresqlOptions` but ``database``.

    Raises:
        LocationError: There is no database in it, or it does not exist; there is no table of documents; or an option is
            not known or wrong.
        AccessDenied: The server refuses the account.
        NotSupported: A connection pool stands before the server, its certificate is not accepted, or it is too old.
        BackendUnavailable: The server cannot be reached.
    """
    settings, folder = options_of(location, options)
    database = DocumentDatabase(settings, f"{folder}/" if folder else "", create=location.create)
    return PostgresqlBackend(database, location.ignores)


def _nothing(_: str) -> bool:
    return False


class PostgresqlBackend:
    """Documents as rows of a table.

    Args:
        database: The table, and a folder of it.
        ignores: Tells which names are ignored.
    """

    def __init__(self, database: DocumentDatabase, ignores: Callable[[str], bool] = _nothing) -> None:
        self._database = database
        self._table = database.table
        self._ignores = ignores
        database.pool.join(self)
        try:
            self.guarantees = database.open()
            self.unclaimed = database.unclaimed
        except BaseException:
            database.pool.leave(self)
            raise
        self._changes = DocumentChanges(database)
        self._locks = DocumentLocks(database)

    def close(self) -> None:
        """Releases the store's locks, and ends the connections if no other store uses them."""
        self._locks.close()
        self._database.pool.leave(self)

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """One statement, so one state of the table; it waits for no writer."""
        found = self._database.read(self._database.place(key))
        if found is None:
            raise DocumentNotFound("there is no such document")
        return found

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """One statement that compares and replaces; under a lock on the session that holds it."""
        return self._changes.write(key, data, expect, _ours(lock))

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """One statement that compares and deletes."""
        self._changes.delete(key, expect, _ours(lock))

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Takes an advisory lock on a session of its own."""
        return self._locks.take(key, owner, timeout, cancelled, read=False)[0]

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        """Sends both statements together; the second sees what was committed before the lock was granted."""
        return self._locks.take(key, owner, timeout, cancelled, read=True)

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """Sends both statements together, as two transactions: the lock is given back after the commit."""
        version = self._changes.write(key, data, expect, _ours(lock), release=True)
        lock.release()
        return version

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """One statement on the index."""
        start = self._database.place(prefix).rstrip("/")
        step = BoundStatement(self._table.list_below, (start,)) if start else BoundStatement(self._table.list_all)
        return [key for (place,) in self._database.rows("list the folder", step) if (key := self._key(place, prefix))]

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """One statement; the bytes stay on the server."""
        place = self._database.place(key)
        rows = self._database.rows("look at the document", BoundStatement(self._table.stat, (place,)))
        if rows:
            return Stat(rows[0][0], rows[0][1], Version(rows[0][2]))
        if self._is_folder(place):
            return Stat(0, kind="folder")
        raise DocumentNotFound("there is no such document")

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:  # noqa: ARG002  # sizes and times come along
        """One statement that groups the keys by their next segment."""
        start = self._database.place(key).rstrip("/")
        step = BoundStatement(self._table.entries_of_all, (1,))
        if start:
            step = BoundStatement(self._table.entries_below, (len(start) + 2, start))
        above = f"{key}/" if key else ""
        found: list[FolderItem] = []
        for name, is_document, is_folder, size, modified in self._database.rows("list the folder", step):
            if not self._ignores(name) and is_key(above + name):
                found += [FolderItem(above + name, "document", size, modified)] if is_document else []
                found += [FolderItem(above + name, "folder")] if is_folder else []
        return sorted(found, key=lambda item: item.key)

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """A folder goes with its last document; there is nothing to be done."""
        below = self._database.place(key)
        for held, holder in self._locks.holders(key):
            raise LockTimeout(f"the lock of {held!r} is held", holder=holder)
        left = self._database.rows("look at the folder", BoundStatement(self._table.list_below, (below,)))
        if left:
            start = len(self._database.folder)
            raise FolderNotEmpty("there are documents in the folder", left=sorted(place[start:] for (place,) in left))
        if self._database.rows("look at the document", BoundStatement(self._table.stat, (below,))):
            raise InvalidKey("the key names a document, not a folder")
        raise DocumentNotFound("there is no such folder")

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """The locks that are held; no write is ever unfinished."""
        return [
            Leftover(name=lock_key(key), kind="lock", size=0, held=True, owner=owner)
            for key, owner in self._locks.holders(prefix)
        ]

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """Refuses, as there are no temporary files."""
        raise InvalidKey(f"{name!r} is not a temporary file", hint="A database has none.")

    @hookimpl
    def watch_changes(self, prefix: str) -> ListeningSource:
        """Listens on a connection of its own; a trigger tells, whoever changes the table."""
        return begin_to_listen(self._database, prefix, self._ignores)

    def _key(self, place: str, prefix: str) -> str | None:
        """The key of a document that is listed; None for what is no key, or ignored below the prefix."""
        key = place[len(self._database.folder) :]
        below = key[len(prefix) + 1 :] if prefix else key
        return None if not is_key(key) or any(map(self._ignores, below.split("/"))) else key

    def _is_folder(self, place: str) -> bool:
        rows = self._database.rows("look at the folder", BoundStatement(self._table.is_folder, (place,)))
        return bool(rows and rows[0][0])


def _ours(lock: HeldLock | None) -> AdvisoryLock | None:
    """The lock as this backend made it: the core passes no other."""
    return lock if isinstance(lock, AdvisoryLock) else None
