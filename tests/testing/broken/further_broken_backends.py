"""More backends that are each wrong in one way, and the test of the kit that must notice; see ``broken_backends``."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from reference_files import FileBackend, FlockLock

from exlab_store import (
    ABSENT,
    DocumentExists,
    DocumentNotFound,
    Expectation,
    HeldLock,
    LockOwner,
    Snapshot,
    Version,
    hookimpl,
    version_of,
)

BACKENDS: dict[str, type[FileBackend]] = {}
CAUGHT_BY: dict[str, str] = {}

B = TypeVar("B", bound=type[FileBackend])


def flaw(name: str, *, caught_by: str) -> Callable[[B], B]:
    def registered(cls: B) -> B:
        BACKENDS[name] = cls
        CAUGHT_BY[name] = caught_by
        return cls

    return registered


_SLOW = 0.25  # seconds that a slow storage takes for a write

_ROUND_TRIP = 0.001  # seconds to a server and back

# Waiting, and what fails late


@flaw("fence-at-the-start", caught_by="test_a_lock_that_is_lost_during_a_write_lets_nothing_be_overwritten")
class FencesAtTheStart(FileBackend):
    """The lock is looked at before a slow transfer, and is lost in the middle of it."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        if lock is not None:
            lock.ensure_held()
            if len(data) > 1000:
                time.sleep(_SLOW)
        return super().atomic_write(key, data, expect, None)


@flaw("one-try-takes-a-second", caught_by="test_a_timeout_of_zero_tries_once")
class TriesForASecond(FileBackend):
    """A timeout of zero means "a moment" to it."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        return super().lock(key, owner, max(timeout, 1.0), cancelled)


@flaw("no-sync-of-deletions", caught_by="test_a_durable_deletion_is_on_the_disk_when_it_is_acknowledged")
class DoesNotSyncDeletions(FileBackend):
    """A power cut brings the deleted document back."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        with self.committing():
            self.check(key, expect, lock)
            self.bytes_of(key)
            os.unlink(self.path(key))


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

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        held = super().lock(key, owner, timeout, cancelled)
        assert isinstance(held, FlockLock)
        return ReleasesWithAnError(key, owner, held.descriptor)


class Portable(FlockLock):
    __reduce_ex__ = object.__reduce_ex__


