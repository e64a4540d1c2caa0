"""Backends that take a lock and read, or write and release, in one call, each wrong in one way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from flaws import flaw
from reference_files import FileBackend, FlockLock

from exlab_store import (
    ANY,
    DocumentNotFound,
    Expectation,
    HeldLock,
    LockOwner,
    Snapshot,
    Version,
    hookimpl,
)


@flaw("reads-before-the-lock", caught_by="test_a_lock_that_was_waited_for_is_read_under_and_not_before")
class ReadsBeforeTheLock(FileBackend):
    """What the holder before wrote is overwritten with what was made of the document before it."""

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        try:
            snapshot: Snapshot | None = self.read_snapshot(key)
        except DocumentNotFound:
            snapshot = None
        return self.lock(key, owner, timeout, cancelled), snapshot


@flaw("forgets-the-release", caught_by="test_a_write_that_gives_the_lock_back_is_done_and_the_lock_is_free")
class ForgetsTheRelease(FileBackend):
    """It takes the lock for given back, and keeps it: nobody else would release it."""

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        version = self.atomic_write(key, data, expect, lock)
        assert isinstance(lock, FlockLock)
        self.kept = os.dup(lock.descriptor)
        lock.release()
        return version


@flaw("writes-after-the-loss", caught_by="test_a_write_that_gives_the_lock_back_is_refused_when_that_was_lost")
class WritesAfterTheLoss(FileBackend):
    """The lock is looked at by the single write, and forgotten by the combined one."""

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        version = self.atomic_write(key, data, expect, None)
        lock.release()
        return version


@flaw("releases-before-it-writes", caught_by="test_updates_by_processes_lose_nothing")
class ReleasesBeforeItWrites(FileBackend):
    """Another takes the lock and reads in between, and its update undoes this one."""

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        lock.ensure_held()
        lock.release()
        time.sleep(0.002)  # a server's round trip
        return self.atomic_write(key, data, ANY, None)


@flaw("locks-what-it-does-not-read", caught_by="test_a_lock_with_a_read_keeps_every_other_client_out")
class LocksForThreadsAlone(FileBackend):
    """The lock that comes with a read is another one."""

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        held, snapshot = super().lock_and_read(key, owner, timeout, cancelled)
        held.release()
        return FlockLock(key, owner, os.open(self.root, os.O_RDONLY)), snapshot


@flaw("lock-left-by-a-failed-read", caught_by="test_a_lock_with_a_read_that_fails_leaves_nothing_that_holds_it")
class LeavesTheLock(FileBackend):
    """The lock is held, the read fails, and nobody has the lock to release it."""

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        held = self.lock(key, owner, timeout, cancelled)
        assert isinstance(held, FlockLock)
        kept = os.dup(held.descriptor)  # not closed by the garbage collector
        try:
            snapshot: Snapshot | None = self.read_snapshot(key)
        except DocumentNotFound:
            snapshot = None
        os.close(kept)
        return held, snapshot
