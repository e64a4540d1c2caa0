"""The hooks that do in one call what others do in several, where the backend has them."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from exlab_store.errors import InvalidKey, LockLost, LockTimeout, NotSupported
from exlab_store.model import ABSENT, ANY, HeldLock
from exlab_store.testing.conformance.clientele import KEY, Clientele, owner, watched_fixture
from exlab_store.testing.conformance.running import Started, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import Backend, BackendHooks
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Combined"]


def _never() -> bool:
    return False


class Combined(Clientele):
    """``lock_and_read`` and ``write_and_release``: what the single hooks promise, they promise too."""

    @watched_fixture
    def hooks(self, open_hooks: Callable[[], BackendHooks]) -> BackendHooks:
        """The client under test, at its hooks."""
        return open_hooks()

    @watched_fixture
    def others(self, open_hooks: Callable[[], BackendHooks]) -> BackendHooks:
        """Another client, at its hooks."""
        return open_hooks()

    @watched_fixture
    def combined(self, hooks: BackendHooks, guarantees: Guarantees) -> bool:
        """Whether the backend has the hooks, and a lock for them."""
        return hooks.combines and guarantees.lock_scope != "none"

    def test_combined_hooks_come_together_and_without_locks_they_are_not_supported(
        self, open_backend: Callable[[], Backend], hooks: BackendHooks, guarantees: Guarantees
    ) -> None:
        backend = open_backend()
        both = [
            hasattr(getattr(backend, name, None), "exlab_store_impl") for name in ("lock_and_read", "write_and_release")
        ]
        assert both in ([True, True], [False, False]), "one of the two is never called without the other"
        if hooks.combines and guarantees.lock_scope == "none":
            with pytest.raises(NotSupported):
                hooks.lock_and_read(KEY, owner(), 0, _never)

    def test_a_lock_with_a_read_gives_the_document_or_none(
        self, hooks: BackendHooks, others: BackendHooks, combined: bool
    ) -> None:
        if not combined:
            return
        mine = owner("mine")
        held, snapshot = hooks.lock_and_read(KEY, mine, 0, _never)
        assert isinstance(held, HeldLock)
        assert (held.key, held.owner, snapshot) == (KEY, mine, None)
        held.release()
        version = others.atomic_write(KEY, b"1", ANY, None)
        held, snapshot = hooks.lock_and_read(KEY, owner(), 0, _never)
        assert snapshot is not None
        assert (snapshot.data, snapshot.version) == (b"1", version)
        held.release()

    def test_a_lock_with_a_read_keeps_every_other_client_out(
        self, harness: Harness, hooks: BackendHooks, others: BackendHooks, combined: bool
    ) -> None:
        if not combined:
            return
        held, _ = hooks.lock_and_read(KEY, owner(), 0, _never)
        for ask in (others.lock, others.lock_and_read):
            with pytest.raises(LockTimeout):
                within(harness.patience, lambda ask=ask: ask(KEY, owner(), 0, _never))  # type: ignore[misc]
        held.release()
        free, _ = others.lock_and_read(KEY, owner(), harness.patience, _never)
        free.release()

    def test_a_lock_that_was_waited_for_is_read_under_and_not_before(
        self, harness: Harness, hooks: BackendHooks, others: BackendHooks, combined: bool
    ) -> None:
        if not combined:
            return
        others.atomic_write(KEY, b"before", ANY, None)
        held = others.lock(KEY, owner("first"), 0, _never)
        asked = threading.Event()

        def waits() -> bool:
            asked.set()
            return False

        waiter = Started(lambda: hooks.lock_and_read(KEY, owner("second"), harness.patience, waits))
        assert asked.wait(harness.patience)
        others.atomic_write(KEY, b"after", ANY, None)
        held.release()
        second, snapshot = waiter.result(harness.patience)
        second.release()
        assert snapshot is not None
        assert snapshot.data == b"after", "the document was read before the lock was held"

    def test_a_lock_with_a_read_that_could_not_be_had_leaves_nothing_that_holds_it(
        self, harness: Harness, hooks: BackendHooks, others: BackendHooks, combined: bool
    ) -> None:
        if not combined:
            return
        held = others.lock(KEY, owner(), 0, _never)
        for timeout, cancelled in ((0.0, _never), (0.05, _never), (harness.patience, lambda: True)):
            with pytest.raises(LockTimeout):
                within(
                    harness.patience,
                    lambda timeout=timeout, cancelled=cancelled: hooks.lock_and_read(  # type: ignore[misc]
                        KEY, owner(), timeout, cancelled
                    ),
                )
        held.release()
        others.lock(KEY, owner(), harness.patience, _never).release()

    def test_a_lock_with_a_read_that_fails_leaves_nothing_that_holds_it(
        self, hooks: BackendHooks, others: BackendHooks, combined: bool
    ) -> None:
        if not combined:
            return
        others.atomic_write(KEY, b"1", ANY, None)
        folder = KEY.rpartition("/")[0]
        try:
            held, _ = hooks.lock_and_read(folder, owner(), 0, _never)
        except InvalidKey:
            pass  # and a storage system without folders reads that there is no document
        else:
            held.release()
        try:
            others.lock(folder, owner(), 0, _never).release()
        except InvalidKey:
            pass

    def test_a_write_that_gives_the_lock_back_is_done_and_the_lock_is_free(
        self, harness: Harness, hooks: BackendHooks, others: BackendHooks, combined: bool, oracle: Oracle
    ) -> None:
        if not combined:
            return
        held, _ = hooks.lock_and_read(KEY, owner(), 0, _never)
        version = hooks.write_and_release(KEY, b"1", ANY, held)
        assert oracle.read(KEY) == b"1"
        following, snapshot = others.lock_and_read(KEY, owner(), harness.patience, _never)
        assert snapshot is not None
        assert (snapshot.data, snapshot.version) == (b"1", version)
        held.release()  # as the core does in any case; it is the next holder's lock now
        following.ensure_held()
        with pytest.raises(LockTimeout):
            hooks.lock(KEY, owner(), 0, _never)
        following.release()

    def test_a_lock_that_was_given_back_with_a_write_is_held_no_more(
        self, hooks: BackendHooks, combined: bool, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not combined:
            return
        held, _ = hooks.lock_and_read(KEY, owner(), 0, _never)
        hooks.write_and_release(KEY, b"1", ANY, held)
        with pytest.raises(LockLost):
            held.ensure_held()
        if guarantees.fenced:
            with pytest.raises(LockLost):
                hooks.atomic_write(KEY, b"2", ANY, held)
            with pytest.raises(LockLost):
                hooks.write_and_release(KEY, b"3", ANY, held)
        assert oracle.read(KEY) == b"1"

    def test_a_write_that_gives_the_lock_back_is_refused_when_that_was_lost(
        self, harness: Harness, hooks: BackendHooks, others: BackendHooks, combined: bool, oracle: Oracle
    ) -> None:
        if not combined:
            return
        lost, _ = hooks.lock_and_read(KEY, owner("first"), 0, _never)
        try:
            harness.break_lock(KEY)
        except NotImplementedError:
            lost.release()
        held, _ = others.lock_and_read(KEY, owner("second"), harness.patience, _never)
        others.atomic_write(KEY, b"successor", ANY, held)
        with pytest.raises(LockLost):
            hooks.write_and_release(KEY, b"zombie", ANY, lost)
        assert oracle.read(KEY) == b"successor"
        lost.release()
        held.ensure_held()
        held.release()

    def test_a_write_that_gives_the_lock_back_keeps_its_condition_and_the_lock(
        self, hooks: BackendHooks, others: BackendHooks, combined: bool, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        if not (combined and guarantees.conditional_write != "none"):
            return
        held, _ = hooks.lock_and_read(KEY, owner(), 0, _never)
        version = hooks.atomic_write(KEY, b"1", ANY, held if guarantees.fenced else None)
        with pytest.raises(LockTimeout):
            others.lock(KEY, owner(), 0, _never)
        with pytest.raises(FileExistsError):
            hooks.write_and_release(KEY, b"2", ABSENT, held)
        held.ensure_held()
        assert oracle.read(KEY) == b"1"
        hooks.write_and_release(KEY, b"3", version, held)
        assert oracle.read(KEY) == b"3"
