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

from exlab_store.backend import BackendUnavailable, NotSupported, in_forked_child
from exlab_store_postgresql.connecting import connect
from exlab_store_postgresql.session import later

if TYPE_CHECKING:
    from collections.abc import Hashable

    from exlab_store_postgresql.options import PostgresqlOptions
    from exlab_store_postgresql.session import DatabaseSession

__all__ = ["SessionPool", "shared_pool"]

_KEPT: Final = 4  # connections that wait for the next operation
_FOR_WORK: Final = 2  # of max_connections: for what is done without a lock
_HASH_KEY: Final = secrets.token_bytes(32)


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
        self._condition = threading.Condition()
        self._idle: list[DatabaseSession] = []
        self._lent = 0
        self._locking = 0

    def join(self, user: object) -> None:
        """Counts a store among those that use the pool.

        Args:
            user: The store; it has to `leave`, or to be dropped.
        """
        with self._condition:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """Ends the connections that nobody uses when the last store has left.

        Args:
            user: The store.
        """
        with self._condition:
            self._users.discard(user)
            idle = [] if self._users else self._idle
            if idle:
                self._idle = []
        for session in idle:
            session.close()

    def borrow(self, deadline: float, *, for_lock: bool = False) -> DatabaseSession:
        """A connection that works, as far as anybody knows; it has to be given back.

        Args:
            deadline: By the monotonic clock.
            for_lock: It is to hold a lock.

        Raises:
            StoreError: The server cannot be reached, or all connections are in use until the deadline.
        """
        found: DatabaseSession | None = None
        with self._condition:
            if not self._users:
                raise NotSupported("the store is closed", hint="Open it again.")
            if not self._condition.wait_for(lambda: self._has_room(for_lock), max(0.0, deadline - time.monotonic())):
                raise self._exhausted()
            self._lent += 1
            self._locking += for_lock
            stale = time.monotonic() - self.options.idle_timeout
            unusable: list[DatabaseSession] = []
            while self._idle and found is None:
                session = self._idle.pop()
                if session.last_used > stale and session.usable:
                    found = session
                else:
                    unusable.append(session)
        try:
            for session in unusable:
                session.close()
            return found or connect(self.options, min(deadline, later(self.options.connect_timeout)))
        except BaseException:
            self._count_back(for_lock=for_lock)
            raise

    def give_back(self, session: DatabaseSession, *, for_lock: bool = False) -> None:
        """Takes a connection back. One that has ended is only counted, and those that wait beside it are ended too.

        What has ended one may have ended them, in silence, and each would take an operation its whole patience.

        Args:
            session: What `borrow` has returned.
            for_lock: As it was borrowed.
        """
        if session.is_foreign:
            return
        sound = session.usable
        ended: list[DatabaseSession] = [] if sound else [session]
        with self._condition:
            if not sound:
                ended += self._idle
                self._idle = []
            elif self._users and len(self._idle) < _KEPT:
                session.last_used = time.monotonic()
                self._idle.append(session)
            else:
                ended.append(session)
        for each in ended:
            each.close()
        self._count_back(for_lock=for_lock)

    def _count_back(self, *, for_lock: bool) -> None:
        with self._condition:
            self._lent -= 1
            self._locking -= for_lock
            self._condition.notify_all()

    def _has_room(self, for_lock: bool) -> bool:
        if for_lock and self._locking >= self.options.max_connections - _FOR_WORK:
            return False
        return self._lent < self.options.max_connections

    def _exhausted(self) -> BackendUnavailable:
        return BackendUnavailable(
            f"all {self.options.max_connections} connections of this process are in use, {self._locking} for locks",
            exhausted=True,
            hint="Hold fewer locks at a time, or raise the option max_connections.",
        )


_lock = threading.Lock()
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
    with _lock:
        found = _pools.get(key)
        if found is None:
            found = _pools[key] = SessionPool(options)
        return found


def _forget_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for pool in list(_pools.values()):
        pool.reset()


in_forked_child(_forget_in_child)
