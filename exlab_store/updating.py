"""Work under a lock that the core takes by itself: an update, and a change on a condition.

Such a lock may be lost before anything was written: with its connection, say, or because the storage system freed it
although it refused the write. Nobody but the core knew of this lock. So the core takes a new one and begins again by
reading. A lock that the caller holds is another matter: only the caller knows what else was to happen under it.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from exlab_store.errors import (
    DocumentNotFound,
    LockLost,
    NotSupported,
    PluginError,
    StoreError,
    VersionConflict,
    WriteOutcomeUnknown,
)
from exlab_store.expectations import ensure_expected
from exlab_store.model import ABSENT, ANY
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.retrying import RetryingHooks
    from exlab_store.location import Location
    from exlab_store.locks.requests import LockRequest
    from exlab_store.model import Expectation, HeldLock, LockOwner, Snapshot, Version

    _Taking: TypeAlias = Callable[[str, LockOwner, float, Callable[[], bool]], tuple[HeldLock, Snapshot | None]]

__all__ = ["Update", "attempt_to_delete", "attempt_to_write", "needs_own_lock", "taker", "under_own_lock"]

T = TypeVar("T")

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.5


class _LostBeforeAnythingWasWritten(Exception):
    """A lock that was lost. A `LockLost` that the caller's own function raises is not meant by it.

    Args:
        error: What says so.
        take_back: Takes back, under a new lock, what else was done; None for nothing.
    """

    def __init__(self, error: LockLost, take_back: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.error = error
        self.take_back = take_back


def under_own_lock(
    wait: Callable[[str, float, str], LockRequest],
    key: str,
    timeout: float,
    purpose: str,
    take: Callable[[str, LockOwner, float, Callable[[], bool]], tuple[HeldLock, Snapshot | None]],
    attempt: Callable[[HeldLock, Snapshot | None], T],
    location: Location | None,
) -> T:
    """Does something under a lock, and again under a new one where that was lost before anything was written.

    Args:
        wait: Waits for the turn, and gives the lock request.
        key: The document's key.
        timeout: Seconds to wait for the lock.
        purpose: What for, shown to others who wait.
        take: The hook that takes the lock, and reads the document where ``attempt`` wants it.
        attempt: What is done under the lock.
        location: Of the store.

    Returns:
        What the attempt returns.

    Raises:
        LockLost: Again and again, until the timeout; nothing was written.
        StoreError: As ``take`` and ``attempt`` do.
    """
    pause = _FIRST_PAUSE
    lost: LockLost | None = None
    request: LockRequest | None = None
    held: HeldLock | None = None
    try:
        while True:
            try:
                if request is None:
                    request = wait(key, timeout, purpose)
                held, snapshot = request.ask(take, again=lost is not None)
            except StoreError as error:
                raise error.at(key, location) from error.__cause__ or lost
            try:
                result = attempt(held, snapshot)
            except _LostBeforeAnythingWasWritten as found:
                held.release()
                if lost is not None and not request.remaining:
                    if found.take_back is not None:
                        try:
                            held, _ = request.ask(take, again=True)
                            found.take_back()
                        except StoreError as error:
                            if came_from_signal_handler(error):
                                raise
                            # Without the lock it stays: whoever has that now may rely on it.
                        held.release()
                    raise found.error.at(key, location) from found.error.__cause__
                lost = found.error
            else:
                held.release()
                request.end()
                return result
            time.sleep(min(request.remaining, random.uniform(0.5, 1.5) * pause))  # noqa: S311  # no secret
            pause = min(_LONGEST_PAUSE, 2 * pause)
    except BaseException:
        # Also where a signal handler's exception has interrupted a release, which is done to its end here.
        try:
            if held is not None:
                held.release()
        finally:
            if request is not None:
                request.end()
        raise


class Update(msgspec.Struct, eq=False):
    """An update of a document: what is stored, and what is to be.

    Attributes:
        key: The document's key.
        change: Gets the stored bytes or None, and returns the new ones.
        timeout: Seconds for which to call ``change`` again for a document that others change.
        read: Reads the document again.
        write: Writes it under the lock that it gets last.
        location: Of the store.
        swaps: ``expect=`` is not excluded by the lock, so that a write under the lock has to compare as well.
        own_lock: The lock is the core's own: where it was lost, the update begins again under a new one.
    """

    key: str
    change: Callable[[bytes | None], bytes]
    timeout: float
    read: Callable[[str], Snapshot | None]
    write: Callable[[str, bytes, Expectation, HeldLock], Version]
    location: Location | None
    swaps: bool
    own_lock: bool
    _deadline: float | None = None
    _changed: tuple[bytes | None, bytes] | None = None
    _folder_is_missing: bool = False
    _owner: LockOwner | None = None

    def ask_before_folder(self, owner: LockOwner) -> None:
        """Keeps a backend from making the document's folder before the change was asked whether there is to be one.

        Args:
            owner: Who asks for the lock: another one for a document that is locked within the change.

        Raises:
            DocumentNotFound: The change is to be asked first.
        """
        if owner == self._owner and self._deadline is None and not self._folder_is_missing:
            self._folder_is_missing = True
            raise DocumentNotFound("there is no such document, nor its folder")

    def taker(self, lock_and_read: _Taking) -> _Taking:
        """What takes the lock, and asks the change first where the document's folder is missing.

        Args:
            lock_and_read: The hook.
        """

        def take(
            key: str, owner: LockOwner, deadline: float, cancelled: Callable[[], bool]
        ) -> tuple[HeldLock, Snapshot | None]:
            self._owner = owner
            try:
                return lock_and_read(key, owner, deadline, cancelled)
            except DocumentNotFound:
                if not self._folder_is_missing:
                    raise
            began = time.monotonic()
            self._changed = None, self._new(None)  # under the lock, it is not called again
            return lock_and_read(key, owner, deadline + time.monotonic() - began, cancelled)

        return take

    def _new(self, current: bytes | None) -> bytes:
        new = self.change(current)
        if type(new) is not bytes:
            raise TypeError(f"the change must return bytes, not {type(new).__name__}")
        return new

    def run(self, held: HeldLock, snapshot: Snapshot | None) -> Version:
        """Changes the document.

        Args:
            held: Its lock.
            snapshot: The document, read under the lock.

        Raises:
            StoreError: As ``read`` and ``write`` do.
        """
        if self._deadline is None:
            self._deadline = time.monotonic() + self.timeout
        while True:
            current = None if snapshot is None else snapshot.data
            # A lock that was lost is no reason to call the change again, if the document has stayed the same.
            if self._changed is not None and self._changed[0] == current:
                new = self._changed[1]
            else:
                new = self._new(current)
                if snapshot is not None and new is current:
                    return snapshot.version
                self._changed = (current, new)
            expect: Expectation = ANY if not self.swaps else ABSENT if snapshot is None else snapshot.version
            try:
                return self.write(self.key, new, expect, held)
            except VersionConflict as error:
                if time.monotonic() >= self._deadline:
                    self._undo()
                    raise error.at(self.key, self.location) from error.__cause__
            except StoreError as error:
                if self.own_lock and isinstance(error, LockLost):
                    raise _LostBeforeAnythingWasWritten(error, self._after_lost_lock()) from error
                if not isinstance(error, (WriteOutcomeUnknown, PluginError)):
                    self._undo()
                raise error.at(self.key, self.location) from error.__cause__
            snapshot = self.read(self.key)

    def _after_lost_lock(self) -> Callable[[], None] | None:
        """What takes back, under a new lock, what else the change has done; None where that is nothing."""
        lock_lost = getattr(self.change, "lock_lost", None)
        return None if lock_lost is not None and not lock_lost() else getattr(self.change, "undo", None)

    def _undo(self) -> None:
        """Lets the change take back what else it has done, such as a copy of what is not replaced after all."""
        undo = getattr(self.change, "undo", None)
        if undo is not None:
            undo()


def needs_own_lock(expect: Expectation, guarantees: Guarantees, why_not: str | None = None) -> bool:
    """Whether a change on a condition needs a lock that the core takes, as the backend compares under a lock only.

    Args:
        expect: `ANY`, `ABSENT`, or the version that the document must have.
        guarantees: Of the backend.
        why_not: Why it does not claim ``conditional_write``; None where it does not say.

    Raises:
        NotSupported: The backend does not claim ``conditional_write``.
    """
    support = guarantees.conditional_write
    if support == "none" and expect is not ANY:
        raise NotSupported("the backend cannot write on a condition (expect)", hint=why_not)
    return support == "locked" and expect is not ANY


def attempt_to_write(
    calls: RetryingHooks, key: str, data: bytes, expect: Expectation
) -> Callable[[HeldLock, Snapshot | None], Version]:
    """What writes a document on a condition, for a backend that keeps it under the lock.

    Args:
        calls: The backend.
        key: The document's key.
        data: The whole document.
        expect: `ABSENT`, or the version that the document must have.

    Returns:
        An attempt for `under_own_lock`; it raises `VersionConflict` where the document is at another version.
    """

    def attempt(held: HeldLock, snapshot: Snapshot | None) -> Version:
        try:
            if not calls.combines:
                return calls.atomic_write(key, data, expect, calls.fence(held))
            ensure_expected(expect, None if snapshot is None else snapshot.version)
            return calls.write_and_release(key, data, ANY, held)
        except LockLost as error:
            raise _LostBeforeAnythingWasWritten(error) from error

    return attempt


def attempt_to_delete(
    calls: RetryingHooks, key: str, expect: Expectation
) -> Callable[[HeldLock, Snapshot | None], None]:
    """What deletes a document on a condition, for a backend that keeps it under the lock.

    Args:
        calls: The backend.
        key: The document's key.
        expect: The version that the document must have.

    Returns:
        An attempt for `under_own_lock`; it raises `VersionConflict` where the document is at another version.
    """

    def attempt(held: HeldLock, snapshot: Snapshot | None) -> None:
        try:
            if calls.combines and snapshot is not None:  # a missing one is the backend's to tell
                ensure_expected(expect, snapshot.version)
                calls.delete(key, ANY, calls.fence(held))
            else:
                calls.delete(key, expect, calls.fence(held))
        except LockLost as error:
            raise _LostBeforeAnythingWasWritten(error) from error

    return attempt


def taker(
    calls: RetryingHooks,
) -> Callable[[str, LockOwner, float, Callable[[], bool]], tuple[HeldLock, Snapshot | None]]:
    """The hook that takes the lock; it reads with it where that costs nothing, for otherwise the backend compares."""
    if calls.combines:
        return calls.lock_and_read

    # Not with *arguments: Python runs signal handlers after such a call, and what it returned would be lost.
    def lock(key: str, owner: LockOwner, deadline: float, cancelled: Callable[[], bool]) -> tuple[HeldLock, None]:
        return calls.lock(key, owner, deadline, cancelled), None

    return lock
