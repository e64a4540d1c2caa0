"""Calls on worker threads, awaited by the tasks of an event loop of asyncio or trio.

Cancelling a task waits for a call that has begun. A thousand tasks that begin in the same moment do not hold up the
loop: some are let in at each of its rounds.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.lowlevel import RunVar, checkpoint, current_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from exlab_store.workers import Workers

__all__ = ["Bell", "admitted", "on_worker", "to_the_end"]

T = TypeVar("T")

# Tasks that go on in one round of an event loop; each takes it 50 us or so.
_A_ROUND = 16


def _scheduler() -> Callable[[Callable[[], None]], object]:
    """What has the running event loop call something in its next round, from any thread."""
    token = current_token()
    loop: Any = getattr(token, "native_token", token)  # before anyio 4.11 the token is the loop itself
    return loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe  # type: ignore[no-any-return]


class _Doorway:
    """Where the tasks of one event loop come in, so many in a round."""

    __slots__ = ("_queue", "_room", "_schedule", "_scheduled")

    def __init__(self) -> None:
        self._room = _A_ROUND
        self._queue: deque[anyio.Event] = deque()
        self._schedule = _scheduler()
        self._scheduled = False

    async def enter(self) -> None:
        """Waits for the next round that has room."""
        if not self._scheduled:
            self._schedule_round()
        if self._room:
            self._room -= 1
            await checkpoint()
        else:
            inside = anyio.Event()
            self._queue.append(inside)
            await inside.wait()

    def _schedule_round(self) -> None:
        self._scheduled = True
        self._schedule(self._begin_round)

    def _begin_round(self) -> None:
        self._scheduled = False
        self._room = _A_ROUND
        while self._queue and self._room:
            self._queue.popleft().set()
            self._room -= 1
        if self._queue:
            self._schedule_round()


_doorways: RunVar[_Doorway] = RunVar("exlab_store_doorway")


async def admitted() -> None:
    """Waits for a round of the event loop that has room for this task; raises if it was cancelled."""
    try:
        doorway = _doorways.get()
    except LookupError:
        doorway = _Doorway()
        _doorways.set(doorway)
    await doorway.enter()


class Bell:
    """An event of the running event loop that any thread may set."""

    __slots__ = ("_event", "_soon")

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._soon = _scheduler()

    def ring(self) -> bool:
        """Sets the event; False if the loop has ended."""
        try:
            self._soon(self._event.set)
        except RuntimeError:
            return False
        return True

    async def heard(self) -> None:
        """Waits for the event."""
        await self._event.wait()

    async def heard_for_certain(self) -> BaseException | None:
        """Waits for the event whatever cancels the task; returns what did and must still be raised."""
        cancelled: BaseException | None = None
        while not self._event.is_set():
            # The shield does not hold off asyncio's own Task.cancel().
            with anyio.CancelScope(shield=True):
                try:
                    await self._event.wait()
                except anyio.get_cancelled_exc_class() as error:
                    cancelled = error
        return cancelled


def _started(workers: Workers, call: Callable[[], T]) -> tuple[Future[T], Bell]:
    bell = Bell()
    context = copy_context()
    future = workers.submit(lambda: context.run(call))
    future.add_done_callback(lambda _: bell.ring())
    return future, bell


async def on_worker(
    workers: Workers,
    call: Callable[[], T],
    *,
    abandon: Callable[[], object] | None = None,
    undo: Callable[[T], object] | None = None,
) -> T:
    """Makes a call on a worker thread; cancelling waits for a call that has begun.

    Args:
        workers: Whose thread.
        call: What to call.
        abandon: Called when the task is cancelled while the call is under way, to make it end soon.
        undo: Undoes, on a worker thread, a call that has succeeded although its task was cancelled.

    Returns:
        What the call returns.
    """
    future, bell = _started(workers, call)
    try:
        await bell.heard()
    except BaseException as error:
        if not future.cancel():
            if abandon is not None:
                abandon()
            if isinstance(error, GeneratorExit):  # the loop has ended, and nobody can wait
                if undo is not None:
                    future.add_done_callback(lambda ended: _undone(ended, undo))
            else:
                await bell.heard_for_certain()
                if undo is not None:
                    await to_the_end(workers, lambda: _undone(future, undo))
        raise
    return future.result()


async def to_the_end(workers: Workers, call: Callable[[], T]) -> T:
    """Makes a call on a worker thread, whatever cancels the task meanwhile.

    Args:
        workers: Whose thread.
        call: What to call.

    Returns:
        What the call returns.
    """
    future, bell = _started(workers, call)
    cancelled = await bell.heard_for_certain()
    result = future.result()
    if cancelled is not None:
        raise cancelled
    return result


def _undone(future: Future[T], undo: Callable[[T], object]) -> None:
    if future.exception() is None:
        undo(future.result())
