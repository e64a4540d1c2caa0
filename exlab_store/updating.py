"""What is done under a lock that the core takes by itself: an update, and a change on a condition.

Such a lock may be lost before anything was written: with its connection, say, or because the storage system freed it
although it refused the write. Nobody but the core knew of this lock. So the core takes a new one and begins again by
reading. A lock that the caller holds is another matter: only the caller knows what else was to happen under it.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from exlab_store.addresses import placed
from exlab_store.errors import DocumentExists, LockLost, PluginError, StoreError, VersionConflict, WriteOutcomeUnknown
from exlab_store.model import ABSENT, ANY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.hooks.retrying import RetryingHooks
    from exlab_store.location import Location
    from exlab_store.locks.requests import LockRequest
    from exlab_store.model import Expectation, HeldLock, LockOwner, Snapshot, Version

__all__ = ["Update", "delete_expected", "under_own_lock", "update", "write_expected"]

T = TypeVar("T")

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.5


class _LostBeforeAnythingWasWritten(Exception):
    """A lock that was lost. A `LockLost` that the caller's own function raises is not meant by it."""

    def __init__(self, error: LockLost) -> None:
        super().__init__()
        self.error = error


def under_own_lock(
    request: LockRequest,
    ask: Callable[..., tuple[HeldLock, Snapshot | None]],
    attempt: Callable[[HeldLock, Snapshot | None], T],
    location: Location | None,
) -> T:
    """Does something under a lock, and again under a new one where that was lost before anything was written.

    Args:
        request: The lock request; its turn is ended.
        ask: The hook that takes the lock, and reads the document where ``attempt`` wants it.
        attempt: What is done under the lock.
        location: Of the store.

    Returns:
        What the attempt returns.

    Raises:
        LockLost: Again and again, until the request's deadline; nothing was written.
        StoreError: As ``ask`` and ``attempt`` do.
    """
    pause = _FIRST_PAUSE
    lost: LockLost | None = None
    held: HeldLock | None = None
    try:
        while True:
            try:
                held, snapshot = request.ask(ask)
            except StoreError as error:
                raise placed(error, request.key, location) from error.__cause__ or lost
            try:
                result = attempt(held, snapshot)
            except _LostBeforeAnythingWasWritten as found:
                held.release()
                if lost is not None and not request.remaining:
                    raise placed(found.error, request.key, location) from found.error.__cause__
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
            request.end()
        raise


class Update:
    """An update of a document: what is stored, and what is to be.

    Args:
        key: The document's key.
        change: Gets the stored bytes or None, and returns the new ones.
        location: Of the store.
        swaps: ``expect=`` is not excluded by the lock, so that a write under the lock has to compare as well.
        deadline: Until when to call ``change`` again for a document that others change, by the monotonic clock.
    """

    __slots__ = ("_change", "_changed", "_deadline", "_key", "_location", "_swaps")

    def __init__(
        self,
        key: str,
        change: Callable[[bytes | None], bytes],
        location: Location | None,
        *,
        swaps: bool,
        deadline: float,
    ) -> None:
        self._key = key
        self._change = change
        self._location = location
        self._swaps = swaps
        self._deadline = deadline
        self._changed: tuple[bytes | None, bytes] | None = None

    def run(
        self,
        snapshot: Snapshot | None,
        read: Callable[[], Snapshot | None],
        write: Callable[[str, bytes, Expectation], Version],
    ) -> Version:
        """Changes the document, under a lock that is held.

        Args:
            snapshot: The document, read under the lock.
            read: Reads it again.
            write: Writes it under the lock.

        Raises:
            StoreError: As ``read`` and ``write`` do.
        """
        while True:
            current = None if snapshot is None else snapshot.data
            # A lock that was lost is no reason to call the change again, if the document has stayed the same.
            if self._changed is not None and self._changed[0] == current:
                new = self._changed[1]
            else:
                new = self._change(current)
                if snapshot is not None and new is current:
                    return snapshot.version
                if type(new) is not bytes:
                    raise TypeError(f"the change must return bytes, not {type(new).__name__}")
                self._changed = (current, new)
            expect: Expectation = ANY if not self._swaps else ABSENT if snapshot is None else snapshot.version
            try:
                return write(self._key, new, expect)
            except VersionConflict as error:
                if time.monotonic() >= self._deadline:
                    self._undo()
                    raise placed(error, self._key, self._location) from error.__cause__
            except StoreError as error:
                if not isinstance(error, (WriteOutcomeUnknown, PluginError)):
                    self._undo()
                raise placed(error, self._key, self._location) from error.__cause__
            snapshot = read()

    def _undo(self) -> None:
        """Lets the change take back what else it has done, such as a copy of what is not replaced after all."""
        undo = getattr(self._change, "undo", None)
        if undo is not None:
            undo()


