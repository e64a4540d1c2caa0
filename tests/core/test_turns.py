"""Threads of one process that want the same lock."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from exlab_store_memory.backend import Memory, MemoryBackend
from waiting import eventually

from exlab_store import LockAlreadyHeld, LockTimeout, open_store
from exlab_store.locks.held import new_owner
from exlab_store.locks.turns import Waiter, ask_for_turn, take_turn, turn_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from pathlib import Path

    from exlab_store import Store, StoreLock
    from exlab_store.model import LockOwner


def _waiters(store: Store, key: str) -> int:
    from exlab_store.locks import turns

    turn = turns._turns.get(turns.turn_id(store, store.address, key))
    return 0 if turn is None else len(turn._waiters)


class _Struck(Exception):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends a signal")
def test_a_strike_into_the_wait_for_the_end_of_a_turn_comes_out_as_it_is_and_the_turn_can_be_ended() -> None:
    from exlab_store.locks import turns

    def strike(*_: object) -> None:
        raise _Struck

    owner = new_owner("")
    turn = take_turn("document", "holder", owner, 0)
    taken, give_back = threading.Event(), threading.Event()

    def keep_mutex() -> None:
        with turns._mutex:
            taken.set()
            give_back.wait(30)

    keeper = threading.Thread(target=keep_mutex)
    before = signal.signal(signal.SIGALRM, strike)
    keeper.start()
    try:
        assert taken.wait(30)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(_Struck):
            turn.end(owner)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        give_back.set()
        keeper.join()
    turn.end(owner)
    take_turn("document", "another", owner, 0).end(owner)


def test_threads_get_the_lock_in_the_order_in_which_they_asked(store: Store) -> None:
    order: list[int] = []

    def take(number: int) -> None:
        with store.lock("a"):
            order.append(number)

    held = store.lock("a")
    threads = [threading.Thread(target=take, args=(number,)) for number in range(10)]
    for number, thread in enumerate(threads):
        thread.start()
        eventually(lambda expected=number + 1: _waiters(store, "a") == expected)  # type: ignore[misc]
    held.release()
    for thread in threads:
        thread.join()
    assert order == list(range(10))


def test_a_thread_that_holds_the_lock_is_told_so_at_once(store: Store) -> None:
    began = time.monotonic()
    with store.lock("a"), pytest.raises(LockAlreadyHeld):
        store.lock("a", timeout=30)
    assert time.monotonic() - began < 5


def test_so_is_one_that_took_it_through_another_store_at_the_same_place(tmp_path: Path, posix: Store) -> None:
    (tmp_path / "sub").mkdir()
    with open_store(tmp_path / "sub") as inner, posix.lock("sub/a.json"), pytest.raises(LockAlreadyHeld):
        inner.lock("a.json", timeout=30)


def test_two_fresh_stores_in_memory_have_nothing_to_do_with_each_other() -> None:
    with open_store("memory://") as one, open_store("memory://") as other, one.lock("a"), other.lock("a", timeout=0):
        pass


def test_an_update_within_an_update_of_the_same_document_is_told_so(store: Store) -> None:
    def change(current: bytes | None) -> bytes:
        store.update("a", lambda _: b"inner")
        return b"outer"

    with pytest.raises(LockAlreadyHeld):
        store.update("a", change)


def test_the_documents_of_different_keys_do_not_wait_for_each_other(store: Store) -> None:
    with store.lock("a"), store.lock("b", timeout=0):
        pass


def test_a_thread_that_waits_in_vain_is_told_who_is_before_it(store: Store) -> None:
    caught: list[LockTimeout] = []

    def wait() -> None:
        try:
            store.lock("a", timeout=0.01)
        except LockTimeout as error:
            caught.append(error)

    with store.lock("a", purpose="re-sync") as held:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert caught[0].holder == held.owner


def test_a_wait_that_is_cancelled_ends_and_leaves_the_queue(store: Store) -> None:
    cancel = threading.Event()
    ended: list[str] = []

    def wait() -> None:
        try:
            store.lock("a", timeout=30, cancelled=cancel.is_set)
        except LockTimeout:
            ended.append("cancelled")

    with store.lock("a"):
        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: _waiters(store, "a") == 1)
        cancel.set()
        thread.join(10)
        assert _waiters(store, "a") == 0
    assert ended == ["cancelled"]


def test_a_lock_taken_in_one_thread_may_be_released_in_another(store: Store) -> None:
    held = store.lock("a")
    thread = threading.Thread(target=held.release)
    thread.start()
    thread.join()
    with store.lock("a", timeout=0):
        pass


def test_a_second_release_takes_nothing_from_the_next_holder(store: Store) -> None:
    first = store.lock("a")
    first.release()
    with store.lock("a") as second:
        first.release()
        second.ensure_held()
        with pytest.raises(LockAlreadyHeld):
            store.lock("a", timeout=0)


@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan")])
def test_a_timeout_that_is_not_a_time_is_refused(store: Store, timeout: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        store.lock("a", timeout=timeout)


def test_many_threads_that_count_lose_nothing(store: Store) -> None:
    def count() -> None:
        for _ in range(25):
            store.update("n", lambda current: str(int(current or b"0") + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_snapshot("n").data == b"200"


def test_a_new_thread_is_not_taken_for_one_that_has_ended(store: Store) -> None:
    kept: list[object] = []
    for _ in range(3):  # the identifier of a thread is used again at once
        thread = threading.Thread(target=lambda: kept.append(store.lock(f"a{len(kept)}")))
        thread.start()
        thread.join()
    caught: list[type] = []

    def ask() -> None:
        for number in range(3):
            try:
                store.lock(f"a{number}", timeout=0)
            except (LockTimeout, LockAlreadyHeld) as error:
                caught.append(type(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert caught == [LockTimeout] * 3


def test_an_exception_of_the_caller_s_own_question_comes_out_as_it_is() -> None:
    def asked() -> bool:
        raise ZeroDivisionError

    memory = Memory()
    one, other = open_store(backend=MemoryBackend(memory)), open_store(backend=MemoryBackend(memory))
    with one.lock("a"), pytest.raises(ZeroDivisionError):
        other.lock("a", timeout=5, cancelled=asked)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_does_not_wait_for_the_threads_of_its_parent(store: Store) -> None:
    """Its parent's threads hold turns; in the child there is nobody who could give them back."""
    if store.location is None or store.location.scheme != "file":
        return  # a store in memory is the parent's
    release, taken = threading.Event(), threading.Event()

    def hold() -> None:
        turn = take_turn(turn_id(store, store.address, "a"), object(), store.lock("other").owner, 0)
        taken.set()
        release.wait(30)
        turn.end()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        child = os.fork()
    if child == 0:
        code = 1
        try:
            store.lock("a", timeout=0).release()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    release.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0


