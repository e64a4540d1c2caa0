"""The database file: its connections, its transactions, and what makes both durable."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from exlab_store.backend import (
    BackendUnavailable,
    LocationError,
    NotSupported,
    StoreError,
    WriteOutcomeUnknown,
    under_mutex,
)
from exlab_store_sqlite.faults import primary_code, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exlab_store.backend import Version

__all__ = ["Database"]

_APPLICATION = 0x45584C42
_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (key TEXT NOT NULL PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS holder (
    key TEXT NOT NULL PRIMARY KEY, token INTEGER NOT NULL,
    id TEXT, host TEXT, user TEXT, pid INTEGER, since TEXT, purpose TEXT
);
"""

# Seconds that SQLite waits for a writer: no call waits for ever.
_PATIENCE = 30
_LOG_LIMIT = 4 << 20


class Database:
    """A database file, which several threads and processes use at once.

    A connection serves one thread at a time, and one that waits in a transaction must hold up nobody who reads; so
    each operation takes an idle connection, or opens one.

    Args:
        path: The file, an absolute path.
        create: The file may be missing; the first transaction makes it.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        self._create = create
        self._mutex = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._file: tuple[int, int] | None = None
        self._settled: tuple[int, int] | None = None

    def close(self) -> None:
        """Closes the connections; the last one of all processes moves the log into the database file."""
        for connection in under_mutex(self._mutex, self._end):
            connection.close()

    def _end(self) -> list[sqlite3.Connection]:
        self._closed = True
        return self._taken_idle()

    def _taken_idle(self) -> list[sqlite3.Connection]:
        idle, self._idle = self._idle, []
        return idle

    @contextmanager
    def reading(self, action: str) -> Iterator[sqlite3.Connection | None]:
        """A connection to read with, one statement for one state; None while there is no database yet.

        Args:
            action: What it is for, a verb with its object.
        """
        with self._connection(action, make=False) as connection:
            yield connection

    @contextmanager
    def writing(self, action: str, intended: Version | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes beside, durable when the block ends; an error takes it back.

        Args:
            action: What it is for, a verb with its object.
            intended: The version that a document has if the transaction happened.
        """
        with self._connection(action, make=True) as connection:
            if connection is None:
                raise BackendUnavailable("the database file has vanished")
            self._settle()
            # IMMEDIATE: what is checked before the write still holds when the write is made.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except StoreError:
                connection.execute("ROLLBACK")
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if primary_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
                    raise  # the record that ends the transaction is not in the log
                raise WriteOutcomeUnknown(f"the commit failed: {error}", intended=intended) from error
            self._shorten_log(connection)

    @contextmanager
    def _connection(self, action: str, *, make: bool) -> Iterator[sqlite3.Connection | None]:
        connection = None
        sound = False
        try:
            connection = self._take(make=make)
            yield connection
            sound = True
        except StoreError:
            sound = True
            raise
        except (sqlite3.Error, OSError) as error:
            raise translated(error, action, self.path) from error
        finally:
            if connection is not None:
                self._give_back(connection, sound=sound)

    def _take(self, *, make: bool) -> sqlite3.Connection | None:
        file = self._identity()
        stale: list[sqlite3.Connection] = []

        def take_idle() -> sqlite3.Connection | None:
            if file != self._file:
                # Somebody has deleted or restored the file: the old connections write where nobody reads.
                stale.extend(self._taken_idle())
                self._file = file
            return self._idle.pop() if self._idle else None

        connection = under_mutex(self._mutex, take_idle)
        for each in stale:
            each.close()
        if connection is not None:
            return connection
        if file is None:
            if not self._create:
                raise BackendUnavailable("the database file is gone", hint="Restore it, or mount what holds it.")
            if not make:
                return None
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        return self._open(make=make)

    def _give_back(self, connection: sqlite3.Connection, *, sound: bool) -> None:
        if not (sound and not connection.in_transaction and under_mutex(self._mutex, lambda: self._keep(connection))):
            connection.close()

    def _keep(self, connection: sqlite3.Connection) -> bool:
        if self._closed or self._file not in (None, self._identity()):
            return False
        self._idle.append(connection)
        return True

    def _open(self, *, make: bool) -> sqlite3.Connection | None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            mode = "rwc" if make and self._create else "rw"
            connection = sqlite3.connect(
                f"{Path(self.path).as_uri()}?mode={mode}",
                uri=True,
                timeout=_PATIENCE,
                isolation_level=None,  # BEGIN and COMMIT stand where they are meant
                check_same_thread=False,  # it serves one thread after the other
            )
            try:
                if self._prepare(connection, make=make):
                    return connection
            except sqlite3.OperationalError as error:
                connection.close()
                # SQLite waits for other writers, but not when two processes change a new file to WAL at once.
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except BaseException:
                connection.close()
                raise
            else:
                connection.close()
                return None

    def _prepare(self, connection: sqlite3.Connection, *, make: bool) -> bool:
        """Sets a connection up; says whether there is a database of ours in the file."""
        try:
            connection.execute("BEGIN")  # one state of the file, which another process may be setting up
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if primary_code(error) != sqlite3.SQLITE_NOTADB:
                raise
            raise LocationError("the file is not an SQLite database", hint="Check the path.") from error
        blank = empty and application == 0
        if blank and not make:
            return False
        if not blank and application != _APPLICATION:
            raise LocationError("the file is a database of another program", hint="Give a file of its own.")
        # With a write-ahead log, readers see the last commit and never wait for a writer.
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise NotSupported(
                "SQLite cannot keep a write-ahead log here", hint="Use a local disk: a network mount shares no memory."
            )
        # FULL: each commit waits until the log is on the disk. The next two matter on macOS only.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA fullfsync=ON")
        connection.execute("PRAGMA checkpoint_fullfsync=ON")
        # Instead of SQLite's own checkpoints; see _shorten_log.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_LIMIT}")
        if blank:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id={_APPLICATION}; COMMIT;")
        return True

    def _settle(self) -> None:
        """Makes the names of the file and of the folders above it durable, before the first write is acknowledged.

        SQLite synchronises the file's own folder when it makes the log, and nothing above it. Whoever made the
        folders may be another process that has not come to this point yet.
        """
        file = self._identity()
        if file == self._settled or os.name == "nt":
            return
        folder = os.path.dirname(os.path.realpath(self.path, strict=True))
        device = os.stat(folder).st_dev
        # Above a mount point nothing of ours can be new.
        while os.stat(folder).st_dev == device:
            try:
                descriptor = os.open(folder, os.O_RDONLY)
            except PermissionError:
                pass  # a folder that this account may not read is one in which it has made nothing
            else:
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            if folder == os.path.dirname(folder):
                break
            folder = os.path.dirname(folder)
        self._settled = file

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Moves a long log into the database file, while nobody can commit.

        SQLite before 3.51.3 (and 3.50.7, 3.44.6) may lose a commit that starts the log anew during a checkpoint:
        "The WAL-reset bug" in its documentation. The transaction that is open here keeps commits away.
        """
        try:
            if os.path.getsize(f"{self.path}-wal") <= _LOG_LIMIT:
                return
            connection.execute("BEGIN IMMEDIATE")
            with self._connection("shorten the log", make=True) as second:
                if second is not None:
                    second.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError, StoreError):
            pass  # the commit is durable in the log; the next writer tries again

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino
