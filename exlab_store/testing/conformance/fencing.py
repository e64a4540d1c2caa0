"""A write under a lock that was lost is refused, where the backend claims ``fenced``."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import LockLost, StoreError
from exlab_store.model import ANY
from exlab_store.testing.conformance.clientele import KEY, Clientele, as_claimed, owner
from exlab_store.testing.conformance.running import Started
from exlab_store.testing.conformance.work import BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.locks.held import StoreLock
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Fencing"]


def _never() -> bool:
    return False


def _lose(harness: Harness, held: StoreLock) -> None:
    try:
        harness.break_lock(held.key)
    except NotImplementedError:
        held.inner.release()


class Fencing(Clientele):
    """``lock=`` of a write."""

    def test_a_write_under_a_held_lock_is_done(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        with as_claimed(guarantees.fenced), store.lock(KEY) as held:
            version = store.atomic_write(KEY, b"1", lock=held)
            assert other.read_snapshot(KEY).version == version
            store.atomic_write(KEY, b"2", lock=held)
            assert oracle.read(KEY) == b"2"

    def test_a_write_under_a_lock_and_on_a_condition_keeps_both(self, store: Store, guarantees: Guarantees) -> None:
        version = store.atomic_write(KEY, b"1")
        with as_claimed(guarantees.fenced and guarantees.conditional_write != "none"), store.lock(KEY) as held:
            store.atomic_write(KEY, b"2", expect=version, lock=held)
            assert store.read_snapshot(KEY).data == b"2"

    def test_a_lost_lock_refuses_the_write_and_the_document_stays(
        self, harness: Harness, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        store.atomic_write(KEY, b"1")
        with as_claimed(guarantees.fenced), store.lock(KEY) as held:
            store.atomic_write(KEY, b"2", lock=held)
            _lose(harness, held)
            with pytest.raises(LockLost):
                store.atomic_write(KEY, b"3", lock=held)
            assert oracle.read(KEY) == b"2"

    def test_the_backend_itself_refuses_a_write_under_a_lock_that_was_released(
        self, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not guarantees.fenced:  # then the core passes no lock on, which the next test sees
            return
        hooks = open_hooks()
        held = hooks.lock(KEY, owner(), 0, _never)
        hooks.atomic_write(KEY, b"1", ANY, held)
        held.release()
        with pytest.raises(LockLost):
            hooks.atomic_write(KEY, b"2", ANY, held)
        assert oracle.read(KEY) == b"1"

    def test_the_holder_before_cannot_overwrite_its_successor(
        self, harness: Harness, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not guarantees.fenced:
            return
        first, second = open_hooks(), open_hooks()
        lost = first.lock(KEY, owner("first"), 0, _never)
        try:
            harness.break_lock(KEY)
        except NotImplementedError:
            lost.release()
        held = second.lock(KEY, owner("second"), harness.patience, _never)
        second.atomic_write(KEY, b"successor", ANY, held)
        with pytest.raises(LockLost):
            first.atomic_write(KEY, b"zombie", ANY, lost)
        with pytest.raises(LockLost):
            lost.ensure_held()
        assert oracle.read(KEY) == b"successor"
        lost.release()
        held.ensure_held()
        held.release()

    def test_a_lock_that_is_lost_during_a_write_lets_nothing_be_overwritten(
        self, harness: Harness, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not guarantees.fenced:
            return
        first, second = open_hooks(), open_hooks()
        body = b"z" * BODY
        with first.lock(KEY, owner("first"), harness.patience, _never) as held:
            began = time.monotonic()
            first.atomic_write(KEY, body, ANY, held)
            duration = time.monotonic() - began
        for share in (0.2, 0.5, 0.8):
            lost = first.lock(KEY, owner("first"), harness.patience, _never)
            writer = Started(partial(first.atomic_write, KEY, body, ANY, lost))
            time.sleep(share * duration)
            try:
                harness.break_lock(KEY)
            except NotImplementedError:
                lost.release()
            with second.lock(KEY, owner("second"), harness.patience, _never) as held:
                second.atomic_write(KEY, b"successor", ANY, held)
                try:
                    writer.result(harness.patience)
                except StoreError:
                    pass  # it was refused, or came to its end before the lock was lost
                assert oracle.read(KEY) == b"successor", "the lock was not looked at when the write took effect"
            lost.release()

    def test_a_deletion_under_a_lost_lock_is_refused(
        self, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not (guarantees.fenced and guarantees.deletes):
            return
        hooks = open_hooks()
        held = hooks.lock(KEY, owner(), 0, _never)
        hooks.atomic_write(KEY, b"1", ANY, held)
        held.release()
        with pytest.raises(LockLost):
            hooks.delete(KEY, ANY, held)
        assert oracle.read(KEY) == b"1"

    def test_the_lock_of_another_document_is_no_lock_of_this_one(
        self, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        with as_claimed(guarantees.fenced), store.lock("another.json") as held:
            with pytest.raises(LockLost):
                store.atomic_write(KEY, b"1", lock=held)
            assert oracle.read(KEY) is None
            store.atomic_write("another.json", b"1", lock=held)