def update(
    calls: RetryingHooks,
    request: LockRequest,
    work: Update,
    read: Callable[[], Snapshot | None],
    location: Location | None,
) -> Version:
    """Updates a document under a lock of its own.

    Args:
        calls: The backend.
        request: The lock request.
        work: The update.
        read: Reads the document again.
        location: Of the store.
    """

    def attempt(held: HeldLock, snapshot: Snapshot | None) -> Version:
        def write(key: str, data: bytes, expect: Expectation) -> Version:
            try:
                return calls.write_and_release(key, data, expect, held)
            except LockLost as error:
                raise _LostBeforeAnythingWasWritten(error) from error

        return work.run(snapshot, read, write)

    return under_own_lock(request, calls.lock_and_read, attempt, location)


def write_expected(
    calls: RetryingHooks, request: LockRequest, data: bytes, expect: Expectation, location: Location | None
) -> Version:
    """Writes a document on a condition, for a backend that keeps it under the lock.

    Args:
        calls: The backend.
        request: The lock request.
        data: The whole document.
        expect: `ABSENT`, or the version that the document must have.
        location: Of the store.

    Raises:
        VersionConflict: The document is at another version.
    """

    def attempt(held: HeldLock, snapshot: Snapshot | None) -> Version:
        try:
            if not calls.combines:
                return calls.atomic_write(request.key, data, expect, calls.fence(held))
            _compare(snapshot, expect)
            return calls.write_and_release(request.key, data, ANY, held)
        except LockLost as error:
            raise _LostBeforeAnythingWasWritten(error) from error

    return under_own_lock(request, _taking(calls), attempt, location)


def delete_expected(calls: RetryingHooks, request: LockRequest, expect: Expectation, location: Location | None) -> None:
    """Deletes a document on a condition, for a backend that keeps it under the lock.

    Args:
        calls: The backend.
        request: The lock request.
        expect: The version that the document must have.
        location: Of the store.

    Raises:
        VersionConflict: The document is at another version.
    """

    def attempt(held: HeldLock, snapshot: Snapshot | None) -> None:
        try:
            if calls.combines and snapshot is not None:  # a missing one is the backend's to tell
                _compare(snapshot, expect)
                calls.delete(request.key, ANY, calls.fence(held))
            else:
                calls.delete(request.key, expect, calls.fence(held))
        except LockLost as error:
            raise _LostBeforeAnythingWasWritten(error) from error

    under_own_lock(request, _taking(calls), attempt, location)


def _taking(calls: RetryingHooks) -> Callable[..., tuple[HeldLock, Snapshot | None]]:
    """Takes the lock; reads with it where that costs nothing, for otherwise the backend compares."""
    if calls.combines:
        return calls.lock_and_read

    # Not with *arguments: Python runs signal handlers after such a call, and what it returned would be lost.
    def lock(key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> tuple[HeldLock, None]:
        return calls.lock(key, owner, timeout, cancelled), None

    return lock


def _compare(snapshot: Snapshot | None, expect: Expectation) -> None:
    found = None if snapshot is None else snapshot.version
    if expect is ABSENT:
        if found is not None:
            raise DocumentExists(found=found)
    elif expect is not ANY and found != expect:
        raise VersionConflict(expected=expect, found=found)
