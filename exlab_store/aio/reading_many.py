"""Reading many documents from a coroutine, on the threads of the store."""

from __future__ import annotations

import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

from exlab_store.aio.calls import Bell, admitted
from exlab_store.errors import BackendUnavailable
from exlab_store.reading_many import QUICK, ReadOutcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from concurrent.futures import Future

    from exlab_store.errors import StoreError
    from exlab_store.model import Snapshot
    from exlab_store.threads import Workers

__all__ = ["read_each"]

_LARGEST_BATCH = 32
_LONGEST_BATCH = 0.005  # seconds


class _Batch(NamedTuple):
    """What one visit to a thread has brought."""

    outcomes: list[ReadOutcome]
    unread: list[str]
    quick: bool


def _read(read: Callable[[str], Snapshot], keys: list[str]) -> _Batch:
    began = now = time.perf_counter()
    outcomes: list[ReadOutcome] = []
    while len(outcomes) < len(keys) and now - began < _LONGEST_BATCH:
        outcomes.append(outcome_of(read, keys[len(outcomes)]))
        now = time.perf_counter()
    return _Batch(outcomes, keys[len(outcomes) :], now - began < QUICK * len(outcomes))


class _Reading:
    """The reads of one consumer.

    Where reading is slow, several threads read one document each. Where it is quick, one reads several: to get there
    takes longer than to read from a local disk.
    """

    def __init__(self, workers: Workers, read: Callable[[str], Snapshot], keys: Iterable[str]) -> None:
        self._workers = workers
        self._read = read
        self._keys = iter(keys)
        self._unread: deque[str] = deque()
        self._batch = 1
        self._quick = True  # until it turns out not to be
        self._under_way: set[Future[_Batch]] = set()
        self._ended: deque[Future[_Batch]] = deque()
        self._bell = Bell()

    def begin(self, concurrency: int) -> bool:
        """Begins as many reads as there is room for; False when there is nothing left to wait for."""
        while len(self._under_way) < (1 if self._quick else concurrency):
            keys = self._next_keys()
            if not keys:
                break
            context = copy_context()
            try:
                future = self._workers.submit(lambda keys=keys, context=context: context.run(_read, self._read, keys))  # type: ignore[misc]
            except BackendUnavailable as error:
                raise error.at(keys[0], None) from error.__cause__
            self._under_way.add(future)
            future.add_done_callback(self._end)
        return bool(self._under_way)

    def _next_keys(self) -> list[str]:
        keys: list[str] = []
        while len(keys) < self._batch:
            if self._unread:
                keys.append(self._unread.popleft())
                continue
            try:
                keys.append(next(self._keys))
            except StopIteration:
                break
        return keys

    def _end(self, future: Future[_Batch]) -> None:
        self._ended.append(future)
        self._bell.ring()

    async def outcomes(self) -> list[ReadOutcome]:
        """Waits for a batch."""
        while not self._ended:
            self._bell = bell = Bell()
            if not self._ended:  # the thread may have rung the bell before
                await bell.heard()
        future = self._ended.popleft()
        self._under_way.discard(future)
        batch = future.result()
        self._unread.extendleft(reversed(batch.unread))
        self._quick = self._quick and batch.quick
        self._batch = min(2 * self._batch, _LARGEST_BATCH) if self._quick else 1
        return batch.outcomes

    async def stop(self) -> None:
        """Begins nothing more, and waits for what is under way, whatever cancels the task."""
        cancelled: BaseException | None = None
        for future in self._under_way:
            future.cancel()
        while any(not future.done() for future in self._under_way):
            self._bell = bell = Bell()
            if any(not future.done() for future in self._under_way):
                cancelled = await bell.heard_for_certain() or cancelled
        if cancelled is not None:
            raise cancelled


async def read_each(
    workers: Workers,
    read: Callable[[str], Snapshot],
    keys: Iterable[str],
    concurrency: int,
    onerror: Callable[[StoreError], object] | None,
) -> AsyncGenerator[tuple[str, Snapshot | None]]:
    """Reads on worker threads.

    Args:
        workers: The threads.
        read: As `Store.read_snapshot`.
        keys: The documents' keys; as many are taken as are read.
        concurrency: How many are read at a time.
        onerror: See `Store.read_many`.
    """
    await admitted()
    reading = _Reading(workers, read, keys)
    try:
        while reading.begin(concurrency):
            for outcome in await reading.outcomes():
                if outcome.reported(onerror):
                    yield outcome.key, outcome.snapshot
    finally:
        await reading.stop()
