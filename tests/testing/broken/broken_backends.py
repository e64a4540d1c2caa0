"""Backends that are each wrong in one way a real one was wrong in, and the test of the kit that must notice."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, TypeVar

import msgspec
from reference_files import FileBackend, FlockLock

from exlab_store import (
    ABSENT,
    ANY,
    DocumentNotFound,
    Expectation,
    HeldLock,
    Leftover,
    LockLost,
    LockOwner,
    Snapshot,
    Version,
    hookimpl,
    is_key,
    version_of,
)

# mypy: disable-error-code="override, no-untyped-def"

BACKENDS: dict[str, type[FileBackend]] = {"sound": FileBackend}
CAUGHT_BY: dict[str, str] = {}

B = TypeVar("B", bound=type[FileBackend])


def flaw(name: str, *, caught_by: str) -> Callable[[B], B]:
    def registered(cls: B) -> B:
        BACKENDS[name] = cls
        CAUGHT_BY[name] = caught_by
        return cls

    return registered


# Writes


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


# Locks


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


@flaw("fencing-not-checked", caught_by="test_the_holder_before_cannot_overwrite_its_successor")
class DoesNotFence(FileBackend):
    """A writer that lost its lock overwrites its successor."""

    def check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        super().check(key, expect, None)


# The hooks that do what others do


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


# Reads and versions


@flaw("stale-read", caught_by="test_a_second_client_sees_a_write_at_once")
class CachesReads(FileBackend):
    """What was read once is served again, whatever others have written since."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.cache: dict[str, Snapshot] = {}

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return self.cache.setdefault(key, Snapshot(self.bytes_of(key)))

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.cache.pop(key, None)
        return super().atomic_write(key, data, expect, lock)


@flaw("stale-read-at-times", caught_by="test_the_history_of_threads_has_an_order")
class ReadsAnOldReplica(FileBackend):
    """Now and then a reader is served by a replica that has not heard of the last write."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.before: dict[str, Snapshot] = {}
        self.reads = 0

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        self.reads += 1
        if self.reads % 7 == 0 and key in self.before:
            return self.before[key]
        self.before[key] = Snapshot(self.bytes_of(key))
        return self.before[key]


@flaw("stale-read-of-a-process", caught_by="test_another_process_sees_a_write_at_once_and_is_seen")
class CachesReadsOfAProcess(FileBackend):
    """The clients of one process have one cache, which is told of their own writes and of nobody else's."""

    cache: ClassVar[dict[str, Snapshot]] = {}

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        path = self.path(key)
        if path not in self.cache:
            self.cache[path] = Snapshot(self.bytes_of(key))
        return self.cache[path]

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.cache.pop(self.path(key), None)
        version = super().atomic_write(key, data, expect, lock)
        self.cache.pop(self.path(key), None)
        return version


@flaw("stale-read-under-the-lock", caught_by="test_a_second_client_sees_a_write_at_once")
class CachesReadsUnderTheLock(CachesReads):
    """It claims the last write for reads under the lock alone, and does not look there either."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, fresh="locked")


@flaw("version-from-mtime", caught_by="test_equal_bytes_have_equal_versions")
class VersionsByTime(FileBackend):
    """Equal documents have different versions, and two writes in one tick have the same."""

    def version(self, key: str, data: bytes) -> Version:
        try:
            return Version(str(os.stat(self.path(key)).st_mtime_ns))
        except FileNotFoundError:
            raise DocumentNotFound("there is no such document") from None

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return Snapshot(self.bytes_of(key), self.version(key, b""))


@flaw("text-mode", caught_by="test_exactly_the_written_bytes_are_stored")
class TranslatesLineEnds(FileBackend):
    """Line ends are translated on the way in, and back on the way out."""

    def write_temporary(self, target: str, data: bytes) -> str:
        return super().write_temporary(target, data.replace(b"\r\n", b"\n"))


# The contract of the hooks


@flaw("none-result", caught_by="test_no_hook_returns_none_but_delete")
class ForgetsTheResult(FileBackend):
    """The write happens, and the version does not come back."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None):  # type: ignore[no-untyped-def]
        super().atomic_write(key, data, expect, lock)


