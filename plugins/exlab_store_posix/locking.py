"""The lock of a document: the file ``<name>.lock`` beside it, which stays there.

Two kernel locks are taken on one descriptor. The first is filelock's (flock on POSIX, a byte range on Windows), so
that ``filelock.FileLock`` in other programs is excluded. The second, on a local Linux file system, is an open file
description lock on byte 0: Samba maps its clients' byte-range locks to those, and flock does not exclude them. On
an SMB mount there is the second one alone, as flock's would be a lock of all bytes, which nobody else could read.
Both die with their holder. Waiting is polling, as flock cannot wait with a timeout.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from weakref import WeakSet

import msgspec
from filelock import lock_descriptor, unlock_descriptor

from exlab_store import (
    BackendUnavailable,
    LockLost,
    LockOwner,
    LockTimeout,
    ProcessBound,
    came_from_signal_handler,
)
from exlab_store.backend import in_forked_child, owner_in_record
from exlab_store_posix.descriptors import Descriptors, discard, discard_all, open_into
from exlab_store_posix.lock_file import (
    OPEN,
    OPEN_ALONE,
    SMALLEST_PAGE,
    guards_still,
    is_database,
    open_lock_file,
    refuse_what_is_no_lock_file,
    stands_at,
)
from exlab_store_posix.mounts import FileSystem
from exlab_store_posix.owner_record import RECORD_AT, VOID, flags_to_read, read_owner, read_record
from exlab_store_posix.system import calls

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


__all__ = ["FileLock", "is_locked_here", "take_lock"]

# Waiting: at first between 0.2 and 0.02 ms from one attempt (5 us) to the next, and the 0.05 ms that Linux adds to any
# sleep; then more slowly. Whoever has waited longer asks more often, so that the lock is rarely free and nobody is
# passed over again and again. A server pays a round trip for each.
_FIRST_POLL = 0.0002
_QUICKEST_POLL = 0.00002
_QUICKER_BY = 0.1  # seconds a second
_CALM_AFTER = 0.05
_CALM_POLL = 0.001
_PATIENT_AFTER = 1.0
_PATIENT_POLL = 0.005
_NETWORK_POLL = 0.02

# Python 3.11 takes 0.1 us to find a member by the name of its class.
_NFS: Final = FileSystem.NFS
_SMB_MOUNT: Final = FileSystem.SMB_MOUNT

_OPEN: Final = (OPEN,)
_OPEN_ALONE: Final = (OPEN_ALONE,)

if sys.platform == "linux":
    import fcntl

    # struct flock: l_type, l_whence, l_start, l_len, l_pid (fcntl(2)); byte 0 of the file.
    _TAKE_BYTE_0: Final = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    _FREE_BYTE_0: Final = struct.pack("@hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 1, 0)

    _record_lock = fcntl.fcntl
    _SET: Final = fcntl.F_OFD_SETLK
else:
    _TAKE_BYTE_0: Final = b""
    _FREE_BYTE_0: Final = b""
    _SET: Final = 0

    def _record_lock(*_: object) -> bytes:
        raise BackendUnavailable("this system has no open file description locks")


if sys.platform == "win32":

    def _pwrite(descriptor: int, data: bytes, offset: int) -> int:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)
else:
    _pwrite = os.pwrite


_encode = msgspec.json.Encoder().encode

_held: dict[FileLock, None] = {}
_waiting: WeakSet[_Patience] = WeakSet()


def _abandon_in_child() -> None:
    # A forked child shares its parent's locks through the descriptors, those too that are granted to other threads of
    # the parent later; it must not keep them alive.
    for patience in list(_waiting):
        discard(patience.descriptor)
    _waiting.clear()  # a child of the child must not close what has the number then
    for lock in list(_held):
        lock.abandon()
    _held.clear()


in_forked_child(_abandon_in_child)


Record: TypeAlias = Literal["none", "kept", "temporary"]
"""What becomes of the owner's record when the lock is released.

