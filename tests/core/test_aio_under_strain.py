"""Coroutines where something is in the way: other processes, failures while a task is cancelled, no threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import pytest
from exlab_store_memory.backend import Memory, MemoryBackend

from exlab_store import hookimpl, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from exlab_store import Store
    from exlab_store.model import HeldLock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


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