def test_threads_and_tasks_get_the_lock_in_the_order_in_which_they_asked(store: Store) -> None:
    order: list[str] = []

    def thread(name: str) -> None:
        with store.lock("a"):
            order.append(name)

    async def task(name: str) -> None:
        async with store.aio.lock("a"):
            order.append(name)

    async def two_tasks() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(task, "second")
            await anyio.to_thread.run_sync(eventually, lambda: _waiters(store, "a") == 2)
            group.start_soon(task, "third")

    held = store.lock("a")
    first, tasks, last = (
        threading.Thread(target=thread, args=("first",)),
        threading.Thread(target=anyio.run, args=(two_tasks,)),
        threading.Thread(target=thread, args=("last",)),
    )
    for waiting, each in enumerate((first, tasks, last)):
        each.start()
        eventually(lambda expected=(1, 3, 4)[waiting]: _waiters(store, "a") == expected)  # type: ignore[misc]
    held.release()
    for each in (first, tasks, last):
        each.join()
    assert order == ["first", "second", "third", "last"]


def test_a_thread_is_told_at_once_that_a_task_of_its_own_event_loop_holds_the_lock(store: Store) -> None:
    async def main() -> None:
        async with store.aio.lock("a"):
            with pytest.raises(LockAlreadyHeld):
                store.update("a", lambda _: b"1", timeout=30)

    began = time.monotonic()
    anyio.run(main)
    assert time.monotonic() - began < 5


def test_the_turn_passes_over_a_task_whose_event_loop_has_ended(store: Store) -> None:
    async def wait() -> None:
        async with store.aio.lock("a"):
            raise AssertionError("nobody is there to run this")

    held = store.lock("a")
    loop = asyncio.new_event_loop()
    task = loop.create_task(wait())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0.05))
    assert _waiters(store, "a") == 1
    loop.close()
    with ThreadPoolExecutor(1) as executor:
        next_one = executor.submit(store.lock, "a", timeout=10)
        eventually(lambda: _waiters(store, "a") == 2)
        held.release()
        taken = next_one.result(10)
        del loop, task
        gc.collect()  # what ends the task now takes the turn from nobody
        with pytest.raises(LockTimeout):
            store.lock("a", timeout=0)
        taken.release()
    store.lock("a", timeout=0).release()


