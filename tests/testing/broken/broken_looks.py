"""Backends that are each wrong in one way when they are looked at, and the test of the kit that must notice."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from flaws import flaw
from reference_files import FileBackend, FlockLock

from exlab_store import (
    DocumentNotFound,
    Expectation,
    FolderItem,
    HeldLock,
    InvalidKey,
    KeyPattern,
    LockOwner,
    Stat,
    Version,
    hookimpl,
    is_key,
    version_of,
)

if TYPE_CHECKING:
    from exlab_store.key_pattern import Position


@flaw("stat-of-the-first-version", caught_by="test_what_is_known_of_a_document_is_of_its_last_version")
class RemembersStat(FileBackend):
    """What was known of a document once is kept for ever."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.known: dict[str, Stat] = {}

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        if key not in self.known:
            self.known[key] = super().stat_document(key)
        return self.known[key]


@flaw("stat-makes-folders", caught_by="test_looking_makes_nothing")
class MakesFoldersToLook(FileBackend):
    """A look at a document that is missing leaves a file for the next one."""

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        self.make_directory(os.path.dirname(self.path(key)))
        with open(self.path(f"{key}.lock"), "ab"):
            return super().stat_document(key)


@flaw("stat-of-nothing", caught_by="test_a_missing_document_has_no_stat_and_does_not_exist")
class FindsWhatIsMissing(FileBackend):
    """A missing document has no bytes, as an empty one."""

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        try:
            return super().stat_document(key)
        except DocumentNotFound:
            return Stat(0)


@flaw("stat-takes-folders-for-documents", caught_by="test_a_folder_is_told_from_a_document")
class TakesFoldersForDocuments(FileBackend):
    """A folder is a document of 4,096 bytes."""

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        found = super().stat_document(key)
        return Stat(found.size, found.modified)


@flaw("stat-refuses-folders", caught_by="test_a_folder_is_told_from_a_document")
class RefusesFolders(FileBackend):
    """A folder is refused, as by a read."""

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        found = super().stat_document(key)
        if found.kind == "folder":
            raise InvalidKey("the key names a folder")
        return found


@flaw("stat-by-another-clock", caught_by="test_a_document_is_modified_when_it_is_written")
class TellsTheTimeBackwards(FileBackend):
    """The time is that until 1970."""

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        found = super().stat_document(key)
        return Stat(found.size, -(found.modified or 0), kind=found.kind)


@flaw("stat-of-another-version", caught_by="test_a_version_that_is_known_without_reading_is_the_version")
class MakesVersionsUp(FileBackend):
    """The version that is known without reading is one of size and time."""

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        found = super().stat_document(key)
        return Stat(found.size, found.modified, version_of(f"{found}".encode()), found.kind)


@flaw("replaced-after-a-gap", caught_by="test_a_document_that_is_being_replaced_is_there_all_the_time")
class DeletesFirst(FileBackend):
    """What is looked at between the deletion and the rename is missing; a read waits for it."""

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        if os.path.exists(self.path(key)):
            os.rename(self.path(key), f"{self.path(key)}.old.lock")
        return super().atomic_write(key, data, expect, lock)


