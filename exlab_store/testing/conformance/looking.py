"""Looking at documents and folders without reading them: one by its key, those of a folder, those of a pattern."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exlab_store.clients.work import write_sealed
from exlab_store.errors import DocumentNotFound
from exlab_store.model import Stat
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed
from exlab_store.testing.conformance.running import Started
from exlab_store.testing.conformance.work import BODY

if TYPE_CHECKING:
    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Looking"]

_PLANTED = ["a.json.lock", "a.json.tmp.4711.0123456789abcdef", "folder/b.json.tmp.1", "folder/.lock"]

_KEYS = ["a.json", "b/c.json", "b/d/e.json", "b/d/f/g/e.json", "b/notes.txt", "bc/c.json", "h/B.json", "h/é.json"]

_PATTERNS = {
    "*": ["a.json"],
    "**": _KEYS,
    "**/*": _KEYS,
    "*.json": ["a.json"],
    "*/*.json": ["b/c.json", "bc/c.json", "h/B.json", "h/é.json"],
    "**/e.json": ["b/d/e.json", "b/d/f/g/e.json"],
    "**/c.json": ["b/c.json", "bc/c.json"],
    "b/**": ["b/c.json", "b/d/e.json", "b/d/f/g/e.json", "b/notes.txt"],
    "b/**/e.json": ["b/d/e.json", "b/d/f/g/e.json"],
    "b/*/e.json": ["b/d/e.json"],
    "*/d/e.json": ["b/d/e.json"],
    "?/?.json": ["b/c.json", "h/B.json", "h/é.json"],
    "h/[AB].json": ["h/B.json"],
    "h/[!AB].json": ["h/é.json"],
    "*/b.json": [],
    "H/*.json": [],
    "*/é.json": ["h/é.json"],
    "b/d": [],
    "a.json": ["a.json"],
    "a.json/*": [],
    "nothing/**": [],
    "**/d/**/g/*": ["b/d/f/g/e.json"],
}


class Looking(Clientele):
    """``stat_document``, ``list_folder`` and ``list_matching``, or what the core does without them."""

    @pytest.mark.parametrize("size", [0, 1, 70_000])
    def test_the_size_of_a_document_is_known_without_reading_it(self, store: Store, other: Store, size: int) -> None:
        store.atomic_write(KEY, b"1" * size)
        found = other.stat(KEY)
        assert (found.kind, found.size) == ("document", size)

    def test_what_is_known_of_a_document_is_of_its_last_version(self, store: Store, other: Store) -> None:
        for size in range(10):
            store.atomic_write(KEY, b"1" * size)
            assert other.stat(KEY).size == store.stat(KEY).size == size

    def test_a_version_that_is_known_without_reading_is_the_version(self, store: Store, other: Store) -> None:
        version = store.atomic_write(KEY, b"1")
        assert other.stat(KEY).version in {None, version}

    def test_a_document_is_modified_when_it_is_written(self, store: Store, other: Store) -> None:
        store.atomic_write(KEY, b"1")
        first = other.stat(KEY).modified
        store.atomic_write("other", b"1")  # a moment later, by the clock that says when
        store.atomic_write(KEY, b"2")
        later, between = other.stat(KEY).modified, other.stat("other").modified
        if first is None:
            assert later is None
        else:
            assert later is not None
            assert between is not None
            assert first <= between <= later
            assert store.read_snapshot(KEY).modified in {None, later}

    def test_a_missing_document_has_no_stat_and_does_not_exist(self, store: Store, other: Store) -> None:
        for key in (KEY, "folder", "never/seen/before"):
            with pytest.raises(DocumentNotFound):
                store.stat(key)
            assert not store.exists(key)
        store.atomic_write(KEY, b"1")
        assert other.exists(KEY)
        assert not other.exists(f"{KEY}/deeper")
        assert not other.exists("folder/doc")

    def test_a_deleted_document_does_not_exist(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        store.atomic_write(KEY, b"1")
        assert other.exists(KEY)
        with as_claimed(guarantees.deletes):
            store.delete(KEY)
            assert not other.exists(KEY)
            assert not store.exists(KEY)

    def test_a_folder_is_told_from_a_document(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        store.atomic_write("a/b/c.json", b"1")
        if guarantees.lists:
            for key in ("a", "a/b"):
                assert other.stat(key).kind == "folder"
                assert other.exists(key)

    def test_a_document_that_is_being_replaced_is_there_all_the_time(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        if not guarantees.atomic_replace:
            return
        store.atomic_write(KEY, b"1")
        writer = Started(lambda: write_sealed(other, KEY, "writer", 0, 20, BODY))
        while not writer.ended:
            assert store.exists(KEY)
            assert store.stat(KEY).kind == "document"
        writer.result(harness.patience)

    def test_looking_makes_nothing(self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle) -> None:
        store.atomic_write("a/b.json", b"1")
        before = oracle.names()
        assert not other.exists("c/d/e.json")
        with as_claimed(guarantees.lists):
            assert [*other.list_folder("c/d")] == other.list_matching("c", "d/*") == []
        assert oracle.names() == before

    def test_a_folder_lists_its_documents_and_folders_in_order_and_nothing_below_them(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        for key in ["b.json", "a/c.json", "a/b/d.json", "a b/e.json", "a.json", "Z.json", "a/a/a"]:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            assert _shown(other, "") == ["Z.json", "a/", "a b/", "a.json", "b.json"]
            assert _shown(other, "a") == ["a/a/", "a/b/", "a/c.json"]
            assert _shown(other, "a/b") == ["a/b/d.json"]

    def test_a_folder_lists_at_once_what_another_client_has_made_and_deleted(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(guarantees.lists):
            for number in range(5):
                other.atomic_write(f"folder/{number}", b"")
                assert _shown(store, "folder") == [f"folder/{made}" for made in range(number + 1)]
                assert store.list_keys("folder", pattern="*") == _shown(store, "folder")
            with as_claimed(guarantees.deletes):
                other.delete("folder/0")
                assert _shown(store, "folder") == [f"folder/{made}" for made in range(1, 5)]

    def test_a_folder_that_does_not_exist_has_nothing_in_it(self, store: Store, guarantees: Guarantees) -> None:
        store.atomic_write("a/b", b"")
        with as_claimed(guarantees.lists):
            for key in ("never/seen", "a/b", "a/b/c", "A/x"):
                assert [*store.list_folder(key)] == []
                assert store.list_matching(key, "**") == []

    def test_a_listed_document_has_its_size_and_time_where_they_are_asked_for(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        for size in (0, 3, 70_000):
            store.atomic_write(f"folder/{size}", b"1" * size)
        store.atomic_write("folder/inner/document", b"1")
        with as_claimed(guarantees.lists):
            found = {entry.name: entry for entry in other.list_folder("folder", stat=True)}
            assert {name: entry.size for name, entry in found.items()} == {
                "0": 0,
                "3": 3,
                "70000": 70_000,
                "inner": None,
            }
            for size in (0, 3, 70_000):
                stat = other.stat(f"folder/{size}")
                assert found[f"{size}"].modified == stat.modified

    def test_a_folder_shows_no_locks_and_no_temporary_files(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        store.atomic_write(KEY, b"")
        with as_claimed(guarantees.lists):
            for name in _PLANTED:  # what a writer leaves that was killed
                oracle.plant(name)
            if guarantees.lock_scope != "none":
                store.lock(KEY).release()
            writer = Started(lambda: write_sealed(other, KEY, "writer", 0, 20, BODY))
            while not writer.ended:
                assert _shown(store, "") == ["folder/"]
                assert _shown(store, "folder") == [KEY]
                assert store.list_keys(pattern="**") == store.list_keys(pattern="*/*") == [KEY]
            writer.result(harness.patience)

    def test_a_folder_of_many_documents_lists_them_all_once(
        self, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        # More than the thousand names that a server gives in one answer.
        if guarantees.lists and oracle.plant("many/0"):
            for number in range(1, 1100):
                oracle.plant(f"many/{number}")
            keys = sorted(f"many/{number}" for number in range(1100))
            assert [entry.key for entry in store.list_folder("many")] == keys
            assert store.list_keys("many", pattern="*") == store.list_keys(pattern="many/*") == keys
            assert store.list_keys(pattern="*/1099") == ["many/1099"]

    def test_a_pattern_finds_the_documents_that_fit_and_no_others(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        for key in _KEYS:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            for pattern, keys in _PATTERNS.items():
                assert other.list_keys(pattern=pattern) == sorted(keys), pattern

    def test_a_pattern_is_seen_from_the_folder(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        for key in _KEYS:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            assert other.list_keys("b", pattern="*.json") == ["b/c.json"]
            assert other.list_keys("b/d", pattern="**/e.json") == ["b/d/e.json", "b/d/f/g/e.json"]
            assert other.list_keys("b", pattern="b/*") == []

    def test_a_pattern_finds_folders_too(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        for key in _KEYS:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            found = other.list_matching("", "*")
            assert [(entry.key, entry.kind) for entry in found] == [
                ("a.json", "document"),
                ("b", "folder"),
                ("bc", "folder"),
                ("h", "folder"),
            ]
            assert [entry.key for entry in other.list_matching("b", "**/[df]")] == ["b/d", "b/d/f"]
            assert [entry.key for entry in other.list_matching("", "*/d")] == ["b/d"]

    def test_what_a_folder_lists_can_be_looked_at(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        for number in range(30):
            store.atomic_write(f"folder {number % 3}/document {number}.json", b"1")
        with as_claimed(guarantees.lists):
            folders = [*other.list_folder()]
            assert [other.stat(folder.key).kind for folder in folders] == ["folder"] * 3
            documents = [entry.key for folder in folders for entry in other.list_folder(folder.key)]
            assert len(documents) == 30
            assert {type(other.stat(key)) for key in documents} == {Stat}
            assert {other.stat(key).size for key in documents} == {1}


def _shown(store: Store, folder: str) -> list[str]:
    """The keys in a folder; those of folders end with a slash."""
    return [entry.key + ("/" if entry.kind == "folder" else "") for entry in store.list_folder(folder)]
