"""Calls on worker threads, awaited by the tasks of an event loop of asyncio or trio.

Cancelling a task waits for a call that has begun. A thousand tasks that begin in the same moment do not hold up the
loop: some are let in at each of its rounds.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import RunVar, checkpoint, current_token

from exlab_store.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from exlab_store.threads import Workers

    _Scheduler: TypeAlias = Callable[[Callable[[], None]], object]

__all__ = ["Bell", "admitted", "on_worker", "running_task", "to_the_end"]

T = TypeVar("T")

# Tasks that go on in one round of an event loop; each takes it 50 us or so.
_A_ROUND = 16


def _scheduler() -> _Scheduler:
    """What has the running event loop call something in its next round, from any thread."""
    token = current_token()
    loop: Any = getattr(token, "native_token", token)  # before anyio 4.11 the token is the loop itself
    return loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe  # type: ignore[no-any-return]


class _Doorway:
    """Where the tasks of one event loop come in, so many in a round.

    It must not refer to the loop: a value of a `RunVar` that does keeps its loop in memory for good.
    """

    __slots__ = ("_queue", "_room", "_scheduled")

    def __init__(self) -> None:
        self._room = _A_ROUND
        self._queue: OrderedDict[anyio.Event, None] = OrderedDict()
        self._scheduled = False

    async def enter(self) -> None:
        """Waits for the next round that has room."""
        if not self._scheduled:
            self._schedule_round(_scheduler())
        if self._room:
            self._room -= 1
            await checkpoint()
            return
        inside = anyio.Event()
        self._queue[inside] = None
        try:
            await inside.wait()
        finally:
            self._queue.pop(inside, None)  # where the task was cancelled: the event refers to the loop

    def _schedule_round(self, schedule: _Scheduler) -> None:
        self._scheduled = True
        schedule(lambda: self._begin_round(schedule))

    def _begin_round(self, schedule: _Scheduler) -> None:
        self._scheduled = False
        self._room = _A_ROUND
        while self._queue and self._room:
            inside, _ = self._queue.popitem(last=False)
            inside.set()
            self._room -= 1
        if self._queue:
            self._schedule_round(schedule)


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
    unheard: Callable[[BaseException], object] | None = None,
) -> T:
    """Makes a call on a worker thread; cancelling waits for a call that has begun.

    Args:
        workers: Whose thread.
        call: What to call.
        abandon: Called when the task is cancelled while the call is under way, to make it end soon.
        undo: Undoes, on a worker thread, a call that has succeeded although its task was cancelled; raises nothing.
        unheard: Told of the failure of a call whose task was cancelled, as the task raises the cancellation. That
            has the failure as its cause.

    Returns:
        What the call returns.

    Raises:
        BackendUnavailable: There is no thread for the call, and it is not made.
    """
    future, bell = _started(workers, call)
    try:
        await bell.heard()
    except BaseException as error:
        if future.cancel():
            raise

        def settle(ended: Future[T]) -> None:
            failure = ended.exception()
            if failure is None and undo is not None:
                undo(ended.result())
            elif failure is not None and unheard is not None:
                unheard(failure)

        try:
            if abandon is not None:
                abandon()
            if isinstance(error, GeneratorExit):
                raise
            await bell.heard_for_certain()
        except BaseException:  # the loop has ended, or Ctrl+C was pressed again: nobody can wait
            future.add_done_callback(settle)
            raise
        if undo is not None:
            await to_the_end(workers, lambda: settle(future))
        else:
            settle(future)
        _give_cause(error, future)
        raise
    return future.result()


async def to_the_end(
    workers: Workers, call: Callable[[], T], unheard: Callable[[BaseException], object] | None = None
) -> T:
    """Makes a call on a worker thread, whatever cancels the task meanwhile; if there is no thread, then on this one.

    Args:
        workers: Whose thread.
        call: What to call.
        unheard: As for `on_worker`.

    Returns:
        What the call returns.
    """
    try:
        future, bell = _started(workers, call)
    except BackendUnavailable:
        return call()  # better to hold up the loop than to keep a lock
    cancelled = await bell.heard_for_certain()
    if cancelled is None:
        return future.result()
    failure = future.exception()
    if failure is not None and unheard is not None:
        unheard(failure)
    _give_cause(cancelled, future)
    raise cancelled


def _give_cause(cancelled: BaseException, future: Future[Any]) -> None:
    failure = future.exception()
    if failure is not None:
        cancelled.__cause__ = failure


def running_task() -> int | None:
    """The identifier of the task that runs in this thread; None outside of tasks."""
    try:
        return anyio.get_current_task().id
    except Exception:  # each event loop, and no event loop, has an error of its own
        return None