@flaw("folder-remembered", caught_by="test_a_folder_lists_at_once_what_another_client_has_made_and_deleted")
class RemembersFolders(FileBackend):
    """What was in a folder when it was first looked into is listed for ever."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.known: dict[tuple[str, bool], list[FolderItem]] = {}

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        found = self.known.get((key, stat)) or super().list_folder(key, stat)
        self.known[key, stat] = found
        return found


@flaw("folder-in-any-order", caught_by="test_a_folder_lists_its_documents_and_folders_in_order_and_nothing_below_them")
class ListsInAnyOrder(FileBackend):
    """Documents first, then folders."""

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        return sorted(super().list_folder(key, stat), key=lambda entry: (entry.kind, entry.key))


@flaw("folder-without-folders", caught_by="test_what_a_folder_lists_can_be_looked_at")
class ListsNoFolders(FileBackend):
    """Only documents."""

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        return [entry for entry in super().list_folder(key, stat) if entry.kind == "document"]


@flaw("folder-without-sizes", caught_by="test_a_listed_document_has_its_size_and_time_where_they_are_asked_for")
class ListsNoSizes(FileBackend):
    """Sizes and times are never given."""

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        return super().list_folder(key, False)


@flaw("folder-with-locks", caught_by="test_a_folder_shows_no_locks_and_no_temporary_files")
class ListsLocksOfAFolder(FileBackend):
    """Whatever is there is listed."""

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        path = self.path(key) if key else self.root
        names = os.listdir(path) if os.path.isdir(path) else []
        return [self.entry(each, False) for each in sorted(f"{key}/{name}" if key else name for name in names)]


@flaw("missing-folder-refused", caught_by="test_a_folder_that_does_not_exist_has_nothing_in_it")
class RefusesMissingFolders(FileBackend):
    """A folder that does not exist is an error."""

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        if not os.path.isdir(self.path(key)):
            raise DocumentNotFound("there is no such folder")
        return super().list_folder(key, stat)


@flaw("first-page-of-a-folder", caught_by="test_a_folder_of_many_documents_lists_them_all_once")
class ListsOnePage(FileBackend):
    """The first thousand names."""

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        return super().list_folder(key, stat)[:1000]


@flaw("pattern-over-folders", caught_by="test_a_pattern_finds_the_documents_that_fit_and_no_others")
class MatchesAcrossFolders(FileBackend):
    """The pattern is one of fnmatch, whose * stands for folders too."""

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        keys = self.list_keys(prefix)
        start = len(prefix) + 1 if prefix else 0
        return [FolderItem(key) for key in keys if fnmatchcase(key[start:], pattern.text)]


@flaw("pattern-from-the-root", caught_by="test_a_pattern_is_seen_from_the_folder")
class MatchesFromTheRoot(FileBackend):
    """The pattern is held against the whole key."""

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        return [FolderItem(key) for key in self.list_keys(prefix) if pattern.fits(key)]


@flaw("pattern-without-folders", caught_by="test_a_pattern_finds_folders_too")
class MatchesNoFolders(FileBackend):
    """Only documents are found."""

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        return [entry for entry in super().list_matching(prefix, pattern) if entry.kind == "document"]


@flaw("pattern-in-any-case", caught_by="test_a_pattern_finds_the_documents_that_fit_and_no_others")
class IgnoresCase(FileBackend):
    """Case does not count, as on the server."""

    def fitting(self, folder: str, position: Position, pattern: KeyPattern) -> list[FolderItem]:
        lower = KeyPattern(pattern.text.lower())
        found = [FolderItem(key) for key in self.list_keys(folder)]
        start = len(folder) + 1 if folder else 0
        return [entry for entry in found if lower.fits(entry.key[start:].lower())]


@flaw("folder-removed-with-documents", caught_by="test_a_folder_that_is_to_be_empty_is_left_with_its_documents")
class RemovesWhateverIsThere(FileBackend):
    """rm -r."""

    @hookimpl
    def remove_folder(self, key: str) -> None:
        shutil.rmtree(self.path(key))


@flaw("folder-removed-under-a-lock", caught_by="test_a_folder_is_not_deleted_while_a_lock_below_it_is_held")
class RemovesHeldLocks(FileBackend):
    """A lock file goes whoever holds it."""

    def remove_file(self, path: str) -> None:
        os.unlink(path)


@flaw("folder-left-behind", caught_by="test_a_folder_goes_with_all_that_is_below_it")
class LeavesFolders(FileBackend):
    """Empty folders stay."""

    @hookimpl
    def remove_folder(self, key: str) -> None:
        try:
            super().remove_folder(key)
        finally:
            if not os.path.exists(self.path(key)):
                os.mkdir(self.path(key))


@flaw("folder-with-temporaries", caught_by="test_lock_files_and_temporary_files_go_with_their_folder")
class LeavesTemporaryFiles(FileBackend):
    """Temporary files might be somebody's."""

    def remove_file(self, path: str) -> None:
        if path.endswith(".lock"):
            super().remove_file(path)


@flaw("folder-that-never-was", caught_by="test_a_missing_folder_and_a_document_are_no_folders")
class RemovesMissingFolders(FileBackend):
    """A folder that does not exist is gone already."""

    @hookimpl
    def remove_folder(self, key: str) -> None:
        with suppress(DocumentNotFound):
            super().remove_folder(key)


@flaw("folder-with-foreign-files", caught_by="test_what_is_not_of_the_store_is_left_and_named")
class RemovesForeignFiles(FileBackend):
    """What is no document is of no use."""

    @hookimpl
    def remove_folder(self, key: str) -> None:
        for name in os.listdir(self.path(key)) if os.path.isdir(self.path(key)) else []:
            if not is_key(name):
                self.remove_file(f"{self.path(key)}/{name}")
        super().remove_folder(key)


@flaw(
    "lock-of-a-deleted-folder",
    caught_by="test_who_has_waited_while_an_operator_broke_the_lock_holds_one_that_others_meet",
)
class HoldsWhatIsGone(FileBackend):
    """Who has waited for a lock holds a file that has lost its name."""

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        path = self.path(self.lock_name(key))
        self.make_directory(os.path.dirname(path))
        deadline = time.monotonic() + timeout
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.pause(deadline, cancelled)
            else:
                return FlockLock(key, owner, descriptor)