@flaw("parameter-default", caught_by="test_no_parameter_of_a_hook_has_a_default")
class HasDefaults(FileBackend):
    """pluggy never passes a parameter that has a default: every condition is lost."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation = ANY, lock: HeldLock | None = None) -> Version:
        return super().atomic_write(key, data, expect, lock)


@flaw("guarantees-of-another-type", caught_by="test_the_guarantees_are_of_their_type_and_do_not_contradict_each_other")
class GuaranteesInADictionary(FileBackend):
    """Guarantees that look right and cannot be compared."""

    guarantees = msgspec.structs.asdict(FileBackend.guarantees)  # type: ignore[assignment]


@flaw("foreign-exceptions", caught_by="test_a_missing_document_cannot_be_deleted")
class LetsExceptionsOut(FileBackend):
    """The caller gets what the operating system said, as a fault of the plugin."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        self.check(key, expect, lock)
        os.unlink(self.path(key))


@flaw("secret-in-repr", caught_by="test_no_repr_shows_a_secret")
class ShowsItsPassword(FileBackend):
    """A repr that lists all attributes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self)})"


@flaw("secret-in-error", caught_by="test_no_error_shows_a_secret")
class TellsItsPassword(FileBackend):
    """The message has the whole URL in it."""

    def bytes_of(self, key: str) -> bytes:
        try:
            return super().bytes_of(key)
        except DocumentNotFound as error:
            raise DocumentNotFound(f"not found with user:{self.password}@host") from error


# Listing, deleting, and what is not claimed


@flaw("lists-temporary-files", caught_by="test_a_listing_shows_no_temporary_files")
class ListsTemporaries(FileBackend):
    """What a writer has not finished looks like a document."""

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        return [name for name in self.names(prefix) if is_key(name) or ".tmp." in name]


@flaw("lists-locks", caught_by="test_a_listing_shows_no_locks")
class ListsLocks(FileBackend):
    """Lock files look like documents."""

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        return [name for name in self.names(prefix) if ".tmp." not in name and name != ".commit.lock"]


@flaw("prefix-of-a-name", caught_by="test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name")
class ListsByBeginning(FileBackend):
    """The folder ``ab`` shows the documents of ``abc``."""

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        return [name for name in self.names("") if is_key(name) and name.startswith(prefix)]


@flaw("looks-by-locking", caught_by="test_who_looks_keeps_nobody_from_a_lock")
class LooksByLocking(FileBackend):
    """It takes the lock to find out whether it is free, and whoever asks just then is turned away."""

    def leftover(self, name: str) -> Leftover:
        if name == ".commit.lock":
            return super().leftover(name)
        descriptor = os.open(self.path(name), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.1)  # so slow a server that somebody asks in the meantime, on a busy machine too
        except BlockingIOError:
            return msgspec.structs.replace(super().leftover(name), held=True)
        finally:
            os.close(descriptor)
        return msgspec.structs.replace(super().leftover(name), held=False)


@flaw("held-locks-look-free", caught_by="test_a_held_lock_is_shown_with_its_owner_and_a_free_one_as_free")
class ShowsLocksAsFree(FileBackend):
    """What it cannot tell, it takes for free."""

    def leftover(self, name: str) -> Leftover:
        return msgspec.structs.replace(super().leftover(name), held=False)


@flaw("documents-look-left-over", caught_by="test_no_document_is_taken_for_a_leftover")
class ListsByTheLetters(FileBackend):
    """Every name with "tmp" or "lock" in it looks like one of its own."""

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        return [self.leftover(name) for name in self.names(prefix) if "tmp" in name or "lock" in name]


@flaw("removes-anything", caught_by="test_nothing_but_a_temporary_file_is_removed")
class RemovesAnything(FileBackend):
    """It trusts the name that it is given, and deletes lock files and documents."""

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        os.unlink(self.path(name))


@flaw("deletes-on-no-condition", caught_by="test_any_sequence_of_operations_does_what_a_dictionary_does")
class DeletesOnNoCondition(FileBackend):
    """Writes look at the expected version; deletions forgot to."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        super().delete(key, ANY, lock)


@flaw("unclaimed-listing-works", caught_by="test_a_listing_that_is_not_claimed_is_not_supported")
class ListsInSilence(FileBackend):
    """It is not claimed and works, so that callers come to rely on it."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, lists=False, watch="none")


@flaw("unclaimed-deletion-does-nothing", caught_by="test_a_deletion_that_is_not_claimed_is_not_supported")
class DeletesNothing(FileBackend):
    """It is not claimed, and says nothing when it is asked for."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, deletes=False)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        pass


@flaw("unclaimed-lock-does-nothing", caught_by="test_a_lock_that_is_not_claimed_is_not_supported")
class LocksNothing(FileBackend):
    """It is not claimed, and everybody gets it."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, lock_scope="none", fenced=False)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        return FlockLock(key, owner, os.open(self.root, os.O_RDONLY))
