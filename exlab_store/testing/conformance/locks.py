"""Locks: one holder at a time among all clients, nobody waits for ever, nothing stays behind."""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from exlab_store.clients.witness import overlap
from exlab_store.clients.work import count_up, hold
from exlab_store.errors import DocumentNotFound, LockLost, LockTimeout
from exlab_store.testing.conformance.clientele import (
    KEY,
    Clientele,
    as_claimed,
    assert_locked,
    between_processes,
    owner,
    start_processes,
    watched_fixture,
)
from exlab_store.testing.conformance.clients import start_client
from exlab_store.testing.conformance.running import Started, together, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.store import Store
    from exlab_store.testing.conformance.harness import Harness, Oracle

__all__ = ["Exclusion", "ProcessLocks", "Waiting"]


def _locks(guarantees: Guarantees) -> bool:
    return guarantees.lock_scope != "none"


def _never() -> bool:
    return False


class Exclusion(Clientele):
    """Who holds the lock, and of what."""

    def test_a_held_lock_keeps_every_other_client_out(
        self, store: Store, open_client: Callable[[], Store], guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            for _ in range(2):
                other = open_client()
                assert_locked(other, KEY)

    def test_a_released_lock_is_free_at_once(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        with as_claimed(_locks(guarantees)):
            for client in (store, other, store, store, other):
                client.lock(KEY, timeout=0).release()

    def test_a_lock_is_released_when_its_block_fails(self, store: Store, other: Store, guarantees: Guarantees) -> None:
        with as_claimed(_locks(guarantees)):
            with pytest.raises(ZeroDivisionError), store.lock(KEY):
                raise ZeroDivisionError
            other.lock(KEY, timeout=0).release()

    def test_locks_of_different_documents_do_not_touch_each_other(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        keys = ["a", "a.json", "b/a", "b/a.json", "b/c/a"]
        with as_claimed(_locks(guarantees)):
            held = [client.lock(key, timeout=0) for key, client in zip(keys, [store, other] * 3, strict=False)]
            for key in keys:
                assert_locked(store, key)
            for lock in held:
                lock.release()

    def test_a_document_that_does_not_exist_can_be_locked_and_is_not_made(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        key = "never/seen/before.json"
        with as_claimed(_locks(guarantees)):
            with store.lock(key):
                assert_locked(other, key)
                with pytest.raises(DocumentNotFound):
                    other.read_snapshot(key)
            assert oracle.read(key) is None

    def test_readers_and_writers_without_the_lock_do_not_wait_for_it(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        store.atomic_write(KEY, b"1")
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            assert within(harness.patience, lambda: other.read_snapshot(KEY).data) == b"1"
            within(harness.patience, lambda: other.atomic_write(KEY, b"2"))
            assert store.read_snapshot(KEY).data == b"2"

    def test_the_lock_outlives_the_replacement_of_the_document(
        self, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            store.atomic_write(KEY, b"1")
            other.atomic_write(KEY, b"2")
            assert_locked(other, KEY)

    def test_a_late_release_does_not_free_the_next_holders_lock(
        self, harness: Harness, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        first, second, third = open_hooks(), open_hooks(), open_hooks()
        with as_claimed(_locks(guarantees)):
            released = first.lock(KEY, owner("first"), 0, _never)
            released.release()
            held = second.lock(KEY, owner("second"), 0, _never)
            released.release()
            held.ensure_held()
            with pytest.raises(LockTimeout):
                within(harness.patience, lambda: third.lock(KEY, owner("third"), 0, _never))
            held.release()
            third.lock(KEY, owner("third"), 0, _never).release()

    def test_a_release_raises_nothing_be_it_the_first_or_the_second(
        self, harness: Harness, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        hooks = open_hooks()
        with as_claimed(_locks(guarantees)):
            held = hooks.lock(KEY, owner(), 0, _never)
            held.release_or_raise()  # the core logs what it raises: the work under the lock has happened
            held.release_or_raise()
            lost = hooks.lock(KEY, owner(), harness.patience, _never)
            with suppress(NotImplementedError):
                harness.break_lock(KEY)
            lost.release_or_raise()

    def test_who_has_waited_while_an_operator_broke_the_lock_holds_one_that_others_meet(
        self, harness: Harness, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        first, second, third = open_hooks(), open_hooks(), open_hooks()
        asked = threading.Semaphore(0)

        def waits() -> bool:
            asked.release()
            return False

        with as_claimed(_locks(guarantees)):
            broken = first.lock(KEY, owner("first"), 0, _never)
            waiter = Started(lambda: second.lock(KEY, owner("second"), harness.patience, waits))
            assert asked.acquire(timeout=harness.patience)
            with suppress(NotImplementedError):
                harness.break_lock(KEY)
            broken.release()
            with waiter.result(harness.patience) as held:
                held.ensure_held()
                with pytest.raises(LockTimeout):
                    within(harness.patience, lambda: third.lock(KEY, owner("third"), 0, _never))

    def test_a_lock_may_be_used_and_released_by_another_thread(
        self, harness: Harness, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        hooks, others = open_hooks(), open_hooks()
        with as_claimed(_locks(guarantees)):
            held = hooks.lock(KEY, owner(), 0, _never)
            within(harness.patience, held.ensure_held)
            within(harness.patience, held.release)
            others.lock(KEY, owner(), harness.patience / 2, _never).release()

    def test_a_released_lock_says_that_it_is_lost(
        self, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        hooks = open_hooks()
        with as_claimed(_locks(guarantees)):
            with hooks.lock(KEY, owner(), 0, _never) as held:
                held.ensure_held()
            with pytest.raises(LockLost):
                held.ensure_held()

    def test_a_held_lock_refuses_to_be_pickled_and_copied(
        self, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)), open_hooks().lock(KEY, owner(), 0, _never) as held:
            for way in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError):  # it belongs to the process that took it: see `ProcessBound`
                    way(held.inner)

    def test_a_client_that_closes_does_not_free_the_locks_of_others(
        self, store: Store, open_client: Callable[[], Store], guarantees: Guarantees
    ) -> None:
        closing = open_client()
        with as_claimed(_locks(guarantees)):
            closing.lock(KEY, timeout=0).release()
            with store.lock(KEY, timeout=0):
                assert_locked(closing, KEY)
                closing.close()
                assert_locked(open_client(), KEY)

    def test_hold_intervals_of_threads_never_overlap(
        self, harness: Harness, open_client: Callable[[], Store], guarantees: Guarantees
    ) -> None:
        clients = [open_client() for _ in range(4)]
        with as_claimed(_locks(guarantees)):
            holds = together(
                [partial(hold, client, KEY, str(name), seconds=0, times=10) for name, client in enumerate(clients)],
                3 * harness.patience,
            )
            assert overlap([each for held in holds for each in held]) is None

    def test_updates_by_threads_lose_nothing(
        self, harness: Harness, open_client: Callable[[], Store], guarantees: Guarantees, oracle: Oracle
    ) -> None:
        clients = [open_client() for _ in range(4)]
        with as_claimed(_locks(guarantees)):
            together(
                [partial(count_up, client, KEY, seconds=0, times=15) for client in clients],
                3 * harness.patience,
            )
            assert oracle.read(KEY) == b"60"

    def test_threads_that_share_one_client_lose_no_update(
        self, harness: Harness, store: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        with as_claimed(_locks(guarantees)):
            together([lambda: count_up(store, KEY, seconds=0, times=15)] * 4, 3 * harness.patience)
            assert oracle.read(KEY) == b"60"


class Waiting(Clientele):
    """How long a lock is waited for, and what ends the wait."""

    def test_a_timeout_of_zero_tries_once(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            tries: list[float] = []
            while not tries or (len(tries) < 5 and tries[-1] >= harness.patience / 20):
                began = time.monotonic()
                assert_locked(other, KEY)
                tries.append(time.monotonic() - began)
            assert min(tries) < harness.patience / 20  # of several, as a busy machine may hold one up

    def test_a_wait_ends_when_its_time_is_over(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            began = time.monotonic()
            with pytest.raises(LockTimeout):
                within(harness.patience, lambda: other.lock(KEY, timeout=0.3))
            waited = time.monotonic() - began
            assert 0.25 < waited < 0.3 + harness.patience / 4

    def test_a_timeout_names_the_holder_or_nobody(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)):
            store.lock(KEY, purpose="an earlier holder").release()
            with store.lock(KEY, purpose="the present holder") as held:
                with pytest.raises(LockTimeout) as caught:
                    within(harness.patience, lambda: other.lock(KEY, timeout=0))
                assert caught.value.holder in {None, held.owner}

    def test_a_lock_is_its_documents_and_its_owners(
        self, open_hooks: Callable[[], BackendHooks], guarantees: Guarantees
    ) -> None:
        mine = owner("mine")
        with as_claimed(_locks(guarantees)), open_hooks().lock(KEY, mine, 0, _never) as held:
            assert held.key == KEY
            assert held.owner == mine

    def test_a_waiter_gets_the_lock_when_it_is_released(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)):
            asked = threading.Event()
            held = store.lock(KEY)
            waiter = Started(lambda: other.lock(KEY, timeout=harness.patience, cancelled=_that_sets(asked)))
            assert asked.wait(harness.patience)
            assert not waiter.ended
            held.release()
            waiter.result(harness.patience).release()

    def test_a_cancelled_wait_ends_soon(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            asked, cancelled = threading.Event(), threading.Event()

            def is_cancelled() -> bool:
                asked.set()
                return cancelled.is_set()

            waiter = Started(lambda: other.lock(KEY, timeout=10 * harness.patience, cancelled=is_cancelled))
            assert asked.wait(harness.patience)
            cancelled.set()
            began = time.monotonic()
            with pytest.raises(LockTimeout):
                waiter.result(harness.patience)
            assert time.monotonic() - began < harness.patience / 4

    def test_a_wait_in_vain_leaves_nothing_that_holds_the_lock(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees
    ) -> None:
        with as_claimed(_locks(guarantees)):
            with store.lock(KEY):
                for cancelled in (_never, lambda: True):
                    with pytest.raises(LockTimeout):
                        within(
                            harness.patience,
                            partial(other.lock, KEY, timeout=0.05, cancelled=cancelled),
                        )
            other.lock(KEY, timeout=0).release()
            store.lock(KEY, timeout=0).release()

    def test_an_update_that_cannot_have_the_lock_changes_nothing(
        self, harness: Harness, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        store.atomic_write(KEY, b"1")
        with as_claimed(_locks(guarantees)), store.lock(KEY):
            with pytest.raises(LockTimeout):
                within(harness.patience, lambda: other.update(KEY, lambda _: b"2", timeout=0.05))
            assert oracle.read(KEY) == b"1"

    def test_an_update_whose_change_fails_changes_nothing_and_frees_the_lock(
        self, store: Store, other: Store, guarantees: Guarantees, oracle: Oracle
    ) -> None:
        def fails(_: bytes | None) -> bytes:
            raise ZeroDivisionError

        store.atomic_write(KEY, b"1")
        with as_claimed(_locks(guarantees)):
            with pytest.raises(ZeroDivisionError):
                store.update(KEY, fails)
            assert oracle.read(KEY) == b"1"
            other.lock(KEY, timeout=0).release()


def _that_sets(event: threading.Event) -> Callable[[], bool]:
    """A question that is never answered with yes, and that shows that somebody waits."""

    def cancelled() -> bool:
        event.set()
        return False

    return cancelled


class ProcessLocks(Clientele):
    """The lock between processes, for a backend whose lock reaches beyond one."""

    @watched_fixture
    def reaches_processes(self, harness: Harness, guarantees: Guarantees) -> bool:
        """Whether the backend's lock is one between processes, which then can be tried."""
        return between_processes(harness, guarantees) and guarantees.lock_scope in {"host", "site"}

    def test_a_lock_of_another_process_keeps_this_one_out(
        self, harness: Harness, store: Store, reaches_processes: bool
    ) -> None:
        if not reaches_processes:
            return
        with start_processes(harness, 1) as (process,):
            holder = process.ask("lock", key=KEY, timeout=0)
            with pytest.raises(LockTimeout) as caught:
                within(harness.patience, lambda: store.lock(KEY, timeout=0))
            assert caught.value.holder is None or caught.value.holder.id == holder
            process.ask("release")
            store.lock(KEY, timeout=0).release()

    def test_a_lock_of_this_process_keeps_another_out(
        self, harness: Harness, store: Store, reaches_processes: bool
    ) -> None:
        if not reaches_processes:
            return
        with start_processes(harness, 1) as (process,):
            with store.lock(KEY) as held:
                with pytest.raises(LockTimeout) as caught:
                    process.ask("lock", key=KEY, timeout=0.1)
                assert caught.value.holder in {None, held.owner}
            process.ask("lock", key=KEY, timeout=0)

    def test_hold_intervals_of_processes_never_overlap(self, harness: Harness, reaches_processes: bool) -> None:
        if not reaches_processes:
            return
        with start_processes(harness, 3) as clients:
            for name, client in enumerate(clients):
                client.send("hold", key=KEY, client=str(name), times=15)
            holds = [each for client in clients for each in client.answer(3 * harness.patience)]
        assert len(holds) == 45
        assert overlap(holds) is None

    def test_updates_by_processes_lose_nothing(self, harness: Harness, reaches_processes: bool, oracle: Oracle) -> None:
        if not reaches_processes:
            return
        with start_processes(harness, 3) as clients:
            for client in clients:
                client.send("count_up", key=KEY, times=20)
            for client in clients:
                client.answer(3 * harness.patience)
        assert oracle.read(KEY) == b"60"

    def test_the_lock_of_a_killed_process_is_free_as_claimed(
        self, harness: Harness, store: Store, guarantees: Guarantees, reaches_processes: bool
    ) -> None:
        if not reaches_processes:
            return
        process = start_client(harness)
        try:
            process.ask("lock", key=KEY, timeout=0)
        finally:
            process.kill()
        _assert_free_as_claimed(harness, store, guarantees)

    def test_the_lock_of_a_killed_process_is_free_though_a_program_that_it_began_goes_on(
        self, harness: Harness, store: Store, guarantees: Guarantees, reaches_processes: bool
    ) -> None:
        if not reaches_processes or sys.platform == "win32":
            return
        process = start_client(harness)
        program: int | None = None
        try:
            process.ask("lock", key=KEY, timeout=0)
            program = process.ask("begin_program")
            process.kill()
            _assert_free_as_claimed(harness, store, guarantees)
        finally:
            process.kill()
            if program is not None:
                os.kill(program, signal.SIGKILL)


def _assert_free_as_claimed(harness: Harness, store: Store, guarantees: Guarantees) -> None:
    """Asserts that the lock of a process that was killed can be had, where and when that is claimed."""
    if guarantees.lock_release == "explicit":  # the lock may stay for ever, and nobody promised otherwise
        return
    limit = harness.patience / 2 + (harness.lease if guarantees.lock_release == "lease" else 0.0)
    within(limit + harness.patience, lambda: store.lock(KEY, timeout=limit)).release()
