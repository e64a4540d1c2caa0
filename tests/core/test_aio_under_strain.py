"""Coroutines where something is in the way: other processes, failures while a task is cancelled, no threads."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from exlab_store_memory.backend import Memory, MemoryBackend, MemoryLock

from exlab_store import BackendUnavailable, NotSupported, StorageFull, hookimpl, open_store
from exlab_store.locks.held import StoreLock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from pathlib import Path

    from exlab_store import Snapshot, Store, Version
    from exlab_store.model import HeldLock

pytestmark = pytest.mark.anyio


def one_more(stored: bytes | None) -> bytes:
    return str(int(stored or b"0") + 1).encode()


class Asked:
    """Counts how often each lock is asked for."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}

    @hookimpl(wrapper=True)
    def lock(self, key: str) -> Generator[None, HeldLock, HeldLock]:
        self.times[key] = self.times.get(key, 0) + 1
        return (yield)


def two_processes(observer: object) -> tuple[Store, Store]:
    """Two stores of one place that know nothing of each other's turns."""
    memory = Memory()
    return open_store(backend=MemoryBackend(memory), observers=[observer]), open_store(backend=MemoryBackend(memory))


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  # what is waited for happens in threads
            await anyio.sleep(0.001)


# --------------------------------------------------------------------------------------------- other processes


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
        before, began = asked.times["short"], time.monotonic()
        await until(lambda: asked.times["short"] >= before + 40)
        assert time.monotonic() - began < 1  # asking every 64 ms takes two and a half seconds
        for lock in held:
            lock.release()
    assert mine.read_snapshot("short").data == b"1"


# ------------------------------------------------------------------------- failures while a task is cancelled


class Gate:
    """Keeps the calls of hooks waiting until it is opened, and may make them fail then."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.reached = threading.Event()
        self.opened = threading.Event()

    def let_through(self) -> None:
        self.reached.set()
        assert self.opened.wait(10)
        if self.failure is not None:
            raise self.failure

    @hookimpl(wrapper=True)
    def atomic_write(self) -> Generator[None, Version, Version]:
        self.let_through()
        return (yield)

    @hookimpl(wrapper=True)
    def read_snapshot(self) -> Generator[None, Snapshot, Snapshot]:
        self.let_through()
        return (yield)


async def cancelled_in_the_middle(gate: Gate, work: Callable[[], Awaitable[object]]) -> BaseException:
    """What a task raises that is cancelled while its call waits at the gate."""
    raised: list[BaseException] = []
    scope = anyio.CancelScope()

    async def cancel() -> None:
        await until(gate.reached.is_set)
        scope.cancel()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        gate.opened.set()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        with scope:
            try:
                await work()
            except BaseException as error:
                raised.append(error)
                raise
    assert scope.cancelled_caught
    return raised[0]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "exlab_store"]


async def test_a_write_that_fails_while_its_task_is_cancelled_is_logged_and_is_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate(StorageFull("the disk is full"))
    with open_store("memory://cancelled-write", observers=[gate]) as store:
        raised = await cancelled_in_the_middle(gate, lambda: store.aio.atomic_write("a/b", b"1"))
    assert isinstance(raised, anyio.get_cancelled_exc_class())
    assert isinstance(raised.__cause__, StorageFull)
    assert raised.__cause__.key == "a/b"
    (warning,) = warnings_of(caplog)
    assert "memory://cancelled-write/a/b" in warning
    assert "StorageFull: the disk is full" in warning
    assert caplog.records[-1].levelno == logging.WARNING


async def test_so_is_an_update_whose_change_fails(memory: Store, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(ZeroDivisionError("no number"))

    def change(_: bytes | None) -> bytes:
        gate.let_through()
        return b"never"

    raised = await cancelled_in_the_middle(gate, lambda: memory.aio.update("a", change))
    assert isinstance(raised.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError: no number" in warnings_of(caplog)[0]
    memory.lock("a", timeout=0).release()


async def test_a_read_that_fails_while_its_task_is_cancelled_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(BackendUnavailable("gone", exhausted=True))
    with open_store("memory://", observers=[gate]) as store:
        await cancelled_in_the_middle(gate, lambda: store.aio.read_snapshot("a"))
    assert warnings_of(caplog) == []


async def test_a_wait_for_another_process_that_is_cancelled_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    mine, theirs = two_processes(asked)
    with theirs.lock("a"):
        async with anyio.create_task_group() as group:
            group.start_soon(mine.aio.update, "a", one_more)
            await until(lambda: "a" in asked.times)
            group.cancel_scope.cancel()
    assert warnings_of(caplog) == []
    mine.lock("a", timeout=0).release()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_of_asyncio_ends_as_cancelled_whatever_its_write_does() -> None:
    gate = Gate(StorageFull("the disk is full"))
    with open_store("memory://", observers=[gate]) as store:
        task = asyncio.create_task(store.aio.atomic_write("a", b"1"))
        await until(gate.reached.is_set)
        task.cancel()
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert task.cancelled()
    assert isinstance(caught.value.__cause__, StorageFull)


@pytest.fixture
def failing_release(monkeypatch: pytest.MonkeyPatch) -> None:
    release = MemoryLock.release

    def fail(lock: MemoryLock) -> None:
        release(lock)
        raise BackendUnavailable("the server did not answer the release")

    monkeypatch.setattr(MemoryLock, "release", fail)


@pytest.mark.usefixtures("failing_release")
async def test_a_release_that_fails_is_logged_and_no_error(memory: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with memory.aio.lock("a"):
        pass
    assert "did not answer the release" in warnings_of(caplog)[0]


@pytest.mark.usefixtures("failing_release")
async def test_a_release_that_fails_does_not_take_the_place_of_a_cancellation(
    memory: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with anyio.CancelScope() as scope:
        async with memory.aio.lock("a"):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert "did not answer the release" in warnings_of(caplog)[0]


@pytest.mark.usefixtures("failing_release")
async def test_nor_does_that_of_a_lock_that_came_too_late(caplog: pytest.LogCaptureFixture) -> None:
    class Late(Gate):
        @hookimpl(wrapper=True)
        def lock(self) -> Generator[None, HeldLock, HeldLock]:
            held = yield
            self.let_through()
            return held

    late = Late()
    with open_store("memory://", observers=[late]) as store:

        async def take() -> None:
            async with store.aio.lock("a"):
                pytest.fail("the task was cancelled")

        await cancelled_in_the_middle(late, take)
    assert "did not answer the release" in warnings_of(caplog)[0]


def test_a_second_interruption_while_a_lock_is_taken_leaves_no_lock_behind() -> None:
    program = """