@flaw("lock-in-a-parcel", caught_by="test_a_held_lock_refuses_to_be_pickled_and_copied")
class LocksCanBeSent(FileBackend):
    """In another process the lock fences nothing, and its release closes somebody else's descriptor."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        held = super().lock(key, owner, timeout, cancelled)
        assert isinstance(held, FlockLock)
        return Portable(key, owner, held.descriptor)


# Fifteen kinds that were written down before any of them was tried


@flaw("first-page-of-a-listing", caught_by="test_a_listing_of_many_documents_has_them_all")
class ListsTheFirstPage(FileBackend):
    """A server gives a thousand names in one answer, and nobody asks for the next."""

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        return sorted(super().list_keys(prefix))[:1000]


@flaw("absent-in-place", caught_by="test_readers_see_no_torn_document_while_it_is_made")
class MakesDocumentsInPlace(FileBackend):
    """O_EXCL keeps a second maker out, and shows readers an empty document."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        if expect is not ABSENT:
            return super().atomic_write(key, data, expect, lock)
        if lock is not None:
            lock.ensure_held()
        self.make_directory(os.path.dirname(self.path(key)))
        try:
            descriptor = os.open(self.path(key), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            raise DocumentExists from None
        with open(descriptor, "wb") as file:
            time.sleep(_ROUND_TRIP)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.sync_directory(os.path.dirname(self.path(key)))
        return version_of(data)


@flaw("deletes-what-it-did-not-see", caught_by="test_a_deletion_on_a_condition_deletes_nothing_that_came_after")
class ChecksBeforeItDeletes(FileBackend):
    """Between the check and the deletion, somebody else writes, and loses what was written."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        self.check(key, expect, lock)
        self.bytes_of(key)
        time.sleep(_ROUND_TRIP)
        with self.committing(), suppress(FileNotFoundError):
            os.unlink(self.path(key))
        self.sync_directory(os.path.dirname(self.path(key)))


@flaw("version-of-what-is-there", caught_by="test_a_write_returns_the_version_of_its_own_bytes")
class ReadsTheVersionBack(FileBackend):
    """What it finds after the write may be the next writer's."""

    def version(self, key: str, data: bytes) -> Version:
        return version_of(self.bytes_of(key))


@flaw("version-from-a-checksum", caught_by="test_bytes_with_one_checksum_have_versions_of_their_own")
class VersionsByChecksum(FileBackend):
    """Two documents with one CRC-32 are the same to it."""

    def version(self, key: str, data: bytes) -> Version:
        return Version(f"{zlib.crc32(data):08x}")

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        data = self.bytes_of(key)
        return Snapshot(data, self.version(key, data))


@flaw("prunes-empty-folders", caught_by="test_writers_and_deleters_in_one_folder_do_not_disturb_each_other")
class PrunesFolders(FileBackend):
    """The folder goes with its last document, from under a writer who has just found it there."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        super().delete(key, expect, lock)
        with suppress(OSError):
            os.rmdir(os.path.dirname(self.path(key)))

    def make_directory(self, path: str) -> None:
        super().make_directory(path)
        time.sleep(_ROUND_TRIP)

    def sync_directory(self, path: str) -> None:
        with suppress(FileNotFoundError):
            super().sync_directory(path)


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

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        held = super().lock(key, owner, timeout, cancelled)
        assert isinstance(held, FlockLock)
        return OneThreads(key, owner, held.descriptor)


@flaw("no-sync-of-updates", caught_by="test_a_durable_update_is_on_the_disk_when_it_is_acknowledged")
class DoesNotSyncUpdates(FileBackend):
    """The single write is durable; the one that gives the lock back is not."""

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        class Hasty(type(self)):  # type: ignore[misc]
            def sync_file(self, descriptor: int) -> None:
                pass

            def sync_directory(self, path: str) -> None:
                pass

        version = Hasty(self.root).atomic_write(key, data, expect, lock)
        lock.release()
        return Version(version)


_leaked: list[int] = []


@flaw("descriptors-leak", caught_by="test_work_leaves_no_descriptor_open")
class LeaksDescriptors(FileBackend):
    """Each read leaves a file open; after a day's work the process can open no more."""

    def bytes_of(self, key: str) -> bytes:
        data = super().bytes_of(key)
        _leaked.append(os.open(self.path(key), os.O_RDONLY))
        return data


@flaw("secret-in-the-log", caught_by="test_no_log_shows_a_secret")
class LogsItsPassword(FileBackend):
    """The log of a failure has the whole URL in it."""

    def bytes_of(self, key: str) -> bytes:
        try:
            return super().bytes_of(key)
        except DocumentNotFound:
            logging.getLogger("flawed").info("no %s at user:%s@host", key, self.password)
            raise


@flaw("secret-in-a-variable", caught_by="test_no_variable_in_a_traceback_shows_a_secret")
class KeepsItsPasswordInAVariable(FileBackend):
    """It forgets the password after what it does, and a failure comes before that."""

    def bytes_of(self, key: str) -> bytes:
        account = f"user:{self.password}@host"
        data = super().bytes_of(key)
        del account
        return data


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


@flaw("tombstones", caught_by="test_a_deletion_leaves_nothing_of_the_document")
class KeepsTombstones(FileBackend):
    """What was deleted stays on the disk under another name, for ever."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        with self.committing():
            self.check(key, expect, lock)
            self.bytes_of(key)
            os.rename(self.path(key), f"{self.path(key)}.deleted.{os.urandom(4).hex()}.lock")
        self.sync_directory(os.path.dirname(self.path(key)))


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
