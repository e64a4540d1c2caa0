"""The one thread of this process on which all SSH connections live; asyncssh runs on its event loop.

It begins with the first connection and does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from exlab_store import BackendUnavailable
from exlab_store.backend import Latch, in_forked_child, start_thread, under_mutex

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["PendingResult", "run", "start"]

_T = TypeVar("_T")

# Beside the deadline that the coroutine keeps itself: its thread may have to wait for a processor.
_GRACE: Final = 10.0

_mutex = threading.RLock()  # the garbage collector may release a lock, at any moment
_loop: asyncio.AbstractEventLoop | None = None
# A forked child has no such thread. Its copy of the loop must not be closed, which would touch what the parent polls.
_of_parents: list[asyncio.AbstractEventLoop] = []


class PendingResult(Generic[_T]):
    """What a coroutine will give, for one thread that waits for it. `start` makes one.

    A `concurrent.futures.Future` has a Condition: what a signal handler raises in a wait for it may stop the thread of
    all connections for ever, see `Latch`.

    Args:
        coroutine: It runs on the event loop.
        loop: The event loop.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._ended = Latch()
        self._task: asyncio.Task[_T] | None = None
        self._cancelled = False
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._end)
        if self._cancelled:
            self._task.cancel()

    def _end(self, task: asyncio.Task[_T]) -> None:
        if not task.cancelled():
            task.exception()  # which is looked at by whoever still waits
        self._ended.open()

    def ends_within(self, seconds: float) -> bool:
        """Waits for the end.

        Args:
            seconds: How long.

        Returns:
            Whether it has come.
        """
        self._ended.wait(seconds)
        return self._task is not None and self._task.done()

    def result(self, seconds: float) -> _T:
        """Waits for the result.

        Args:
            seconds: How long.

        Raises:
            TimeoutError: It has not come by then.
            BaseException: What the coroutine, or a signal handler, raises.
        """
        if not self.ends_within(seconds) or (task := self._task) is None:
            raise TimeoutError
        try:
            return task.result()
        finally:
            del self, task  # an error that holds its own frame is freed late, with all that it refers to

    def cancel(self) -> None:
        """Cancels the coroutine; a result that comes all the same is dropped."""
        self._cancelled = True
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def start(coroutine: Coroutine[Any, Any, _T]) -> PendingResult[_T]:
    """Has the thread run a coroutine.

    Args:
        coroutine: It must come to an end by itself.

    Raises:
        BackendUnavailable: The interpreter is ending.
    """
    if sys.is_finalizing():  # the thread has stopped, and nobody would ever answer
        coroutine.close()
        raise BackendUnavailable("this process is ending", exhausted=True)
    return PendingResult(coroutine, _running())


def run(coroutine: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Has the thread run a coroutine, and waits for its result.

    Args:
        coroutine: It keeps the deadline itself.
        seconds: The deadline.

    Raises:
        BaseException: What the coroutine, or a signal handler, raises; then the coroutine is cancelled. A result that
            comes all the same is dropped, so it must give back what it stands for when it is.
    """
    pending = start(coroutine)
    try:
        return pending.result(seconds + _GRACE)
    except BaseException:
        pending.cancel()
        raise
    finally:
        del pending


def _running() -> asyncio.AbstractEventLoop:
    return _loop or under_mutex(_mutex, _begin)


def _begin() -> asyncio.AbstractEventLoop:
    global _loop
    if _loop is None:
        loop = asyncio.new_event_loop()
        start_thread(threading.Thread(target=_serve, args=(loop,), name="exlab-store-sftp", daemon=True))
        _loop = loop
    return _loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _forget_in_child() -> None:
    global _mutex, _loop
    _mutex = threading.RLock()
    if _loop is not None:
        _of_parents.append(_loop)
        _loop = None


in_forked_child(_forget_in_child)
