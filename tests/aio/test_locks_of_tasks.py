"""The locks of tasks: their turns, their timeouts, and what a task is told that holds the lock already."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from task_work import Asked, one_more, two_processes, until
from waiting import falls_below

from exlab_store import LockAlreadyHeld, LockTimeout, VersionConflict, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store
from contextlib import aclosing

from exlab_store.locks.held import StoreLock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from exlab_store import Store


pytestmark = pytest.mark.anyio


async def test_waiters_of_one_lock_do_not_keep_others_from_working(store: Store) -> None:
    with store.lock("busy"):
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(store.aio.update, "busy" if number % 2 else f"busy{number}", one_more)
            with anyio.fail_after(10):
                await store.aio.atomic_write("free", b"1")
            group.cancel_scope.cancel()
    assert store.read_snapshot("free").data == b"1"


async def test_many_locked_documents_do_not_keep_another_from_being_locked(store: Store) -> None:
    held = [store.lock(f"busy{number}") for number in range(40)]
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(store.aio.update, f"busy{number}", one_more)
        with anyio.fail_after(15):
            await store.aio.update("free", one_more)
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


async def test_a_timeout_of_nought_tries_once(store: Store) -> None:
    async with store.aio.lock("a", timeout=0):
        with pytest.raises(LockTimeout):
            await in_another_thread(store)


async def in_another_thread(store: Store) -> None:
    def attempt() -> None:
        store.lock("a", timeout=0)

    await anyio.to_thread.run_sync(attempt)


async def test_two_stores_of_one_place_share_the_turns_of_a_task(tmp_path: Path) -> None:
    with open_store(tmp_path) as one, open_store(f"file://localhost{tmp_path}") as other:
        async with one.aio.lock("a"):
            with pytest.raises(LockAlreadyHeld):
                async with other.aio.lock("a"):
                    pass


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


async def test_a_change_that_takes_the_lock_it_runs_under_is_told_so(store: Store) -> None:
    def change(_: bytes | None) -> bytes:
        store.update("a", lambda _: b"inner")
        return b"outer"

    with anyio.fail_after(5), pytest.raises(LockAlreadyHeld):
        await store.aio.update("a", change)
    store.lock("a", timeout=0).release()


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


async def test_a_task_that_finds_the_patient_threads_taken_asks_often() -> None:
    asked = Asked()
    mine, theirs = two_processes(asked)
    held = [theirs.lock(key) for key in ("long/0", "long/1", "long/2", "long/3", "short")]
    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(mine.aio.update, f"long/{number}", one_more)
        await until(lambda: len(asked.times) == 4)
        group.start_soon(mine.aio.update, "short", one_more)
        await until(lambda: asked.times.get("short", 0) >= 20)

        async def forty_times() -> float:
            before, began = asked.times["short"], time.monotonic()
            await until(lambda: asked.times["short"] >= before + 40)
            return time.monotonic() - began

        assert await falls_below(1.0, forty_times)  # asking every 64 ms takes two and a half seconds
        for lock in held:
            lock.release()
    assert mine.read_snapshot("short").data == b"1"


async def test_a_lock_in_a_generator_that_is_left_early_is_released_on_a_thread(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = StoreLock.release
    threads: list[threading.Thread] = []

    def recorded(lock: StoreLock) -> None:
        threads.append(threading.current_thread())
        release(lock)

    monkeypatch.setattr(StoreLock, "release", recorded)

    async def documents() -> AsyncGenerator[int]:
        async with memory.aio.lock("a"):
            for number in range(3):
                yield number

    async with aclosing(documents()) as found:
        async for _ in found:
            break
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
