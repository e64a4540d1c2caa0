"""Calls that fail while their task is cancelled, and releases that fail: what is raised and what is logged."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
from exlab_store_memory.backend import MemoryLock
from task_work import Asked, Gate, one_more, two_processes, until

from exlab_store import BackendUnavailable, StorageFull, hookimpl, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from exlab_store import Store
    from exlab_store.model import HeldLock


pytestmark = pytest.mark.anyio


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
