"""Many tasks on one store, and what their event loop feels of it."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from exlab_store import Store

_BEAT = 0.001
_AT_ONCE = 20  # tasks that are started before others may run: what starting them takes is no business of a store


@dataclass(slots=True)
class Figures:
    """What was seen while a load was on.

    Attributes:
        longest_pause: Seconds that the event loop kept a task waiting that was ready to run. On a machine that is
            busy otherwise, the loop itself has to wait.
        longest_work: Seconds of processor time that the event loop's thread used between two rounds.
        threads: How many threads there were more than a program has that asks nothing of a store, at most.
        seconds: How long it all took.
    """

    longest_pause: float = 0.0
    longest_work: float = 0.0
    threads: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s; the loop was held up for {self.longest_pause * 1e3:.1f} ms at most, of which it "
            f"worked {self.longest_work * 1e3:.1f} ms; {self.threads} threads more"
        )


@contextmanager
def _without_old_garbage() -> Iterator[None]:
    """A full collection takes longer than all that is measured here, and depends on what was imported before."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@asynccontextmanager
async def watched() -> AsyncIterator[Figures]:
    """Watches the event loop and the threads of this process with a task that wakes every millisecond."""
    figures = Figures()
    # The workers that are there already count; what keeps house for other stores of this process does not.
    before = sum(not thread.name.startswith("exlab-store_") for thread in threading.enumerate())

    async def beat() -> None:
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await anyio.sleep(_BEAT)
            figures.longest_pause = max(figures.longest_pause, time.perf_counter() - began - _BEAT)
            figures.longest_work = max(figures.longest_work, time.thread_time() - worked)
            figures.threads = max(figures.threads, threading.active_count() - before)

    with _without_old_garbage():
        async with anyio.create_task_group() as group:
            group.start_soon(beat)
            await anyio.sleep(2 * _BEAT)
            began = time.perf_counter()
            yield figures
            figures.seconds = time.perf_counter() - began
            group.cancel_scope.cancel()


def one_more(stored: bytes | None) -> bytes:
    """A counter's next value."""
    return str(int(stored or b"0") + 1).encode()


async def many_updates(store: Store, *, updates: int = 1000, documents: int = 20) -> Figures:
    """As many tasks as updates, all at once, over some documents.

    Returns:
        The figures; the counters are left in ``load/0`` and so on.
    """
    async with watched() as figures, anyio.create_task_group() as group:
        for number in range(updates):
            group.start_soon(store.aio.update, f"load/{number % documents}", one_more)
            if number % _AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
    return figures


async def many_waiters(
    store: Store, key: str, release: Callable[[], object], *, waiters: int = 300, cancelled: int = 150
) -> Figures:
    """Tasks that wait for one lock, of which some are cancelled while they wait; then it is released.

    Args:
        store: The store.
        key: Of the lock, which somebody else holds.
        release: Has it released; called on a thread.
        waiters: How many wait.
        cancelled: How many of them are cancelled.

    Returns:
        The figures; the counter at the key has gone up by one for each that was not cancelled.
    """
    scopes = [anyio.CancelScope() for _ in range(waiters)]

    async def wait(scope: anyio.CancelScope) -> None:
        with scope:
            await store.aio.update(key, one_more, timeout=120)

    await anyio.to_thread.run_sync(lambda: None)  # the thread of the release is not one of the store's
    async with watched() as figures, anyio.create_task_group() as group:
        for number, scope in enumerate(scopes):
            group.start_soon(wait, scope)
            if number % _AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.1)
        for scope in scopes[:: max(1, waiters // cancelled)][:cancelled]:
            scope.cancel()
        await anyio.sleep(0.05)
        await anyio.to_thread.run_sync(release)
    return figures
