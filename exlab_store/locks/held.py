"""The lock that `Store.lock` returns, and the owner that is written into it."""

from __future__ import annotations

import itertools
import math
import os
import time
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, final

import msgspec

from exlab_store.encodable import encodable_text
from exlab_store.errors import LockLost, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.forked_child import in_forked_child
from exlab_store.hooks.backend_lock import BackendLock  # noqa: TC001  # msgspec looks at it
from exlab_store.location import Location  # noqa: TC001  # as above
from exlab_store.locks.turns import Turn  # noqa: TC001  # as above
from exlab_store.model import LockOwner, ProcessBound
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from exlab_store.model import HeldLock

__all__ = ["DEFAULT_LOCK_TIMEOUT", "StoreLock", "UnreleasedLock", "check_timeout", "new_owner"]

DEFAULT_LOCK_TIMEOUT = 30.0


def check_timeout(timeout: float) -> None:
    """Refuses a lock's timeout that is negative, infinite or not a number: no call waits for ever."""
    if not 0 <= timeout < math.inf:
        raise ValueError(f"timeout must be finite and not negative, not {timeout!r}")


class StoreLock(ProcessBound, msgspec.Struct, eq=False):
    """A lock of a store: a `HeldLock` that also holds the turn of this process. `Store.lock` makes one."""

    _issuer: object
    _location: Location | None
    _held: BackendLock
    _turn: Turn | None
    _asker: LockOwner

    @property
    def key(self) -> str:
        """The key of the locked document."""
        return self._held.key

    @property
    def owner(self) -> LockOwner:
        """Who holds it."""
        return self._held.owner

    @property
    def inner(self) -> HeldLock:
        """The backend's own lock."""
        return self._held.inner

    def guards(self, store: object, key: str) -> bool:
        """Whether this is the lock of that document of that store."""
        return self._issuer is store and self._held.key == key

    def ensure_held(self) -> None:
        """Checks that the lock is still held; it may take a question to the server, and as long as an operation.

        Raises:
            LockLost: It was released or lost.
        """
        try:
            if self._turn is None:
                raise LockLost("the lock was released")
            self._held.ensure_held()
        except StoreError as error:
            raise error.at(self.key, self._location) from error.__cause__

    def release(self) -> None:
        """Releases the lock. A second call does nothing.

        It is free when the storage system has heard of that: another client may find it held until then. A release
        that fails is logged (``exlab_store``) and raises nothing: what was done under the lock has happened.
        """
        try:
            turn = self._turn
            if turn is not None:
                self._held.release()
                turn.end(self._asker)
                self._turn = None
                self.__class__ = StoreLock  # pyright: ignore[reportAttributeAccessIssue]  # see UnreleasedLock
        except BaseException:
            self._finish()
            raise

    def _finish(self) -> None:
        """Does what is left of a release that has failed, or was interrupted by a signal handler's exception."""
        turn = self._turn
        if turn is None:
            return
        try:
            self._held.release()  # nothing, if it was released
        finally:
            turn.end(self._asker)
            self._turn = None
            self.__class__ = StoreLock  # pyright: ignore[reportAttributeAccessIssue]  # see UnreleasedLock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "released" if self._turn is None else "held"
        return f"StoreLock({self.key!r}, {state})"


@final
class UnreleasedLock(StoreLock, eq=False):
    """A `StoreLock` for as long as it is held. Where nothing refers to it any more, it warns and is released.

    A signal handler's exception may come between `lock` and the with statement, or before `__exit__` begins. What a
    handler raises within ``__del__`` is lost: so a lock that was released is of the class that has none.
    """

    def __del__(self) -> None:
        if self._turn is not None:
            try:
                self.release()
            finally:
                where = self.key if self._location is None else f"{self.key} in {self._location}"
                message = f"the lock of {where} was dropped while it was held; it is released"
                warnings.warn(message, ResourceWarning, source=self, stacklevel=2)


@lru_cache(maxsize=4)
def this_process(pid: int) -> tuple[str, str, int]:
    """Host, account and process: they do not change, and asking for them costs more than a lock."""
    import_whole("getpass", "platform", "pwd", "socket")  # the latter two are imported by the functions below
    import getpass
    import platform

    try:
        user = getpass.getuser()
    except (OSError, KeyError) as error:
        if came_from_signal_handler(error):
            raise
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return encodable_text(platform.node() or "unknown"), encodable_text(user), pid


@lru_cache(maxsize=2)
def _timestamp(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


class _Asking(NamedTuple):
    """What is the same in all locks that this process asks for, and what tells them apart."""

    host: str
    user: str
    pid: int
    numbers: Iterator[int]


_asking: _Asking | None = None


def _forget_in_child() -> None:
    global _asking
    _asking = None


in_forked_child(_forget_in_child)


_LONGEST_PURPOSE = 500  # characters; those who wait read 4,096 bytes of a lock's record


def new_owner(purpose: str) -> LockOwner:
    """Who asks for a lock now: this process, and what for."""
    global _asking
    asking = _asking
    if asking is None:
        # Counted from a random number on: random bytes for each lock would cost more than to write the lock file.
        first = int.from_bytes(os.urandom(8)) >> 1
        asking = _asking = _Asking(*this_process(os.getpid()), itertools.count(first))
    host, user, pid, numbers = asking
    if purpose:
        if len(purpose) > _LONGEST_PURPOSE:
            purpose = f"{purpose[:_LONGEST_PURPOSE]}..."
        if not purpose.isascii():
            purpose = encodable_text(purpose)
    return LockOwner(
        next(numbers).to_bytes(8).hex(), host, user, pid, _timestamp(time.time_ns() // 1_000_000_000), purpose
    )
