"""Backends whose writes are each wrong in one way, and the test of the kit that must notice."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from flaws import flaw
from reference_files import FileBackend

from exlab_store import (
    ABSENT,
    ANY,
    DocumentExists,
    Expectation,
    HeldLock,
    Version,
    hookimpl,
    version_of,
)


@flaw("in-place-write", caught_by="test_readers_under_a_writer_see_no_torn_document")
class WritesInPlace(FileBackend):
    """open(path, "w"): readers see empty and half documents."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.make_directory(os.path.dirname(self.path(key)))
        with self.committing():
            self.check(key, expect, lock)
            with open(self.path(key), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        return version_of(data)


@flaw("no-file-fsync", caught_by="test_a_durable_write_is_on_the_disk_when_it_is_acknowledged")
class DoesNotSyncTheFile(FileBackend):
    """The rename reaches the disk before the bytes: a power cut leaves an empty document."""

    def sync_file(self, descriptor: int) -> None:
        pass


@flaw("no-directory-fsync", caught_by="test_a_durable_replacement_is_on_the_disk_when_it_is_acknowledged")
class DoesNotSyncTheDirectory(FileBackend):
    """A power cut takes the acknowledged rename back."""

    def sync_directory(self, path: str) -> None:
        pass


@flaw("no-fsync-of-new-directories", caught_by="test_a_durable_write_is_on_the_disk_when_it_is_acknowledged")
class DoesNotSyncNewDirectories(FileBackend):
    """A power cut takes the new folder, with the first document in it."""

    def sync_new_directory(self, parent: str) -> None:
        pass


@flaw("temp-name-by-pid", caught_by="test_writers_of_one_document_do_not_disturb_each_other")
class NamesTemporariesByProcess(FileBackend):
    """Two threads, or two containers, write into one temporary file."""

    def temporary_name(self, name: str) -> str:
        return f"{name[:200]}.tmp.{os.getpid()}"


@flaw(
    "temp-name-by-pid-and-thread",
    caught_by="test_writers_on_two_hosts_with_the_same_process_id_do_not_disturb_each_other",
)
class NamesTemporariesByThread(FileBackend):
    """As before, but for threads: two containers still have the same process and thread numbers."""

    def temporary_name(self, name: str) -> str:
        return f"{name[:200]}.tmp.{os.getpid()}.{threading.current_thread().name}"


@flaw("temporary-left-behind", caught_by="test_refused_operations_leave_nothing")
class LeavesTemporaries(FileBackend):
    """Every refused write leaves a file."""

    def discard(self, temporary: str) -> None:
        pass


@flaw("expectation-before-lock", caught_by="test_one_of_many_threads_makes_a_document")
class ChecksBeforeTheLock(FileBackend):
    """Between the check and the rename, others write."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.check(key, expect, lock)
        temporary = self.write_temporary(self.path(key), data)
        with self.committing():
            os.replace(temporary, self.path(key))
        self.sync_directory(os.path.dirname(self.path(key)))
        return version_of(data)


@flaw("absent-means-any", caught_by="test_absent_refuses_a_document_that_exists_and_leaves_it")
class IgnoresAbsent(FileBackend):
    """Versions are compared; that a document should be absent is not."""

    def check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        super().check(key, ANY if expect is ABSENT else expect, lock)


@flaw("fencing-not-checked", caught_by="test_the_holder_before_cannot_overwrite_its_successor")
class DoesNotFence(FileBackend):
    """A writer that lost its lock overwrites its successor."""

    def check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        super().check(key, expect, None)


@flaw("text-mode", caught_by="test_exactly_the_written_bytes_are_stored")
class TranslatesLineEnds(FileBackend):
    """Line ends are translated on the way in, and back on the way out."""

    def write_temporary(self, target: str, data: bytes) -> str:
        return super().write_temporary(target, data.replace(b"\r\n", b"\n"))


_SLOW = 0.25  # seconds that a slow storage takes for a write


_ROUND_TRIP = 0.01  # seconds to a server and back; longer than a busy disk takes, or nobody comes in between


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
