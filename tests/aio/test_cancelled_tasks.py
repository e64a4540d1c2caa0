"""Tasks that are cancelled: what has begun comes to its end, and no lock is left behind."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from task_work import one_more

from exlab_store import open_store
from exlab_store.testing.faults import FaultPlan, delayed

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store


pytestmark = pytest.mark.anyio


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


async def test_a_task_cancelled_in_the_middle_of_an_update_ends_when_the_outcome_is_known() -> None:
    plan = FaultPlan(delayed("atomic_write", seconds=0.2, times=1))
    with open_store("memory://", observers=[plan]) as slow, anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel_soon() -> None:
                while not plan.calls("atomic_write"):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            group.start_soon(cancel_soon)
            await slow.aio.update("a", one_more)
            pytest.fail("the task was cancelled")
    assert scope.cancelled_caught
    assert plan.calls("atomic_write") == 1


async def test_the_outcome_of_a_cancelled_update_is_there_and_its_lock_is_free() -> None:
    plan = FaultPlan(delayed("atomic_write", seconds=0.1, times=1))
    name = f"memory://cancelled-update-{time.monotonic_ns()}"
    with open_store(name, observers=[plan]) as slow, open_store(name) as other:
        with anyio.move_on_after(0.05) as scope:
            await slow.aio.update("a", one_more)
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
                group.start_soon(store.aio.update, f"load/{number % 5}", one_more)
            await anyio.sleep(delay)
            group.cancel_scope.cancel()
        for number in range(5):
            store.lock(f"load/{number}", timeout=0).release()
