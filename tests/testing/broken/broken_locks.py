"""Backends whose locks are each wrong in one way, and the test of the kit that must notice."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from flaws import flaw
from reference_files import FileBackend, FlockLock

from exlab_store import (
    HeldLock,
    LockLost,
    LockOwner,
    Snapshot,
    hookimpl,
)


class MutexLock(FlockLock):
    """A lock that is an object of this process."""

    def __init__(self, key: str, owner: LockOwner, mutex: threading.Lock) -> None:
        super().__init__(key, owner, -1)
        self.mutex = mutex
        self.held = True

    def ensure_held(self) -> None:
        if not self.held:
            raise LockLost("the lock was released")

    def release(self) -> None:
        if self.held:
            self.held = False
            self.mutex.release()


_mutexes_of_this_process: dict[str, threading.Lock] = defaultdict(threading.Lock)


class LocksWithMutexes(FileBackend):
    mutexes: dict[str, threading.Lock]

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        mutex = self.mutexes[self.path(key)]
        deadline = time.monotonic() + timeout
        while not mutex.acquire(blocking=False):
            self.pause(deadline, cancelled)
        return MutexLock(key, owner, mutex)


@flaw("lock-per-object", caught_by="test_a_held_lock_keeps_every_other_client_out")
class LocksPerObject(LocksWithMutexes):
    """The lock belongs to the client and not to the document."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.mutexes = defaultdict(threading.Lock)


@flaw("lock-ignores-processes", caught_by="test_a_lock_of_another_process_keeps_this_one_out")
class LocksOnlyThreads(LocksWithMutexes):
    """The lock is one of the process, and is claimed for the host."""

    mutexes = _mutexes_of_this_process


@flaw("one-lock-for-all", caught_by="test_locks_of_different_documents_do_not_touch_each_other")
class LocksTheStore(FileBackend):
    """Whoever writes one document keeps everybody from all of them."""

    def lock_name(self, key: str) -> str:
        return "store.lock"


@flaw("long-lock-names-cut", caught_by="test_long_names_that_begin_alike_have_two_locks")
class CutsLockNames(FileBackend):
    """Two documents with long names share a lock."""

    def lock_name(self, key: str) -> str:
        return f"{key.rpartition('/')[2][:200]}.lock"


class FileThatExists(FlockLock):
    """A lock that is held by whoever made the file."""

    def __init__(self, key: str, owner: LockOwner, path: str) -> None:
        super().__init__(key, owner, -1)
        self.path = path
        self.held = True

    def ensure_held(self) -> None:
        if not self.held:
            raise LockLost("the lock was released")

    def release(self) -> None:
        if self.held:
            self.held = False
            os.unlink(self.path)


@flaw("lock-outlives-its-holder", caught_by="test_the_lock_of_a_killed_process_is_free_as_claimed")
class LocksByExistence(FileBackend):
    """A killed holder leaves the file, and with it the lock, for ever."""

    kind: type[FileThatExists] = FileThatExists

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        path = self.path(self.lock_name(key))
        self.make_directory(os.path.dirname(path))
        deadline = time.monotonic() + timeout
        while True:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                self.pause(deadline, cancelled)
            else:
                return self.kind(key, owner, path)


class Anybodys(FileThatExists):
    def release(self) -> None:
        self.held = False
        with suppress(FileNotFoundError):
            os.unlink(self.path)


@flaw("released-by-another", caught_by="test_a_late_release_does_not_free_the_next_holders_lock")
class ReleasesWhatIsNotItsOwn(LocksByExistence):
    """A second release takes the lock from whoever has it now."""

    kind = Anybodys


@flaw("waits-for-ever", caught_by="test_a_wait_ends_when_its_time_is_over")
class WaitsForEver(FileBackend):
    """The timeout goes nowhere."""

    def pause(self, deadline: float, cancelled: Callable[[], bool]) -> None:
        time.sleep(0.001)


@flaw("ignores-cancellation", caught_by="test_a_cancelled_wait_ends_soon")
class IgnoresCancellation(FileBackend):
    """It asks whether the wait was cancelled, and waits on."""

    def pause(self, deadline: float, cancelled: Callable[[], bool]) -> None:
        cancelled()
        super().pause(deadline, lambda: False)


@flaw("one-try-takes-a-second", caught_by="test_a_timeout_of_zero_tries_once")
class TriesForASecond(FileBackend):
    """A timeout of zero means "a moment" to it."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        return super().lock(key, owner, max(timeout, 1.0), cancelled)


@flaw("readers-wait", caught_by="test_readers_and_writers_without_the_lock_do_not_wait_for_it")
class ReadersWait(FileBackend):
    """A reader waits for whoever has the document's lock, without end, and for itself too."""

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        with suppress(FileNotFoundError):
            descriptor = os.open(self.path(self.lock_name(key)), os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            finally:
                os.close(descriptor)
        return super().read_snapshot(key)


class ReleasesWithAnError(FlockLock):
    def release(self) -> None:
        held = self.descriptor >= 0
        super().release()
        if held:
            raise OSError("the owner's record could not be voided")


@flaw("failing-release", caught_by="test_a_release_raises_nothing_be_it_the_first_or_the_second")
class FailsToRelease(FileBackend):
    """The lock is free, and its holder is told of an error in what comes after."""

    lock_type = ReleasesWithAnError


class Portable(FlockLock):
    __reduce_ex__ = object.__reduce_ex__


@flaw("lock-in-a-parcel", caught_by="test_a_held_lock_refuses_to_be_pickled_and_copied")
class LocksCanBeSent(FileBackend):
    """In another process the lock fences nothing, and its release closes somebody else's descriptor."""

    lock_type = Portable


@flaw("lock-for-children", caught_by="test_the_lock_of_a_killed_process_is_free_though_a_program_that_it_began_goes_on")
class LendsItsLockToChildren(FileBackend):
    """A program that the holder started has the descriptor too, and holds the lock on."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        held = super().lock(key, owner, timeout, cancelled)
        assert isinstance(held, FlockLock)
        os.set_inheritable(held.descriptor, True)
        return held


class OneThreads(FlockLock):
    def __init__(self, key: str, owner: LockOwner, descriptor: int) -> None:
        super().__init__(key, owner, descriptor)
        self.thread = threading.get_ident()

    def release(self) -> None:
        if self.thread == threading.get_ident():
            super().release()


@flaw("lock-of-one-thread", caught_by="test_a_lock_may_be_used_and_released_by_another_thread")
class LocksForOneThread(FileBackend):
    """Another thread than the one that took the lock cannot give it back, and nobody is told."""

    lock_type = OneThreads


class RecordLock(FlockLock):
    """A POSIX record lock, which belongs to the process and goes with any descriptor of the file."""


@flaw("record-locks", caught_by="test_a_held_lock_keeps_every_other_client_out")
class LocksRecords(FileBackend):
    """Within the process everybody gets the lock."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        path = self.path(self.lock_name(key))
        self.make_directory(os.path.dirname(path))
        deadline = time.monotonic() + timeout
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                self.pause(deadline, cancelled)
            else:
                return RecordLock(key, owner, descriptor)


@flaw("lock-on-the-document", caught_by="test_the_lock_outlives_the_replacement_of_the_document")
class LocksTheDocument(FileBackend):
    """The lock is on the file that a write replaces, and the new file is free."""

    def lock_name(self, key: str) -> str:
        return key if os.path.exists(self.path(key)) else super().lock_name(key)
