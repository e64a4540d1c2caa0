"""Listing shows the documents and nothing else; deleting takes one away."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.clients.work import write_sealed
from exlab_store.errors import DocumentNotFound, VersionConflict
from exlab_store.keys import is_key
from exlab_store.model import ABSENT, Version
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed, assert_locked
from exlab_store.testing.conformance.running import Started, together
from exlab_store.testing.conformance.work import BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Deleting", "Listing"]

_PLANTED = ["a.json.lock", "a.json.tmp.4711.0123456789abcdef", "folder/b.json.tmp.1", "folder/.lock"]


class Listing(Clientele):
    """``list_keys``."""

    def test_an_empty_store_has_no_keys(self, store: Store, guarantees: Guarantees) -> None:
        with as_claimed(guarantees.lists):
            assert store.list_keys() == []

    def test_a_listing_has_every_document_at_every_depth(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        keys = ["a.json", "b/c.json", "b/d/e.json", "b/d/f/g/h.json", "empty"]
        for key in keys:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            assert other.list_keys() == sorted(keys)

    def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(self, store: Store, guarantees: Guarantees) -> None:
        for key in ["ab/1", "ab/c/2", "abc/3", "ab.json", "b/ab/4"]:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            assert store.list_keys("ab") == ["ab/1", "ab/c/2"]
            assert store.list_keys("ab/c") == ["ab/c/2"]

    @pytest.mark.parametrize("folder", ["a_b", "a%b", "a[b]", "A_B"])
    def test_a_prefix_with_signs_of_a_pattern_is_that_folder_only(
        self, store: Store, guarantees: Guarantees, folder: str
    ) -> None:
        for key in [f"{folder}/1", "aXb/2", "ab/3", "aXXb/4"]:
            store.atomic_write(key, b"")
        with as_claimed(guarantees.lists):
            assert store.list_keys(folder) == [f"{folder}/1"]

    def test_a_folder_that_does_not_exist_is_empty(self, store: Store, guarantees: Guarantees) -> None:
        store.atomic_write("a/b", b"")
        with as_claimed(guarantees.lists):
            assert store.list_keys("never/seen") == []
            assert store.list_keys("a/b") == []
            assert store.list_keys("a/b/c") == []

    def test_a_listing_sees_at_once_what_another_client_has_made(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(guarantees.lists):
            for number in range(10):
                assert len(store.list_keys()) == number
                other.atomic_write(f"folder/{number}", b"")

    def test_a_listing_shows_no_locks(self, store: Store, guarantees: Guarantees) -> None:
        with as_claimed(guarantees.lists):
            assert store.list_keys() == []
            with as_claimed(guarantees.lock_scope != "none"), store.lock(KEY):
                assert store.list_keys() == []
            assert store.list_keys() == []

    def test_a_listing_shows_no_temporary_files(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        store.atomic_write(KEY, b"")
        with as_claimed(guarantees.lists):
            assert store.list_keys() == [KEY]
            if all(oracle.plant(name) for name in _PLANTED):  # what a writer leaves that was killed
                assert store.list_keys() == [KEY]
            writer = Started(lambda: write_sealed(other, KEY, "writer", 0, 20, BODY))
            while not writer.ended:
                assert store.list_keys() == [KEY]
            writer.result(harness.patience)

    def test_a_listing_of_many_documents_has_them_all(
        self, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        # More than the thousand names that a server gives in one answer.
        if guarantees.lists and oracle.plant("many/0"):
            for number in range(1, 1100):
                oracle.plant(f"many/{number}")
            assert len(store.list_keys()) == len(store.list_keys("many")) == 1100

    def test_every_listed_key_is_valid_and_can_be_read(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        for number in range(30):
            store.atomic_write(f"folder {number % 3}/document {number}.json", b"1")
        with as_claimed(guarantees.lists):
            listed = other.list_keys()
            assert len(listed) == 30
            assert all(is_key(key) and other.read_snapshot(key).data == b"1" for key in listed)


class Deleting(Clientele):
    """``delete``."""

    def test_a_deleted_document_is_gone_for_every_client(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        store.atomic_write(KEY, b"1")
        assert other.read_snapshot(KEY).data == b"1"
        with as_claimed(guarantees.deletes):
            store.delete(KEY)
            for client in (store, other):
                with pytest.raises(DocumentNotFound):
                    client.read_snapshot(KEY)
            assert oracle.read(KEY) is None
        if not guarantees.deletes:
            assert oracle.read(KEY) == b"1"

    def test_a_deleted_document_is_not_listed(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        store.atomic_write(KEY, b"1")
        store.atomic_write("other", b"1")
        with as_claimed(guarantees.deletes):
            store.delete(KEY)
            with as_claimed(guarantees.lists):
                assert other.list_keys() == ["other"]

    def test_a_missing_document_cannot_be_deleted(self, store: Store, guarantees: Guarantees) -> None:
        with as_claimed(guarantees.deletes):
            with pytest.raises(DocumentNotFound):
                store.delete(KEY)
            store.atomic_write(KEY, b"1")
            store.delete(KEY)
            with pytest.raises(DocumentNotFound):
                store.delete(KEY)

    def test_a_deleted_document_can_be_written_again(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        version = store.atomic_write(KEY, b"1")
        with as_claimed(guarantees.deletes):
            store.delete(KEY)
            assert other.atomic_write(KEY, b"1") == version
            assert store.read_snapshot(KEY).data == b"1"

    def test_a_deleted_document_is_absent(self, store: Store, guarantees: Guarantees) -> None:
        version = store.atomic_write(KEY, b"1")
        with as_claimed(guarantees.deletes):
            store.delete(KEY)
            with as_claimed(guarantees.conditional_write != "none"):
                with pytest.raises(VersionConflict):
                    store.atomic_write(KEY, b"2", expect=version)
                store.atomic_write(KEY, b"2", expect=ABSENT)

    def test_the_expected_version_is_deleted_and_another_is_left(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        version = store.atomic_write(KEY, b"1")
        with as_claimed(guarantees.deletes and guarantees.conditional_write != "none"):
            with pytest.raises(VersionConflict):
                other.delete(KEY, expect=Version("0" * 64))
            assert oracle.read(KEY) == b"1"
            other.delete(KEY, expect=version)
            assert oracle.read(KEY) is None

    def test_a_deletion_on_a_condition_deletes_nothing_that_came_after(
        self, harness: Harness, open_client: Callable[[], Store], guarantees: Guarantees
    ) -> None:
        if not guarantees.deletes or guarantees.conditional_write == "none":
            return
        clients = [open_client() for _ in range(4)]

        def delete(client: Store, version: Version) -> bool:
            try:
                client.delete(KEY, expect=version)
            except (VersionConflict, DocumentNotFound):
                return False
            return True

        def replace(client: Store, version: Version) -> bool:
            try:
                client.atomic_write(KEY, b"new", expect=version)
            except VersionConflict:
                return False
            return True

        for _ in range(30):
            version = clients[0].atomic_write(KEY, b"old")
            ways = [delete, delete, replace, delete]
            done = together(
                [partial(way, client, version) for way, client in zip(ways, clients, strict=True)], harness.patience
            )
            assert done.count(True) == 1

    def test_writers_and_deleters_in_one_folder_do_not_disturb_each_other(
        self, harness: Harness, open_client: Callable[[], Store], guarantees: Guarantees
    ) -> None:
        if not guarantees.deletes:
            return

        def write_and_delete(client: Store, key: str) -> None:
            for _ in range(15):
                client.atomic_write(key, b"1")
                assert client.read_snapshot(key).data == b"1"
                client.delete(key)

        together([partial(write_and_delete, open_client(), f"shared/{name}") for name in "abc"], 3 * harness.patience)

    def test_deleting_leaves_the_lock_whole(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        store.atomic_write(KEY, b"1")
        with as_claimed(guarantees.deletes and guarantees.lock_scope != "none"), store.lock(KEY):
            store.delete(KEY)
            assert_locked(other, KEY)