import signal, threading, anyio, trio
from concurrent.futures import ThreadPoolExecutor
from exlab_store import hookimpl, open_store

idle, ended = threading.Event(), threading.Event()
tokens = []

def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

class Interrupted:
    @hookimpl(wrapper=True)
    def lock(self, cancelled):
        held = yield
        tokens[0].run_sync_soon(idle.set)  # once the task has gone to sleep
        assert idle.wait(10)
        interrupt()
        while not cancelled():
            pass
        interrupt()
        assert ended.wait(10)
        return held

async def take(store):
    tokens.append(trio.lowlevel.current_trio_token())
    async with store.aio.lock("a"):
        print("entered")

with open_store("memory://twice", observers=[Interrupted()]) as store:
    try:
        anyio.run(take, store, backend="trio")
    except KeyboardInterrupt:
        ended.set()
    with open_store("memory://twice") as other, ThreadPoolExecutor(1) as executor:
        executor.submit(other.lock, "a", timeout=5).result()
        print("free")
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.stdout, result.stderr) == ("free\n", "")


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


# --------------------------------------------------------------------------------- threads, and the lack of them


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


# ---------------------------------------------------------------------------------------------- event loops


def test_an_event_loop_that_has_ended_does_not_stay_in_memory(memory: Store) -> None:
    loops: list[weakref.ref[object]] = []

    async def use() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await memory.aio.update("a", one_more)

    async def be_cancelled_at_the_doorway() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(memory.aio.update, "a", one_more)
            await use()
            group.cancel_scope.cancel()

    asyncio.run(use())
    asyncio.run(be_cancelled_at_the_doorway())
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


# -------------------------------------------------------------------------------------------------- the verbs


async def test_who_looks_after_a_store_may_do_so_from_a_coroutine(posix: Store, tmp_path: Path) -> None:
    store = posix.aio
    await (store / "a" / "b").atomic_write(b"1")
    (tmp_path / "a" / "b.tmp.1.0123456789abcdef").write_bytes(b"half")
    (leftover,) = await store.list_leftovers("a")
    assert leftover.kind == "temporary"
    await store.remove_leftover(leftover)
    assert await store.list_leftovers() == []
    assert await (store / "a").list_keys() == ["a/b"]