``none``: there is none, as the file is a database of another program. ``kept``: it is voided in place. ``temporary``:
it goes, as the file was empty, and to programs that keep a database under this name only an empty one is one.
"""


class FileLock(ProcessBound, msgspec.Struct, eq=False):
    """A held lock. `take_lock` makes one.

    Attributes:
        key: The document's key.
        owner: Who holds it.
        path: The lock file.
        descriptor: Of the lock file; closed by `release`, and -1 then.
        status: Of the lock file.
        kind: The file system that it is on.
        record: What becomes of the owner's record.
    """

    key: str
    owner: LockOwner
    path: str
    descriptor: int
    status: os.stat_result
    kind: FileSystem
    record: Record

    def ensure_held(self) -> None:
        """Checks that the lock was not released and that its file is still the one that others open.

        Raises:
            LockLost: It was released, or somebody deleted or replaced the lock file, which splits the lock.
        """
        if self.descriptor < 0:
            raise LockLost("the lock was released")
        try:
            # A server may give the number of a file that another client has deleted to a new one, while this is open.
            status = self.status if self.kind.is_of_this_machine else os.fstat(self.descriptor)
            still_there = stands_at(self.path, status)
            passed_on = self.kind.is_remote and self._was_passed_on()
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            raise LockLost(f"the lock file cannot be examined: {error.strerror}") from error
        if not still_there:
            raise LockLost(
                "somebody deleted, moved or replaced the lock file",
                hint="Lock files stay where they are; find out what removes them.",
            )
        if passed_on:
            self.record = "none"  # what stands there now is another holder's
            raise LockLost("the server gave the lock to another client")

    def _was_passed_on(self) -> bool:
        """Whether somebody else has had the lock since: each holder writes its record, and voids it.

        An empty file tells nothing: a program that waits with ``FileLock`` empties it.
        """
        if self.record == "none":
            return False
        record = read_record(self.path, self.kind)
        owner = owner_in_record(record)
        return record.startswith(VOID) or (owner is not None and owner.id != self.owner.id)

    def release(self) -> None:
        """Releases the lock; a second call does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor < 0:
            return
        try:
            _held.pop(self, None)
            # Closing alone would leave the locks to whoever has inherited the descriptor.
            if self.record == "kept":
                _pwrite(descriptor, VOID, RECORD_AT)
            elif self.record == "temporary":
                os.ftruncate(descriptor, 0)
            if self.kind.locks_byte_0:
                _record_lock(descriptor, _SET, _FREE_BYTE_0)
            if self.kind.locks_whole_file:
                unlock_descriptor(descriptor)
        except OSError as error:  # none of this can fail in a way that matters: the close ends the locks all the same
            if came_from_signal_handler(error):
                raise
        finally:
            try:
                os.close(descriptor)
            except OSError as error:  # Linux has closed it whatever close(2) returns
                if came_from_signal_handler(error):
                    raise

    def abandon(self) -> None:
        """Closes the descriptor in a forked child, without unlocking: the lock is the parent's."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked_here(path: str) -> bool:
    """Whether this process holds a lock.

    Args:
        path: The lock file.
    """
    return any(lock.path == path for lock in list(_held))


def take_lock(
    path: str,
    key: str,
    owner: LockOwner,
    timeout: float,
    cancelled: Callable[[], bool],
    kind_of: Callable[[int, str], FileSystem],
    expected: FileSystem,
) -> FileLock:
    """Takes the lock of a document.

    Args:
        path: The lock file; it is made if it is missing, its directory is not.
        key: The document's key.
        owner: Who asks; written into the lock file for those who wait.
        timeout: Seconds to wait; 0 tries once.
        cancelled: Asked between two polls.
        kind_of: The kind of file system of a device (``st_dev``) and a path on it. It is asked for the lock file
            itself: a share may have been mounted below, or over, the store's directory since that was opened.
        expected: The kind of file system that it is on most likely.

    Raises:
        LockTimeout: Somebody else holds it, or the wait was cancelled.
        OSError: The lock file cannot be opened or locked.
    """
    patience: _Patience | None = None
    flags = _OPEN_ALONE if expected is _SMB_MOUNT else _OPEN
    while True:
        descriptor = -1
        lock: FileLock | None = None
        try:
            try:
                (descriptor,) = map(calls.open, (path,), flags)  # in one step, see descriptors.py
                made = False
            except OSError as error:
                if came_from_signal_handler(error):
                    raise
                opened: list[int] = []
                try:
                    made = open_lock_file(path, opened, flags[0])
                finally:
                    descriptor = opened[0] if opened else -1
            # Nothing is remote here and the lock is free, most often: then one fstat after it answers all questions.
            taken = patience is None and expected.is_of_this_machine and _locked(descriptor, expected)
            status = os.fstat(descriptor)
            if status.st_nlink > 1 or not stat.S_ISREG(status.st_mode):
                refuse_what_is_no_lock_file(status)
            kind = kind_of(status.st_dev, path)
            again = taken and kind is not expected  # mounted below the store's directory
            expected = kind
            was_free = taken
            if (kind is _SMB_MOUNT) is not (flags is _OPEN_ALONE):
                flags = _OPEN if flags is _OPEN_ALONE else _OPEN_ALONE
                again = True
            while not (again or taken or (taken := _locked(descriptor, kind))):
                patience = patience or _Patience(path, timeout, cancelled, kind)
                patience.descriptor = descriptor
                patience.pause()
                again = kind is _SMB_MOUNT  # a close gives back what it was granted and has refused
            if not again and (
                status.st_nlink > 0
                if was_free
                else guards_still(path, descriptor, kind, status, waited=patience is not None)
            ):
                size = status.st_size
                record: Record = (
                    "kept" if made or 0 < size < SMALLEST_PAGE else _record_of(path, descriptor, size, kind)
                )
                if record != "none":
                    try:
                        _pwrite(descriptor, b"\n%b\n" % _encode(owner), 0)
                        if kind is _NFS:
                            # Sends it without waiting: others would not see it before the release.
                            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # type: ignore[attr-defined, unused-ignore]
                    except OSError as error:  # a hint: a full disk must not keep anybody from locking
                        if came_from_signal_handler(error):
                            raise
                        if kind.is_remote:  # it is not known what stands there, so nothing can be told by it
                            record = "none"
                lock = FileLock(key, owner, path, descriptor, status, kind, record)
                _held[lock] = None
                return lock
        except BaseException:
            if patience is not None:
                patience.descriptor = -1
            if lock is not None:
                lock.release()
            elif descriptor >= 0:
                os.close(descriptor)
            raise
        if patience is not None:
            patience.descriptor = -1
        # To be opened anew, or it was taken away while we waited and guards nothing any more. Closed here alone: where
        # a signal handler raises then, it must not be closed a second time, as its number may be another file's.
        os.close(descriptor)


def _record_of(path: str, descriptor: int, size: int, kind: FileSystem) -> Record:
    if _is_database(path, descriptor, size, kind):
        return "none"
    return "kept" if size else "temporary"


def _is_database(path: str, descriptor: int, size: int, kind: FileSystem) -> bool:
    if size == 0 or kind is not _SMB_MOUNT:
        return is_database(descriptor, size)
    opened = Descriptors()
    try:  # the lock file itself is open for writing alone
        return is_database(open_into(opened, path, flags_to_read(kind)), size)
    finally:
        discard_all(opened)


class _Patience:
    """The waiting for a lock that somebody else holds."""

    def __init__(self, path: str, timeout: float, cancelled: Callable[[], bool], kind: FileSystem) -> None:
        self.descriptor = -1
        """Of the lock file, while it is waited for: a forked child closes its copy."""
        self._path = path
        self._timeout = timeout
        self._cancelled = cancelled
        self._kind = kind
        self._began = time.monotonic()
        _waiting.add(self)

    def pause(self) -> None:
        """Waits for the next poll.

        Raises:
            LockTimeout: The time is over, or the wait was cancelled.
        """
        waited = time.monotonic() - self._began
        if waited >= self._timeout or self._cancelled():
            # Rounded: a moment of it may have passed in this process's own queue.
            holder = read_owner(self._path, self._kind)
            raise LockTimeout(f"waited {round(self._timeout, 2):g} s for the lock", holder=holder)
        poll = _NETWORK_POLL if self._kind.is_remote else _poll_after(waited)
        time.sleep(min(self._timeout - waited, poll * random.uniform(0.5, 1.5)))  # noqa: S311  # no secret


def _poll_after(waited: float) -> float:
    if waited < _CALM_AFTER:
        return max(_QUICKEST_POLL, _FIRST_POLL - waited * _QUICKER_BY)
    return _CALM_POLL if waited < _PATIENT_AFTER else _PATIENT_POLL


def _locked(descriptor: int, kind: FileSystem) -> bool:
    """Takes both locks or none, or the one that the file system has."""
    if kind.locks_whole_file and not lock_descriptor(descriptor, blocking=False):
        return False
    if not kind.locks_byte_0:
        return True
    try:
        _record_lock(descriptor, _SET, _TAKE_BYTE_0)
    except BaseException as error:
        if kind.locks_whole_file:
            unlock_descriptor(descriptor)
        refused = isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.EACCES)
        if refused and not came_from_signal_handler(error):
            return False
        raise
    return True
