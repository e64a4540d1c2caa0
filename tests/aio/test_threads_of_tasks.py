"""The threads behind coroutines: few, shared fairly, gone with the store; and a system that has none."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from task_work import Gate, one_more, until
from waiting import falls_below

from exlab_store import open_store
from exlab_store.testing.faults import FaultPlan, delayed

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store
from exlab_store import BackendUnavailable, NotSupported, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from exlab_store import Snapshot, Store


pytestmark = pytest.mark.anyio


async def test_three_hundred_updates_at_once_lose_nothing_and_take_few_threads(store: Store) -> None:
    before = threading.active_count()
    most = 0

    async def count() -> None:
        nonlocal most
        await store.aio.update("n", one_more)
        most = max(most, threading.active_count() - before)

    async with anyio.create_task_group() as group:
        for _ in range(300):
            group.start_soon(count)
    assert store.read_snapshot("n").data == b"300"
    assert most <= 16


async def test_the_loop_goes_on_while_many_wait(store: Store) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await anyio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    with store.lock("a"):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            for _ in range(300):
                group.start_soon(store.aio.update, "a", one_more)
            await anyio.sleep(0.3)
            group.cancel_scope.cancel()
    assert longest < 15  # a loop that is blocked by one waiter stands still for 30 s


async def test_two_hundred_waiters_do_not_hold_up_a_reader(store: Store) -> None:
    store.atomic_write("free", b"1")
    held = [store.lock(f"busy{number}") for number in range(200)]
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(store.aio.update, f"busy{number}", one_more)
        await anyio.sleep(0.2)
        began = time.perf_counter()
        await store.aio.read_snapshot("free")
        took = time.perf_counter() - began
        group.cancel_scope.cancel()
    for lock in held:
        lock.release()
    assert took < 15  # waiters that keep their threads hold it up for 30 s


async def test_a_slow_share_does_not_take_the_threads_of_another(store: Store) -> None:
    slow = open_store("memory://slow-share", observers=[FaultPlan(delayed("read_snapshot", seconds=0.5))])
    slow.atomic_write("a", b"1")
    store.atomic_write("a", b"1")

    async def measure() -> float:
        async with anyio.create_task_group() as group:
            for _ in range(16):
                group.start_soon(slow.aio.read_snapshot, "a")
            await anyio.sleep(0.05)
            began = time.perf_counter()
            await store.aio.read_snapshot("a")
            return time.perf_counter() - began

    assert await falls_below(0.45, measure)  # 16 reads of half a second each on 8 threads


def _threads_of_stores() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("exlab-store")}


async def test_tasks_that_wait_for_a_task_take_no_thread(posix: Store) -> None:
    async with posix.aio.lock("a"), anyio.create_task_group() as group:
        before = _threads_of_stores()
        for _ in range(300):
            group.start_soon(posix.aio.update, "a", one_more)
        await anyio.sleep(0.1)
        assert _threads_of_stores() <= before
        group.cancel_scope.cancel()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has the system refuse threads from now on."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    return lambda: monkeypatch.setattr(threading.Thread, "start", refuse)


async def test_what_failed_for_want_of_a_thread_is_not_done_later(
    no_threads: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    with open_store("memory://no-threads", observers=[gate]) as store:
        async with anyio.create_task_group() as group:
            group.start_soon(store.aio.atomic_write, "busy", b"1")
            await until(gate.reached.is_set)
            no_threads()
            with pytest.raises(BackendUnavailable, match="no thread") as caught:
                await store.aio.atomic_write("a", b"1")
            assert (caught.value.key, caught.value.location) == ("a", "memory://no-threads")
            with pytest.raises(BackendUnavailable, match="no thread"):
                async with store.aio.lock("a"):
                    pass
            monkeypatch.undo()
            gate.opened.set()
        await store.aio.atomic_write("last", b"1")  # on the same thread, after all that was queued for it
        assert store.list_keys() == ["busy", "last"]
        store.lock("a", timeout=0).release()


async def test_a_lock_is_released_without_a_thread_too(memory: Store, no_threads: Callable[[], None]) -> None:
    async with memory.aio.lock("a") as held:
        memory.close()  # and with it the thread that took the lock
        no_threads()
    assert "released" in repr(held)


def test_many_documents_are_read_without_threads_too(no_threads: Callable[[], None]) -> None:
    class Slow:
        @hookimpl(wrapper=True)
        def read_snapshot(self) -> Generator[None, Snapshot, Snapshot]:
            time.sleep(0.003)  # longer than what is quick
            return (yield)

    with open_store("memory://", observers=[Slow()]) as store:
        store.atomic_write("a", b"1")
        no_threads()
        assert [key for key, _ in store.read_many(["a"] * 20)] == ["a"] * 20


async def test_reading_many_documents_without_any_thread_is_an_error(
    memory: Store, no_threads: Callable[[], None]
) -> None:
    no_threads()
    with pytest.raises(BackendUnavailable, match="no thread") as caught:
        _ = [key async for key, _ in memory.aio.read_many(["a"] * 20)]
    assert caught.value.key == "a"


async def test_what_is_done_after_the_store_was_closed_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = open_store(tmp_path)
    async with store.aio.lock("a"):
        store.close()
    with pytest.raises(NotSupported, match="closed"):
        await store.aio.read_snapshot("a")
    with pytest.raises(NotSupported, match="closed"):
        await store.aio.update("a", one_more)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("exlab-store"):
            thread.join(5)
            assert not thread.is_alive()
