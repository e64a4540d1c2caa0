"""Deleting a folder takes what is the store's and nothing else, and never a lock that somebody holds."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import DocumentNotFound, InvalidKey, LockTimeout, NotSupported
from exlab_store.folder_errors import FolderNotEmpty
from exlab_store.testing.conformance.clientele import Clientele, assert_locked, watched_fixture
from exlab_store.testing.conformance.running import Started

if TYPE_CHECKING:
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["DeletingFolders"]

_KEYS = ["run/a.json", "run/b/c.json", "run/b/d/e.json", "run/notes", "run 2/a.json", "running.json"]
_KEPT = ["run 2/a.json", "running.json"]


class DeletingFolders(Clientele):
    """``remove_folder``, of a backend that has it and supports it in its place."""

    @watched_fixture
    def deletes(self, store: Store) -> bool:
        """Whether folders are deleted here; otherwise that says so, and the documents stay."""
        store.atomic_write("folder/document.json", b"1")
        try:
            store.delete_folder("folder")
        except NotSupported:
            assert store.read_snapshot("folder/document.json").data == b"1"
            return False
        assert not store.exists("folder/document.json")
        return True

    def test_a_folder_goes_with_all_that_is_below_it(
        self, store: Store, other: Store, deletes: bool, oracle: Oracle
    ) -> None:
        if not deletes:
            return
        for key in _KEYS:
            store.atomic_write(key, b"1")
        other.delete_folder("run")
        assert store.list_keys() == _KEPT
        assert not store.exists("run")
        assert [item.key for item in other.list_folder()] == ["run 2", "running.json"]
        assert {name for name in oracle.names() if not name.endswith(".lock")} == set(_KEPT)

    def test_lock_files_and_temporary_files_go_with_their_folder(
        self, store: Store, other: Store, deletes: bool, oracle: Oracle
    ) -> None:
        if not deletes:
            return
        for key in _KEYS:
            store.atomic_write(key, b"1")
        if store.guarantees.lock_scope != "none":
            other.lock("run/a.json").release()
            other.lock("run/never/written.json").release()
        for name in ("run/b/x.json.tmp.4711.0123456789abcdef", "run/b/x.json.lock"):
            oracle.plant(name)
        store.delete_folder("run")
        assert [name for name in oracle.names() if name.startswith("run/")] == []
        assert not other.exists("run")

    def test_a_folder_is_not_deleted_while_a_lock_below_it_is_held(
        self, store: Store, other: Store, deletes: bool
    ) -> None:
        if not deletes or store.guarantees.lock_scope == "none":
            return
        for key in _KEYS:
            store.atomic_write(key, b"1")
        for locked in ("run/a.json", "run/b/d/e.json", "run/never/written.json"):
            with other.lock(locked) as held:
                with pytest.raises(LockTimeout):
                    store.delete_folder("run")
                held.ensure_held()
                assert_locked(store, locked)
                assert store.list_keys() == sorted(_KEYS)
        with other.lock("bare/never written.json") as held:  # nothing else is in its folder
            with pytest.raises(LockTimeout):
                store.delete_folder("bare")
            held.ensure_held()
            assert_locked(store, "bare/never written.json")
        store.delete_folder("run")
        assert store.list_keys() == _KEPT

    def test_the_locks_of_a_deleted_folder_are_whole(self, store: Store, other: Store, deletes: bool) -> None:
        if not deletes or store.guarantees.lock_scope == "none":
            return
        for _ in range(3):
            store.update("run/a.json", lambda _: b"1")
            other.delete_folder("run")
            with store.lock("run/a.json"):
                assert_locked(other, "run/a.json")
            assert not store.exists("run/a.json")
            with suppress(DocumentNotFound):  # the folder of a lock alone is none where there are no folders
                other.delete_folder("run")

    def test_who_waits_for_a_lock_gets_it_when_its_folder_was_deleted(
        self, harness: Harness, store: Store, other: Store, deletes: bool
    ) -> None:
        if not deletes or store.guarantees.lock_scope == "none":
            return

        def update() -> None:
            for _ in range(20):
                other.update("run/a.json", lambda current: (current or b"") + b"1", timeout=harness.patience)

        writer = Started(update)
        refused = 0
        while not writer.ended:
            try:
                store.delete_folder("run")
            except (DocumentNotFound, LockTimeout, FolderNotEmpty):
                refused += 1
        writer.result(harness.patience)
        with store.lock("run/a.json", timeout=harness.patience):
            assert_locked(other, "run/a.json")

    def test_a_folder_that_is_to_be_empty_is_left_with_its_documents(self, store: Store, deletes: bool) -> None:
        if not deletes:
            return
        for key in _KEYS:
            store.atomic_write(key, b"1")
        with pytest.raises(FolderNotEmpty) as refused:
            store.delete_folder("run", expect_empty=True)
        assert set(refused.value.left) == {key for key in _KEYS if key.startswith("run/")}
        assert store.list_keys() == sorted(_KEYS)

    def test_a_missing_folder_and_a_document_are_no_folders(self, store: Store, other: Store, deletes: bool) -> None:
        if not deletes:
            return
        store.atomic_write("run/a.json", b"1")
        for missing in ("never", "never/seen", "run/b", "run/a.json/b", "ru"):
            with pytest.raises(DocumentNotFound):
                store.delete_folder(missing)
        with pytest.raises(InvalidKey):
            store.delete_folder("run/a.json")
        with pytest.raises(InvalidKey):
            store.delete_folder("")
        assert other.read_snapshot("run/a.json").data == b"1"

    def test_what_is_not_of_the_store_is_left_and_named(
        self, store: Store, other: Store, deletes: bool, oracle: Oracle
    ) -> None:
        if not deletes or not oracle.plant("run/b/notes.tmp.backup"):
            return
        for key in _KEYS:
            store.atomic_write(key, b"1")
        with pytest.raises(FolderNotEmpty) as refused:
            store.delete_folder("run")
        assert refused.value.key == "run/b"
        assert refused.value.left == ("notes.tmp.backup",)
        assert "all documents" in str(refused.value)
        assert other.list_keys() == _KEPT
        assert "run/b/notes.tmp.backup" in oracle.names()

    def test_a_folder_can_be_made_again(self, store: Store, other: Store, deletes: bool) -> None:
        if not deletes:
            return
        for number in range(3):
            store.atomic_write("run/b/c.json", f"{number}".encode())
            other.delete_folder("run")
            other.atomic_write("run/b/c.json", f"again {number}".encode())
            assert store.read_snapshot("run/b/c.json").data == f"again {number}".encode()
