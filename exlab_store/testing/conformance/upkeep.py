"""The upkeep of a store: lock files and temporary files, of a backend that shows them."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import DocumentNotFound, InvalidKey, NotSupported, VersionConflict
from exlab_store.keys import is_key, lock_key
from exlab_store.model import Leftover
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed, watched_fixture
from exlab_store.testing.conformance.running import Started, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Upkeep"]

_PARTS = 20  # of a look, in each of which the lock is asked for

_PLANTED = "folder/b.json.tmp.4711.0123456789abcdef"


class Upkeep(Clientele):
    """``list_leftovers``, ``remove_leftover`` and ``keep_copy``."""

    @watched_fixture
    def shows(self, open_hooks: Callable[[], BackendHooks]) -> bool:
        """Whether the backend implements both hooks."""
        return open_hooks().shows_leftovers

    def test_leftovers_that_are_not_shown_are_not_supported(self, store: Store, shows: bool) -> None:
        with as_claimed(shows):
            store.list_leftovers()
        if not shows:
            with pytest.raises(NotSupported):
                store.remove_leftover(Leftover(name=_PLANTED, kind="temporary", size=0))

    def test_a_held_lock_is_shown_with_its_owner_and_a_free_one_as_free(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle, shows: bool
    ) -> None:
        if not shows or guarantees.lock_scope == "none":
            return
        store.lock(KEY).release()
        for found in _locks(other):
            assert not found.held
            assert found.owner is None
        keeps_lock_files = lock_key(KEY) in oracle.names()
        with store.lock(KEY, purpose="conformance") as held:
            for client in (store, other):
                names = [found.name for found in _locks(client)]
                assert names == [lock_key(KEY)] or not (names or keeps_lock_files)
                for found in _locks(client):
                    assert found.held is not False
                    assert found.owner in {None, held.owner}
        for found in _locks(other):
            assert not found.held
            assert found.owner is None

    def test_who_looks_keeps_nobody_from_a_lock(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees, shows: bool
    ) -> None:
        if not shows or guarantees.lock_scope == "none":
            return
        store.lock(KEY).release()
        began = time.monotonic()
        other.list_leftovers()
        alone = time.monotonic() - began
        for part in range(_PARTS):  # each look finds the lock free, and is met in another part of it
            looking = Started(other.list_leftovers)
            looking.ends_within(alone * part / _PARTS)
            store.lock(KEY, timeout=0).release()
            while not looking.ended:
                store.lock(KEY, timeout=0).release()
            looking.result(harness.patience)

    def test_a_waiter_gets_its_lock_while_somebody_looks(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees, shows: bool
    ) -> None:
        if not shows or guarantees.lock_scope == "none":
            return
        held = store.lock(KEY)
        waiter = Started(lambda: other.lock(KEY, timeout=harness.patience).release())
        for _ in range(10):
            within(harness.patience, store.list_leftovers)
        held.ensure_held()
        held.release()
        while not waiter.ended:
            store.list_leftovers()
        waiter.result(harness.patience)

    def test_no_document_is_taken_for_a_leftover(self, store: Store, other: Store, shows: bool) -> None:
        if not shows:
            return
        for key in ("a.json", "lock", "a.lock.json", "b/a.tmp", "b/c/tmp.1", "b/c/a.json.corrupt-20260101T000000Z"):
            store.atomic_write(key, b"1")
        assert not [found.name for found in other.list_leftovers() if is_key(found.name)]

    def test_what_a_killed_writer_has_left_is_shown_below_its_folder_and_can_be_removed_once(
        self, store: Store, other: Store, oracle: Oracle, shows: bool
    ) -> None:
        store.atomic_write(KEY, b"1")
        if not shows or not oracle.plant(_PLANTED):
            return
        (found,) = [each for each in store.list_leftovers("folder") if each.kind == "temporary"]
        assert (found.name, found.size, found.held, found.owner) == (_PLANTED, len(b"planted"), None, None)
        assert not found.abandoned  # it was written a moment ago
        assert found.age is None or 0 <= found.age < 3600
        assert [each for each in store.list_leftovers("fold") if each.name == _PLANTED] == []
        assert store.list_leftovers("never/seen") == []
        other.remove_leftover(found)
        assert _PLANTED not in oracle.names()
        assert oracle.read(KEY) == b"1"
        with pytest.raises(DocumentNotFound):
            store.remove_leftover(found)

    def test_a_copy_has_the_bytes_of_the_document_and_replaces_what_stood_there(
        self, store: Store, other: Store, oracle: Oracle
    ) -> None:
        store.atomic_write(KEY, b"1")
        store.atomic_write("folder/copy.json", b"before")
        assert store.keep_copy(KEY, "folder/copy.json", b"1")
        assert other.read_snapshot("folder/copy.json").data == oracle.read(KEY) == b"1"
        store.atomic_write(KEY, b"2")
        assert other.read_snapshot("folder/copy.json").data == b"1"

    def test_what_a_backend_copies_by_itself_is_what_was_read(
        self, store: Store, open_hooks: Callable[[], BackendHooks], oracle: Oracle
    ) -> None:
        hooks = open_hooks()
        if not hooks.keeps_copies:
            return
        store.atomic_write(KEY, b"2")
        with pytest.raises(VersionConflict):
            hooks.keep_copy(KEY, "folder/copy.json", b"1")
        assert "folder/copy.json" not in oracle.names()

    def test_nothing_but_a_temporary_file_is_removed(
        self,
        store: Store,
        open_hooks: Callable[[], BackendHooks],
        guarantees: Guarantees,
        oracle: Oracle,
        shows: bool,
    ) -> None:
        if not shows:
            return
        store.atomic_write(KEY, b"1")
        if guarantees.lock_scope != "none":
            store.lock(KEY).release()
        before = oracle.names()
        hooks = open_hooks()
        for name in (KEY, lock_key(KEY), "folder", f"../{_PLANTED}", f"folder/../{_PLANTED}", ""):
            with pytest.raises(InvalidKey):
                hooks.remove_leftover(name)
        assert oracle.names() == before
        assert oracle.read(KEY) == b"1"
        for found in _locks(store):
            with pytest.raises(NotSupported):
                store.remove_leftover(found)


def _locks(client: Store) -> list[Leftover]:
    """The lock of the one document that is locked; a backend may keep other lock files for itself."""
    return [found for found in client.list_leftovers() if found.kind == "lock" and found.name == lock_key(KEY)]
