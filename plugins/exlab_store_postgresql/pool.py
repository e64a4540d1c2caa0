"""The connections that the stores of this process share: one pool for each server, account and set of options.

A program that keeps its documents in 250 folders opens 250 stores. With a connection for each, it would take the
server all that it has (100, unless it is told otherwise). A lock has a connection to itself, as long as it is held or
waited for: the server frees a lock with the session that holds it.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from exlab_store.backend import BackendUnavailable, Latch, NotSupported, in_forked_child, under_mutex
from exlab_store_postgresql.connecting import connect
from exlab_store_postgresql.session import later

if TYPE_CHECKING:
    from collections.abc import Hashable

    from exlab_store_postgresql.options import PostgresqlOptions
    from exlab_store_postgresql.session import DatabaseSession

__all__ = ["SessionPool", "shared_pool"]

_KEPT: Final = 4  # connections that wait for the next operation
_FOR_WORK: Final = 2  # of max_connections: for what is done without a lock
_LOOK_AGAIN: Final = 0.05  # seconds after which one that waits looks, though nobody has told it of anything
_HASH_KEY: Final = secrets.token_bytes(32)


class _Loan:
    """A connection in use, or being made. One that a signal handler's exception has lost goes with the exception."""

    __slots__ = ("__weakref__",)


class SessionPool:
    """Connections to one server, as one account.

    Args:
        options: The server and the account.
    """

    def __init__(self, options: PostgresqlOptions) -> None:
        self.options = options
        self.tables: dict[str, object] = {}
        """What is known of the tables of this server, by the names of the tables."""
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self.reset()

    def reset(self) -> None:
        """Begins anew, in a forked child: the connections are the parent's."""
        self._mutex = threading.RLock()  # the garbage collector may make a store leave, at any moment
        self._idle: list[DatabaseSession] = []
        self._given_back = Latch()
        self._lent: weakref.WeakSet[object] = weakref.WeakSet()
        self._locking: weakref.WeakSet[object] = weakref.WeakSet()

    def join(self, user: object) -> None:
        """Counts a store among those that use the pool.

        Args:
            user: The store; it has to `leave`, or to be dropped.
        """
        under_mutex(self._mutex, lambda: self._users.add(user))

    def leave(self, user: object) -> None:
        """Ends the connections that nobody uses when the last store has left.

        Args:
            user: The store.
        """

        def without_user() -> list[DatabaseSession]:
            self._users.discard(user)
            return [] if self._users else self._taken_idle()

        for session in under_mutex(self._mutex, without_user):
            session.close()

    def _taken_idle(self) -> list[DatabaseSession]:
        idle, self._idle = self._idle, []
        return idle

    def borrow(self, deadline: float, *, for_lock: bool = False) -> DatabaseSession:
        """A connection that works, as far as anybody knows; it has to be given back.

        Args:
            deadline: By the monotonic clock.
            for_lock: It is to hold a lock.

        Raises:
            StoreError: The server cannot be reached, or all connections are in use until the deadline.
        """
        loan = _Loan()
        found: list[DatabaseSession] = []
        unusable: list[DatabaseSession] = []

        def lend() -> Latch | None:
            """Fills the two lists; gives what to wait for where all are in use."""
            if not self._users:
                raise NotSupported("the store is closed", hint="Open it again.")
            if not self._has_room(for_lock):
                return self._given_back
            self._lent.add(loan)
            if for_lock:
                self._locking.add(loan)
            stale = time.monotonic() - self.options.idle_timeout
            while self._idle and not found:
                session = self._idle.pop()
                (found if session.last_used > stale and session.usable else unusable).append(session)
            return None

        try:
            while (given_back := under_mutex(self._mutex, lend)) is not None:
                if (left := deadline - time.monotonic()) <= 0:
                    raise self._exhausted()  # noqa: TRY301  # nothing is lent
                given_back.wait(min(left, _LOOK_AGAIN))
            for each in unusable:
                each.close()
            session = found[0] if found else connect(self.options, min(deadline, later(self.options.connect_timeout)))
            session.loan = loan
        except BaseException:
            self._count_back(loan)
            raise
        return session

    def give_back(self, session: DatabaseSession) -> None:
        """Takes a connection back. One that has ended is only counted, and those that wait beside it are ended too.

        What has ended one may have ended them, in silence, and each would take an operation its whole patience.

        Args:
            session: What `borrow` has returned.
        """
        loan, session.loan = session.loan, None
        if loan is None or session.is_foreign:
            return
        sound = session.usable

        def keep() -> list[DatabaseSession]:
            if not sound:
                return [session, *self._taken_idle()]
            if not self._users or len(self._idle) >= _KEPT:
                return [session]
            session.last_used = time.monotonic()
            self._idle.append(session)
            return []

        for each in under_mutex(self._mutex, keep):
            each.close()
        self._count_back(loan)

    def _count_back(self, loan: object) -> None:
        def count() -> None:
            self._lent.discard(loan)
            self._locking.discard(loan)
            given_back, self._given_back = self._given_back, Latch()
            given_back.open()

        under_mutex(self._mutex, count)

    def _has_room(self, for_lock: bool) -> bool:
        if for_lock and len(self._locking) >= self.options.max_connections - _FOR_WORK:
            return False
        return len(self._lent) < self.options.max_connections

    def _exhausted(self) -> BackendUnavailable:
        locking = len(self._locking)
        return BackendUnavailable(
            f"all {self.options.max_connections} connections of this process are in use, {locking} for locks",
            exhausted=True,
            hint="Hold fewer locks at a time, or raise the option max_connections.",
        )


_mutex = threading.Lock()
_pools: weakref.WeakValueDictionary[Hashable, SessionPool] = weakref.WeakValueDictionary()


def shared_pool(options: PostgresqlOptions) -> SessionPool:
    """The pool for a server, an account and a set of options, whatever the table.

    The password tells pools apart, so that nobody is let in by the connection of an account whose password he does
    not know. The registry has a keyed hash of it.

    Args:
        options: Of the location.
    """
    password = options.password
    account = (
        None
        if password is None
        else hashlib.blake2b(password.reveal().encode("utf-8", "surrogatepass"), key=_HASH_KEY).digest()
    )
    key = replace(options, password=None, table="any", schema="any"), account

    def found_or_made() -> SessionPool:
        found = _pools.get(key)
        if found is None:
            found = _pools[key] = SessionPool(options)
        return found

    return under_mutex(_mutex, found_or_made)


def _forget_in_child() -> None:
    global _mutex
    _mutex = threading.Lock()
    for pool in list(_pools.values()):
        pool.reset()


in_forked_child(_forget_in_child)
