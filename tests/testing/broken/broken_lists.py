"""Backends that list, delete or look after files, each wrong in one way, and the test of the kit that must notice."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

import msgspec
from flaws import flaw
from reference_files import FileBackend

from exlab_store import (
    ANY,
    Expectation,
    HeldLock,
    Leftover,
    hookimpl,
    is_key,
)


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


_ROUND_TRIP = 0.01  # seconds to a server and back; longer than a busy disk takes, or nobody comes in between


@flaw("no-sync-of-deletions", caught_by="test_a_durable_deletion_is_on_the_disk_when_it_is_acknowledged")
class DoesNotSyncDeletions(FileBackend):
    """A power cut brings the deleted document back."""

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        with self.committing():
            self.check(key, expect, lock)
            self.bytes_of(key)
            os.unlink(self.path(key))


@flaw("first-page-of-a-listing", caught_by="test_a_listing_of_many_documents_has_them_all")
class ListsTheFirstPage(FileBackend):
    """A server gives a thousand names in one answer, and nobody asks for the next."""

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        return sorted(super().list_keys(prefix))[:1000]


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
