"""Work for tasks: an increment, one store in two processes, and calls that wait until they are let through."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
from exlab_store_memory.backend import Memory, MemoryBackend

from exlab_store import hookimpl, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from exlab_store import Snapshot, Store, Version
    from exlab_store.model import HeldLock


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
