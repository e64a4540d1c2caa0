"""The store for coroutines."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from exlab_store import DocumentNotFound, LockAlreadyHeld, LockTimeout, VersionConflict, open_store
from exlab_store.testing.faults import FaultPlan, delayed

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store

pytestmark = pytest.mark.anyio


def _one_more(current: bytes | None) -> bytes:
    return str(int(current or b"0") + 1).encode()


async def test_the_verbs_are_the_same(store: Store) -> None:
    path = store.aio
    with pytest.raises(DocumentNotFound):
        await path.read_snapshot("a")
    version = await path.atomic_write("a", b"1")
    assert (await path.read_snapshot("a")).version == version
    await path.update("a", lambda _: b"2")
    assert await path.list_keys() == ["a"]
    await path.delete("a", expect=(await path.read_snapshot("a")).version)
    assert await path.list_keys() == []


async def test_a_path_has_them_too(store: Store) -> None:
    path = (store / "a").aio
    await path.atomic_write(b"1")
    async with path.lock() as held:
        await path.atomic_write(b"2", lock=held)
    await path.update(_one_more)
    assert (await path.read_snapshot()).data == b"3"
    await path.delete()


async def test_three_hundred_updates_at_once_lose_nothing_and_take_few_threads(store: Store) -> None:
    before = threading.active_count()
    most = 0

    async def count() -> None:
        nonlocal most
        await store.aio.update("n", _one_more)
        most = max(most, threading.active_count() - before)

    async with anyio.create_task_group() as group:
        for _ in range(300):
            group.start_soon(count)
    assert store.read_snapshot("n").data == b"300"
    assert most <= 16


async def test_waiters_of_one_lock_do_not_keep_others_from_working(store: Store) -> None:
    with store.lock("busy"):
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(store.aio.update, "busy" if number % 2 else f"busy{number}", _one_more)
            with anyio.fail_after(10):
                await store.aio.atomic_write("free", b"1")
            group.cancel_scope.cancel()
    assert store.read_snapshot("free").data == b"1"


async def test_many_locked_documents_do_not_keep_another_from_being_locked(store: Store) -> None:
    held = [store.lock(f"busy{number}") for number in range(40)]
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(store.aio.update, f"busy{number}", _one_more)
        with anyio.fail_after(15):
            await store.aio.update("free", _one_more)
        group.cancel_scope.cancel()
    for lock in held:
        lock.release()
    assert store.read_snapshot("free").data == b"1"


async def test_a_task_that_holds_the_lock_is_told_so(store: Store) -> None:
    async with store.aio.lock("a"):
        with pytest.raises(LockAlreadyHeld):
            async with store.aio.lock("a"):
                pass


async def test_a_wait_for_another_task_ends_in_time(store: Store) -> None:
    async def wait() -> None:
        with pytest.raises(LockTimeout, match="another task"):
            async with store.aio.lock("a", timeout=0.01):
                pass

    async with store.aio.lock("a"), anyio.create_task_group() as group:
        group.start_soon(wait)


async def test_a_wait_for_another_thread_ends_in_time_and_says_how_long_it_was(store: Store) -> None:
    with store.lock("a", purpose="re-sync"), pytest.raises(LockTimeout, match=r"waited 0\.6 s") as caught:
        async with store.aio.lock("a", timeout=0.6):
            pass
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == "re-sync"


async def test_a_cancelled_wait_leaves_no_lock_behind(store: Store) -> None:
    held = store.lock("a")
    with anyio.move_on_after(0.05) as scope:
        async with store.aio.lock("a"):
            pytest.fail("nobody has released the lock")
    assert scope.cancelled_caught
    held.release()
    with store.lock("a", timeout=0):
        pass


async def test_a_cancelled_write_ends_before_its_task_does(tmp_path: Path, posix: Store) -> None:
    data = b"x" * (8 << 20)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel_soon() -> None:
                while not list(tmp_path.iterdir()):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            group.start_soon(cancel_soon)
            await posix.aio.atomic_write("a", data)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert posix.read_snapshot("a").data == data


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
                group.start_soon(store.aio.update, "a", _one_more)
            await anyio.sleep(0.3)
            group.cancel_scope.cancel()
    assert longest < 1  # a loop that is blocked by one waiter stands still for 30 s


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_s_own_cancellation_leaves_no_lock_behind(store: Store) -> None:
    async def hold() -> None:
        async with store.aio.lock("a"):
            await asyncio.sleep(60)

    async def wait() -> None:
        async with store.aio.lock("a"):
            pass

    for delay in (0.0, 0.0005, 0.001, 0.002, 0.005):
        tasks = [asyncio.create_task(work()) for work in (hold, wait, wait, hold)]
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with store.lock("a", timeout=0):
            pass


def test_a_store_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for _ in range(3):
            anyio.run(store.aio.update, "n", _one_more)
        assert store.read_snapshot("n").data == b"3"


def test_two_event_loops_at_once_lose_nothing(tmp_path: Path) -> None:
    async def many(store: Store) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(store.aio.update, "n", _one_more)

    with open_store(tmp_path) as store:
        threads = [threading.Thread(target=anyio.run, args=(many, store)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.read_snapshot("n").data == b"100"


async def test_a_timeout_of_nought_tries_once(store: Store) -> None:
    async with store.aio.lock("a", timeout=0):
        with pytest.raises(LockTimeout):
            await in_another_thread(store)


async def in_another_thread(store: Store) -> None:
    def attempt() -> None:
        store.lock("a", timeout=0)

    await anyio.to_thread.run_sync(attempt)


async def test_two_hundred_waiters_do_not_hold_up_a_reader(store: Store) -> None:
    store.atomic_write("free", b"1")
    held = [store.lock(f"busy{number}") for number in range(200)]
    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(store.aio.update, f"busy{number}", _one_more)
        await anyio.sleep(0.2)
        began = time.perf_counter()
        await store.aio.read_snapshot("free")
        took = time.perf_counter() - began
        group.cancel_scope.cancel()
    for lock in held:
        lock.release()
    assert took < 1  # waiters that keep their threads hold it up for seconds


async def test_two_stores_of_one_place_share_the_turns_of_a_task(tmp_path: Path) -> None:
    with open_store(tmp_path) as one, open_store(f"file://localhost{tmp_path}") as other:
        async with one.aio.lock("a"):
            with pytest.raises(LockAlreadyHeld):
                async with other.aio.lock("a"):
                    pass


async def test_a_slow_share_does_not_take_the_threads_of_another(store: Store) -> None:
    slow = open_store("memory://slow-share", observers=[FaultPlan(delayed("read_snapshot", seconds=0.5))])
    slow.atomic_write("a", b"1")
    store.atomic_write("a", b"1")
    async with anyio.create_task_group() as group:
        for _ in range(16):
            group.start_soon(slow.aio.read_snapshot, "a")
        await anyio.sleep(0.05)
        began = time.perf_counter()
        await store.aio.read_snapshot("a")
        took = time.perf_counter() - began
    assert took < 0.45  # 16 reads of half a second each on 8 threads


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_lock_that_comes_after_its_task_was_cancelled_is_given_back(store: Store) -> None:
    """asyncio cancels the task while the thread is still taking the lock."""
    plan = FaultPlan(delayed("lock", seconds=0.1, times=1))
    with open_store("memory://late-lock", observers=[plan]) as late:

        async def wait() -> None:
            async with late.aio.lock("a"):
                pytest.fail("the task was cancelled")

        task = asyncio.create_task(wait())
        while not plan.calls("lock"):  # noqa: ASYNC110  # the plan counts in a thread
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()  # a second one, while the end of the thread is awaited
        await asyncio.gather(task, return_exceptions=True)
        with open_store("memory://late-lock") as other, other.lock("a", timeout=0):
            pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_cancelled_while_it_gives_the_lock_back_gives_it_back(store: Store) -> None:
    async def hold(entered: asyncio.Event, leave: asyncio.Event) -> None:
        async with store.aio.lock("a"):
            entered.set()
            await leave.wait()
            asyncio.current_task().cancel()  # type: ignore[union-attr]

    entered, leave = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(hold(entered, leave))
    await entered.wait()
    leave.set()
    await asyncio.gather(task, return_exceptions=True)
    with store.lock("a", timeout=0):
        pass


# ------------------------------------------------------------------------------------- where the work is done


def _threads_of_stores() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("exlab-store")}


async def test_tasks_that_wait_for_a_task_take_no_thread(posix: Store) -> None:
    async with posix.aio.lock("a"), anyio.create_task_group() as group:
        before = _threads_of_stores()
        for _ in range(300):
            group.start_soon(posix.aio.update, "a", _one_more)
        await anyio.sleep(0.1)
        assert _threads_of_stores() <= before
        group.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_loop_s_own_executor_is_left_alone(store: Store) -> None:
    await store.aio.update("a", _one_more)
    async with store.aio.lock("b"):
        await store.aio.read_snapshot("a")
    assert asyncio.get_running_loop()._default_executor is None  # type: ignore[attr-defined]


async def test_conditional_writes_that_wait_for_the_lock_keep_nobody_else_from_working(posix: Store) -> None:
    assert posix.guarantees.conditional_write == "locked"
    version = posix.atomic_write("a", b"1")
    outcomes: list[str] = []

    async def swap(number: int) -> None:
        try:
            await posix.aio.atomic_write("a", b"%d" % number, expect=version)
            outcomes.append("written")
        except VersionConflict:
            outcomes.append("conflict")

    held = posix.lock("a")
    async with anyio.create_task_group() as group:
        for number in range(100, 140):
            group.start_soon(swap, number)
        await anyio.sleep(0.1)
        assert outcomes == []
        with anyio.fail_after(5):
            await posix.aio.atomic_write("b", b"1")
        held.release()
    assert sorted(outcomes) == ["conflict"] * 39 + ["written"]


async def test_a_conditional_deletion_waits_for_the_lock_too(posix: Store) -> None:
    version = posix.atomic_write("a", b"1")
    async with anyio.create_task_group() as group, posix.aio.lock("a"):
        group.start_soon(lambda: posix.aio.delete("a", expect=version))
        await anyio.sleep(0.05)
        assert posix.read_snapshot("a").data == b"1"
    assert posix.list_keys() == []


async def test_a_change_sees_the_context_of_its_task(store: Store) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    def change(_: bytes | None) -> bytes:
        seen.append(request.get())
        request.set("changed")
        return b"1"

    request.set("number 7")
    await store.aio.update("a", change)
    assert seen == ["number 7"]
    assert request.get() == "number 7"


async def test_a_change_that_takes_the_lock_it_runs_under_is_told_so(store: Store) -> None:
    def change(_: bytes | None) -> bytes:
        store.update("a", lambda _: b"inner")
        return b"outer"

    with anyio.fail_after(5), pytest.raises(LockAlreadyHeld):
        await store.aio.update("a", change)
    store.lock("a", timeout=0).release()


async def test_a_change_may_update_another_document(store: Store) -> None:
    def change(_: bytes | None) -> bytes:
        store.update("b", _one_more)
        return b"1"

    await store.aio.update("a", change)
    assert store.read_snapshot("b").data == b"1"


async def test_a_lock_timeout_within_a_change_is_not_taken_for_one_s_own(store: Store) -> None:
    calls: list[object] = []

    def change(_: bytes | None) -> bytes:
        calls.append(1)
        store.lock("b", timeout=0)
        return b"1"

    with store.lock("b"), pytest.raises(LockTimeout) as caught:
        await store.aio.update("a", change)
    assert caught.value.key == "b"
    assert len(calls) == 1


# --------------------------------------------------------------------------------------------- cancellation


async def test_a_task_cancelled_in_the_middle_of_an_update_ends_when_the_outcome_is_known() -> None:
    plan = FaultPlan(delayed("atomic_write", seconds=0.2, times=1))
    with open_store("memory://", observers=[plan]) as slow, anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel_soon() -> None:
                while not plan.calls("atomic_write"):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            group.start_soon(cancel_soon)
            await slow.aio.update("a", _one_more)
            pytest.fail("the task was cancelled")
    assert scope.cancelled_caught
    assert plan.calls("atomic_write") == 1


async def test_the_outcome_of_a_cancelled_update_is_there_and_its_lock_is_free() -> None:
    plan = FaultPlan(delayed("atomic_write", seconds=0.1, times=1))
    name = f"memory://cancelled-update-{time.monotonic_ns()}"
    with open_store(name, observers=[plan]) as slow, open_store(name) as other:
        with anyio.move_on_after(0.05) as scope:
            await slow.aio.update("a", _one_more)
        assert scope.cancelled_caught
        assert other.read_snapshot("a").data == b"1"
        other.lock("a", timeout=0).release()


async def test_what_was_cancelled_before_a_thread_was_free_never_begins() -> None:
    plan = FaultPlan(delayed("read_snapshot", seconds=0.5))
    with open_store("memory://", observers=[plan]) as slow:
        with anyio.move_on_after(0.05):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(slow.aio.read_snapshot, "a")
        assert plan.calls("read_snapshot") <= 16


async def test_a_cancelled_task_begins_nothing(store: Store) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aio.atomic_write("a", b"1")
    assert store.list_keys() == []


async def test_a_lock_is_given_back_under_cancellation(store: Store) -> None:
    with anyio.CancelScope() as scope:
        async with store.aio.lock("a"):
            scope.cancel()
            await anyio.sleep(60)
    store.lock("a", timeout=0).release()


async def test_a_thousand_tasks_cancelled_at_any_moment_leave_no_lock_behind(store: Store) -> None:
    for delay in (0, 0.001, 0.003, 0.01, 0.03):
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(store.aio.update, f"load/{number % 5}", _one_more)
            await anyio.sleep(delay)
            group.cancel_scope.cancel()
        for number in range(5):
            store.lock(f"load/{number}", timeout=0).release()


# ------------------------------------------------------------------------------------------------------ forks


def test_a_forked_child_has_threads_of_its_own(tmp_path: Path) -> None:
    program = """
import os, sys, anyio
from exlab_store import open_store
def update(store):
    anyio.run(store.aio.update, "n", lambda stored: str(int(stored or b"0") + 1).encode())
with open_store(sys.argv[1]) as store:
    update(store)
    child = os.fork()
    if not child:
        with open_store(sys.argv[1]) as own:
            update(own)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    update(store)
    assert store.read_snapshot("n").data == b"3"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=True, timeout=60)
