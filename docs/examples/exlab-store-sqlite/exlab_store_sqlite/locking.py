"""The lock of a document: a database file of its own on which SQLite holds an exclusive transaction.

SQLite has one lock for each database, and that ends with its process; a row in a table would outlive it. So each
document's lock is a file, which stays empty: the transaction is never committed. Beside it, the row of the document
in the table ``holder`` counts the locks that were ever taken. A write checks that count in its own transaction, so
that nobody writes after a successor has taken the lock, even when somebody has deleted the lock's file.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from exlab_store.backend import LockLost, LockOwner, LockTimeout, ProcessBound, mode_at
from exlab_store_sqlite.faults import primary_code, translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from exlab_store_sqlite.database import Database

__all__ = ["SqliteLock", "lock_file", "take_lock"]

_OWNER = "id, host, user, pid, since, purpose"


class SqliteLock(ProcessBound):
    """A held lock; `take_lock` makes one.

    Args:
        database: Where the locks are counted.
        place: The document's key in the database.
        key: The document's key in the store.
        owner: Who holds it.
        token: The count at which it was taken.
        connection: What holds the lock's file.
    """

    def __init__(
        self, database: Database, place: str, key: str, owner: LockOwner, token: int, connection: sqlite3.Connection
    ) -> None:
        self._database = database
        self._path = lock_file(database.path, place)
        self._place = place
        self._token = token
        self._connection: sqlite3.Connection | None = connection
        self.key = key
        self.owner = owner

    def ensure_held(self) -> None:
        """Raises `LockLost` once it was released, or open to others or taken by them.

        Within a transaction that writes, nobody else can change the count before the end of that transaction.
        """
        if self._connection is None:
            raise LockLost("the lock was released")
        if not mode_at(self._path) or _token(self._database, self._place) != self._token:
            raise LockLost(
                "somebody has deleted the file of the lock",
                hint="The files of locks stay where they are; find out what removes them.",
            )

    def release(self) -> None:
        """Releases the lock; a second call does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_file(database: str, place: str) -> str:
    """The path of the file that stands for the lock of a document.

    Args:
        database: The path of the database file.
        place: The document's key in the database.
    """
    # A digest: keys may be longer than names of files, and differ in case only.
    return os.path.join(f"{database}-locks", hashlib.sha256(place.encode()).hexdigest())


def take_lock(
    database: Database, place: str, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
) -> SqliteLock:
    """Takes the lock of a document.

    Args:
        database: The database of the document.
        place: The document's key in the database.
        key: The document's key in the store.
        owner: Who asks.
        timeout: Seconds to wait; 0 tries once.
        cancelled: Asked between two attempts.

    Raises:
        LockTimeout: Somebody else holds it, or the wait was cancelled.
    """
    path = lock_file(database.path, place)
    deadline = time.monotonic() + timeout
    while True:
        # Raises if the database is gone, before anything is made where it was.
        _token(database, place)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            connection = _connected(path)
        except (sqlite3.Error, OSError) as error:
            raise translated(error, "lock the document", path) from error
        try:
            if _await(connection, path, deadline, cancelled):
                return SqliteLock(database, place, key, owner, _count(database, place, owner), connection)
            connection.close()
        except sqlite3.Error as error:
            connection.close()
            raise translated(error, "lock the document", path) from error
        except BaseException:
            connection.close()
            raise
        if time.monotonic() >= deadline or cancelled():
            raise LockTimeout(f"waited {timeout:g} s for the lock", holder=_holder(database, place))


def _connected(path: str) -> sqlite3.Connection:
    # The lock may be released by another thread than the one that took it.
    return sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rwc", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )


def _await(connection: sqlite3.Connection, path: str, deadline: float, cancelled: Callable[[], bool]) -> bool:
    """Whether the lock was taken. False too where somebody has deleted its file: others would meet at a new one."""
    taken = _taken(connection)  # the first attempt opens the file
    file = _identity(path)
    while not taken and file is not None and _identity(path) == file and time.monotonic() < deadline:
        if cancelled():
            break
        time.sleep(max(0.0, min(deadline - time.monotonic(), random.uniform(0.001, 0.005))))
        taken = _taken(connection)
    return taken and file is not None and _identity(path) == file


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _taken(connection: sqlite3.Connection) -> bool:
    try:
        # The transaction is never committed, so it needs no journal on the disk.
        connection.execute("PRAGMA journal_mode=MEMORY")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if primary_code(error) == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def _count(database: Database, place: str, owner: LockOwner) -> int:
    with database.writing("lock the document") as connection:
        row = connection.execute("SELECT token FROM holder WHERE key = ?", (place,)).fetchone()
        token: int = 1 if row is None else row[0] + 1
        connection.execute(
            f"REPLACE INTO holder (key, token, {_OWNER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (place, token, owner.id, owner.host, owner.user, owner.pid, owner.since, owner.purpose),
        )
    return token


def _token(database: Database, place: str) -> int | None:
    with database.reading("check the lock") as connection:
        if connection is None:
            return None
        row = connection.execute("SELECT token FROM holder WHERE key = ?", (place,)).fetchone()
    return None if row is None else row[0]


def _holder(database: Database, place: str) -> LockOwner | None:
    """Who took the lock last: a hint, as the one who holds it may not have written its name yet."""
    with database.reading("see who holds the lock") as connection:
        if connection is None:
            return None
        row = connection.execute(f"SELECT {_OWNER} FROM holder WHERE key = ?", (place,)).fetchone()
    return None if row is None else LockOwner(*row)
