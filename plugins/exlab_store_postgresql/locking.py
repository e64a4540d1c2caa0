"""The lock of a document: an advisory lock on a session of its own, through which the write under the lock goes.

The server frees it with the session, so it cannot outlive its holder; and a session that is gone cannot write, so a
holder that has lost it cannot either [PostgreSQL, "Explicit Locking"]. Who waits, waits in the server's queue.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from exlab_store.backend import (
    BackendUnavailable,
    LockLost,
    LockOwner,
    LockTimeout,
    NotSupported,
    ProcessBound,
    Snapshot,
    StoreError,
    owner_in_record,
    under_mutex,
)
from exlab_store_postgresql.outcome import end_session
from exlab_store_postgresql.session import BoundStatement, Statement, later
from exlab_store_postgresql.sqlstates import (
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    ServerRefusal,
    SessionLost,
    session_lost,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from exlab_store_postgresql.database import DocumentDatabase
    from exlab_store_postgresql.session import DatabaseSession, Row

__all__ = ["AdvisoryLock", "DocumentLocks"]

T = TypeVar("T")

_GRACE: Final = 2.0  # seconds that the answer may come after the server's own timeout
_JUST_NOW: Final = 0.1
_ALIVE: Final = Statement.of("select true")
_PATIENT: Final = Statement.of(
    "select set_config('lock_timeout', $1, false), set_config('statement_timeout', '0', false)"
)
_AS_BEFORE: Final = Statement.of(
    "select set_config('lock_timeout', '0', false), set_config('statement_timeout', $1, false)"
)
_FREE_ALL: Final = Statement.of("select pg_advisory_unlock_all()")


class AdvisoryLock(ProcessBound):
    """A held lock; `DocumentLocks` makes one.

    Args:
        database: The table.
        session: Holds the lock, and nothing else.
        number: Of the lock.
        key: The document's key in the store.
        owner: Who holds it.
    """

    def __init__(
        self, database: DocumentDatabase, session: DatabaseSession, number: int, key: str, owner: LockOwner
    ) -> None:
        self._database = database
        self._session: DatabaseSession | None = session
        self._turn = threading.RLock()
        self._process = os.getpid()
        self.number = number
        self.key = key
        self.owner = owner

    def use(self, deadline: float, work: Callable[[DatabaseSession], T]) -> T:
        """Does work on the session, which no other thread uses meanwhile.

        Args:
            deadline: By the monotonic clock; until then it waits for other threads.
            work: What to do.

        Raises:
            LockLost: The lock was released, belongs to another process, or its session has ended.
            BackendUnavailable: Another thread uses the session until the deadline.
        """
        if self._process != os.getpid():
            raise LockLost("the lock belongs to the process that took it")

        def in_turn() -> T:
            session = self._session
            if session is None:
                raise LockLost("the lock was released")
            if not session.usable:
                session.close()
                raise LockLost("the connection that held the lock was lost")
            return work(session)

        return under_mutex(self._turn, in_turn, max(0.0, deadline - later(0)), _in_use)

    def ensure_held(self) -> None:
        """Asks the session that holds the lock, unless it has answered within the last 0.1 s.

        Raises:
            LockLost: The session has ended, or the lock was released.
        """
        deadline = later(self._database.options.statement_timeout)

        def ask(session: DatabaseSession) -> None:
            if later(0) - session.heard < _JUST_NOW:  # and its end is seen without asking
                return
            session.run(BoundStatement(_ALIVE), deadline=deadline)

        try:
            self.use(deadline, ask)
        except SessionLost as lost:
            raise LockLost(f"the connection that held the lock was lost: {lost.reason}") from lost
        except ServerRefusal as refusal:
            raise self._database.refused(refusal, "check the lock") from refusal

    def note_released(self) -> None:
        """The server has freed the lock: the session goes back to the others."""

        def give_back() -> None:
            session, self._session = self._session, None
            if session is not None:
                self._database.pool.give_back(session)

        under_mutex(self._turn, give_back)

    def release(self) -> None:
        """Releases the lock; a second call does nothing, and so does one in a forked child."""
        if self._process != os.getpid():
            return
        under_mutex(self._turn, self._release)

    def _release(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        try:
            session.run(
                BoundStatement(self._database.table.unlock, (self.number,)),
                deadline=later(self._database.options.statement_timeout),
            )
        except SessionLost:
            # The server may not have heard of the end of the connection, whoever noticed it here.
            end_session(self._database, session, later(min(_GRACE, self._database.options.statement_timeout)))
        except BaseException:
            session.close()  # which frees the lock too
            raise
        finally:
            self._database.pool.give_back(session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class DocumentLocks:
    """Takes the locks of the documents of a table.

    Args:
        database: The table.
    """

    def __init__(self, database: DocumentDatabase) -> None:
        self._database = database
        self._table = database.table
        self._held: weakref.WeakSet[AdvisoryLock] = weakref.WeakSet()

    def close(self) -> None:
        """Releases the locks of this store that are held."""
        for lock in list(self._held):
            with suppress(StoreError, ServerRefusal):
                lock.release()

    def take(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool], *, read: bool
    ) -> tuple[AdvisoryLock, Snapshot | None]:
        """Takes a lock, and reads the document under it; see the hooks ``lock`` and ``lock_and_read``.

        Args:
            key: The document's key in the store.
            owner: Who asks.
            timeout: Seconds to wait for the lock; 0 tries once.
            cancelled: Asked every 50 ms while waiting.
            read: Read the document as well.
        """
        database = self._database
        if database.replica:
            raise NotSupported("a read replica (hot standby) has no locks of the site", hint="Use the primary.")
        until = later(timeout)
        deadline = later(database.options.statement_timeout)

        def attempt() -> tuple[AdvisoryLock, Snapshot | None]:
            session = database.pool.borrow(max(until, deadline), for_lock=True)
            held = False
            try:
                database.ensure_primary("lock the document", session)
                lock, snapshot = self._taken(session, key, owner, timeout, until, cancelled, read=read)
                held = True
            except SessionLost as lost:
                if lost.sent:  # the lock may have been granted
                    end_session(database, session, later(min(_GRACE, database.options.statement_timeout)))
                raise session_lost(lost) from lost
            except ServerRefusal:
                session.close()  # a lock that was granted before the refusal goes with it
                raise
            finally:
                if not held:
                    database.pool.give_back(session)
            self._held.add(lock)
            return lock, snapshot

        return database.with_table("lock the document", attempt, max(until, deadline))

    def _taken(
        self,
        session: DatabaseSession,
        key: str,
        owner: LockOwner,
        timeout: float,
        until: float,
        cancelled: Callable[[], bool],
        *,
        read: bool,
    ) -> tuple[AdvisoryLock, Snapshot | None]:
        table, options = self._table, self._database.options
        place = self._database.place(key)
        number = _number(f"{table.full_name}:{place}")
        asked = (number, place, msgspec.json.encode(owner).decode())
        # Read by a statement of its own: it sees what was committed before the lock was granted.
        reading = [BoundStatement(table.read, (place,))] if read else []
        deadline = later(options.statement_timeout)
        try:
            taken, *found = session.run(BoundStatement(table.try_lock, asked), *reading, deadline=deadline)
            if not taken:
                remaining = until - later(0)
                if remaining <= 0 or cancelled():
                    raise self._waited_in_vain(session, number, timeout)  # noqa: TRY301  # nothing is held
                patient = BoundStatement(_PATIENT, (str(max(1, int(1000 * remaining))),))
                as_before = BoundStatement(_AS_BEFORE, (str(max(1, int(900 * options.statement_timeout))),))
                try:
                    _, taken, *found = session.run(
                        patient, BoundStatement(table.await_lock, asked), *reading, as_before,
                        deadline=until + _GRACE, cancelled=cancelled,
                    )  # fmt: skip
                except ServerRefusal as refusal:
                    if refusal.sqlstate not in {LOCK_NOT_AVAILABLE, QUERY_CANCELED}:
                        raise
                    raise self._waited_in_vain(session, number, timeout) from refusal
        except (SessionLost, ServerRefusal, LockTimeout):
            raise
        except BaseException:
            session.close()  # an interruption may have come when the lock was granted
            raise
        session.next_xact = max(session.next_xact, taken[0][0] + 1)
        return AdvisoryLock(self._database, session, number, key, owner), _snapshot(found[0]) if read else None

    def _waited_in_vain(self, session: DatabaseSession, number: int, timeout: float) -> LockTimeout:
        """The error, with the holder; whatever this session may have been granted at the last moment is given back."""
        holder: LockOwner | None = None
        deadline = later(min(_GRACE, self._database.options.statement_timeout))
        try:
            rows = session.run(
                BoundStatement(_FREE_ALL), BoundStatement(self._table.holder, (number,)), deadline=deadline
            )[1]
            holder = owner_in_record(rows[0][1]) if rows else None
        except (SessionLost, ServerRefusal):
            session.close()
        return LockTimeout(f"waited {timeout:g} s for the lock", holder=holder)

    def holders(self, prefix: str) -> list[tuple[str, LockOwner | None]]:
        """The locks that are held below a folder: keys in the store, and who holds them.

        Args:
            prefix: The folder's key in the store, or empty text.
        """
        below = self._database.place(prefix).rstrip("/")
        rows = self._database.rows("look at the locks", BoundStatement(self._table.held_below, (below,)))
        start = len(self._database.folder)
        return [(row[0][start:], owner_in_record(row[1])) for row in rows]


def _in_use() -> BackendUnavailable:
    return BackendUnavailable("another thread uses the lock", hint="Try again.")


def _snapshot(rows: list[Row]) -> Snapshot | None:
    return Snapshot(rows[0][0], modified=rows[0][1]) if rows else None


def _number(name: str) -> int:
    """The number of a lock; two names with one number only wait for each other."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