def test_a_task_that_the_garbage_collector_ends_gives_its_lock_back(store: Store) -> None:
    async def hold(entered: asyncio.Event) -> None:
        async with store.aio.lock("a"):
            entered.set()
            await asyncio.sleep(60)

    async def main() -> asyncio.Task[None]:
        entered = asyncio.Event()
        task = asyncio.create_task(hold(entered))
        await entered.wait()
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(main())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    del loop, task
    gc.collect()
    store.lock("a", timeout=0).release()


# ------------------------------------------- what happens when the garbage collector runs at an unlucky moment


class Lost(Waiter):
    """A waiter whose event loop has ended."""

    def wake(self) -> bool:
        return False


def test_a_turn_that_ends_while_somebody_queues_at_it_is_free() -> None:
    place = object()
    first, _ = ask_for_turn(place, "first", new_owner(""), Lost)

    def unlucky(holder: Hashable, owner: LockOwner) -> Lost:
        first.end()
        return Lost(holder, owner)

    second, waiter = ask_for_turn(place, "second", new_owner(""), unlucky)
    assert waiter is None
    assert second is not first
    second.end()


def test_a_turn_goes_to_one_waiter_alone_when_another_ends_while_it_is_woken() -> None:
    place = object()
    turn, _ = ask_for_turn(place, "holder", new_owner(""), Lost)
    woken: list[str] = []

    class Ends(Lost):
        def wake(self) -> bool:
            assert turn.withdraw(self) is None  # it has the turn, and gives it back
            turn.end()
            return False

    class Waits(Lost):
        def wake(self) -> bool:
            woken.append(str(self.holder))
            return True

    ask_for_turn(place, "ends", new_owner(""), Ends)
    ask_for_turn(place, "second", new_owner(""), Waits)
    ask_for_turn(place, "third", new_owner(""), Waits)
    turn.end()
    assert woken == ["second"]
    turn.end()
    assert woken == ["second", "third"]
    turn.end()
    take_turn(place, "next", new_owner(""), 0).end()


def test_a_turn_that_its_last_waiter_gives_back_while_it_is_woken_is_free() -> None:
    place = object()
    turn, _ = ask_for_turn(place, "holder", new_owner(""), Lost)

    class Ends(Lost):
        def wake(self) -> bool:
            assert turn.withdraw(self) is None
            turn.end()
            return False

    ask_for_turn(place, "ends", new_owner(""), Ends)
    turn.end()
    take_turn(place, "next", new_owner(""), 0).end()


# ------------------------------------------------------------------------- tasks, and the calls they make


def _nested(store: Store) -> Callable[[bytes | None], bytes]:
    def change(_: bytes | None) -> bytes:
        store.update("a", lambda _: b"inner")
        return b"outer"

    return change


def _told_at_once(store: Store, call: Callable[[StoreLock], Awaitable[object]]) -> None:
    async def main() -> None:
        async with store.aio.lock("a") as held:
            with anyio.fail_after(10), pytest.raises(LockAlreadyHeld):
                await call(held)

    anyio.run(main)
    store.lock("a", timeout=0).release()
    store.lock("b", timeout=0).release()


def test_a_change_that_asks_for_the_lock_that_was_passed_on_is_told_so_at_once(store: Store) -> None:
    _told_at_once(store, lambda held: store.aio.update("a", _nested(store), lock=held))


def test_a_change_that_asks_for_another_lock_of_its_task_is_told_so_at_once(store: Store) -> None:
    _told_at_once(store, lambda _: store.aio.update("b", _nested(store)))


def test_what_a_change_has_scheduled_is_not_taken_for_its_task_later(store: Store) -> None:
    contexts: list[Context] = []

    def change(_: bytes | None) -> bytes:
        contexts.append(copy_context())  # as loop.call_soon_threadsafe does
        return b"1"

    async def main() -> None:
        await store.aio.update("a", change)
        async with store.aio.lock("a") as held:
            await store.aio.update("a", change, lock=held)
            for context in contexts:
                with pytest.raises(LockTimeout):
                    await anyio.to_thread.run_sync(context.run, lambda: store.lock("a", timeout=0))

    anyio.run(main)
    assert len(contexts) == 2
