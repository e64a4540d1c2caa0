"""Locks that are leases: an object beside the document, which its holder changes again and again.

S3 has no locks. It has the compare-and-swap of one object, and that is enough for a lease: who swaps the lock object
holds the lock, and gives a sign of life by swapping it again. It cannot fence *another* object. So an update writes on
the condition that the document is as it was read under the lock, and no update is lost, whoever held the lock.
"""

from __future__ import annotations

# weakref.finalize would import it for the first lock, in an operation, where a signal handler's exception may strike.
import atexit  # noqa: F401  # pyright: ignore[reportUnusedImport]
import hashlib
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store.backend import (
    ABSENT,
    BackendUnavailable,
    Lease,
    LockLost,
    LockOwner,
    LockTimeout,
    ProcessBound,
    Silence,
    StoreError,
    VersionConflict,
    WriteOutcomeUnknown,
    lock_key,
    under_mutex,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from exlab_store.backend import Expectation, Version
    from exlab_store_s3.requests import Found, Requests

__all__ = ["LeaseLock", "lock_name", "owner_in", "take_lock"]

_FIRST_POLL: Final = 0.01
_LONGEST_POLL: Final = 0.25
_QUESTION: Final = 0.05  # `cancelled` is asked at least every 50 ms
_LONGEST_NAME: Final = 1024  # [S3 User Guide, Object key names]
_LONGEST_LEASE: Final = 3600.0


class _Record(msgspec.Struct, frozen=True):
    """What stands in a lock object.

    Attributes:
        owner: Who holds the lock; None for nobody.
        lease: Seconds after which a holder that has gone silent has lost it.
        beat: Another number with each sign of life.
    """

    owner: LockOwner | None = None
    lease: float = 0.0
    beat: int = 0


def lock_name(name: str) -> str:
    """The name of a document's lock object: ``<name>.lock``, or a digest at the top where that would be too long.

    Args:
        name: The document's name in the bucket.
    """
    beside = lock_key(name)
    if len(beside.encode()) <= _LONGEST_NAME:
        return beside
    return f"{hashlib.sha256(name.encode()).hexdigest()}.lock"


def owner_in(data: bytes) -> LockOwner | None:
    """Who holds a lock, by its object; None for nobody, and for an object that is no such record.

    Args:
        data: The object's bytes.
    """
    record = _decoded(data)
    return None if record is None else record.owner


def _decoded(data: bytes) -> _Record | None:
    try:
        return msgspec.json.decode(data, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    except RecursionError as error:  # not taken for a free lock: it may be one, read by a program that calls deeply
        raise BackendUnavailable(
            "the record of the lock is nested too deeply to be read",
            exhausted=True,
            hint="Look at the lock object; delete it if it is no record of a lock.",
        ) from error


class _LockObject:
    """The lock object of one document, while this process holds the lock. It swaps it, one swap at a time."""

    def __init__(self, requests: Requests, name: str, owner: LockOwner, lease: float, version: Version) -> None:
        self._requests = requests
        self._name = name
        self._owner = owner
        self._lease = lease
        self._version = version
        self._beat = 0
        self._mutex = threading.Lock()
        self._is_ours = True

    def renew(self) -> None:
        """Gives a sign of life.

        Raises:
            LockLost: Somebody else has it.
            StoreError: It may be given again.
        """
        under_mutex(self._mutex, self._renew)

    def _renew(self) -> None:
        if self._is_ours:
            self._beat += 1
            self._swap(_Record(self._owner, self._lease, self._beat))

    def free(self) -> None:
        """Gives the lock back, unless somebody else has it by now."""
        under_mutex(self._mutex, self._free)

    def _free(self) -> None:
        if not self._is_ours:
            return
        self._is_ours = False
        try:
            self._swap(_Record())
        except LockLost:
            return

    def ensure_ours(self) -> None:
        """Asks the server who holds the lock.

        Raises:
            LockLost: Somebody else, or nobody.
            StoreError: It cannot be asked.
        """
        self._current()

    def _swap(self, record: _Record) -> None:
        data = msgspec.json.encode(record)
        for _ in range(2):
            try:
                self._version = self._requests.put(self._name, data, self._version, "keep the lock")
            except (VersionConflict, WriteOutcomeUnknown):
                # An earlier swap of ours may have happened after all, though its answer was lost.
                self._version = self._current().version
            else:
                return
        raise BackendUnavailable("the lock object cannot be changed", exhausted=True)

    def _current(self) -> Found:
        found = self._requests.get(self._name, "look at the lock")
        owner = None if found is None else owner_in(found.data)
        if found is None or owner is None or owner.id != self._owner.id:
            by = "" if owner is None else f" by {owner}"
            raise LockLost(f"the lock was taken over{by}")
        return found


class LeaseLock(ProcessBound):
    """A lock that is held while its lease lasts.

    Args:
        key: The document's key.
        owner: Who holds it.
        lock: The lock object.
        lease: What prolongs it.
    """

    def __init__(self, key: str, owner: LockOwner, lock: _LockObject, lease: Lease) -> None:
        self.key = key
        self.owner = owner
        self._lock = lock
        self._lease = lease
        weakref.finalize(self, lease.end).atexit = False

    def ensure_held(self) -> None:
        """Asks the server, as somebody may have taken the lock object away."""
        self._lease.ensure_lasting()
        self._lock.ensure_ours()

    def release(self) -> None:
        """Marks the lock object as free; a second call does nothing."""
        lasted = self._lease.lasts
        self._lease.end()
        if lasted:
            self._lock.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take_lock(
    requests: Requests,
    name: str,
    key: str,
    owner: LockOwner,
    lease: float,
    timeout: float,
    cancelled: Callable[[], bool],
) -> LeaseLock:
    """Takes the lock of a document.

    Args:
        requests: The bucket.
        name: The document's name in the bucket.
        key: The document's key in the store.
        owner: Who asks.
        lease: Seconds after which the lock is free if this process goes silent.
        timeout: Seconds to wait; 0 tries once.
        cancelled: Asked between two attempts.

    Raises:
        LockTimeout: Somebody else holds it, or the wait was cancelled.
        StoreError: The lock object cannot be read or changed.
    """
    lock, silence, poll = lock_name(name), Silence(), _FIRST_POLL
    deadline = time.monotonic() + timeout
    while True:
        found = requests.get(lock, "look at the lock")
        expect, holder = _free(found, silence, lease)
        if expect is not None:
            held = _swapped(requests, lock, key, owner, lease, expect)
            if held is not None:
                return held
        if time.monotonic() >= deadline or cancelled():
            raise LockTimeout(f"waited {timeout:g} s for the lock", holder=holder)
        if expect is None:
            wait = random.uniform(0.5, 1.0) * poll  # noqa: S311  # no secret
            _pause(min(deadline - time.monotonic(), wait), cancelled)
            poll = min(2 * poll, _LONGEST_POLL)


def _free(found: Found | None, silence: Silence, lease: float) -> tuple[Expectation | None, LockOwner | None]:
    """What to swap the lock object against if the lock may be taken, and who holds it."""
    if found is None:
        return ABSENT, None
    record = _decoded(found.data)
    if record is not None and record.owner is None:
        return found.version, None
    # What is no record may be one of a later version of this package: it has the time of ours.
    its = lease if record is None else min(max(record.lease, 0.0), _LONGEST_LEASE)
    owner = None if record is None else record.owner
    return (found.version if silence.outlasts(found.version, its) else None), owner


def _swapped(
    requests: Requests, name: str, key: str, owner: LockOwner, lease: float, expect: Expectation
) -> LeaseLock | None:
    """The lock, held; None where another client was faster."""
    began = Lease.now()
    data = msgspec.json.encode(_Record(owner, lease))
    try:
        version = requests.put(name, data, expect, "take the lock")
    except VersionConflict:
        return None
    except WriteOutcomeUnknown as error:
        # If it happens yet, nobody renews it.
        raise BackendUnavailable(f"the lock was not taken: {error.message}") from error
    lock = _LockObject(requests, name, owner, lease, version)
    try:
        return LeaseLock(key, owner, lock, Lease(lease, lock.renew, began))
    except BaseException:
        try:
            lock.free()
        except StoreError:
            pass  # its lease ends by itself
        raise


def _pause(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not cancelled():
        time.sleep(min(left, _QUESTION))
