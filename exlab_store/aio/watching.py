"""A watch for coroutines: a thread of its own waits for the next change when a task has asked for it."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from exlab_store.aio.calls import Bell, admitted
from exlab_store.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from exlab_store.changes import Change
    from exlab_store.watching.stream import ChangeStream

    class _Begin(Protocol):
        def __call__(self, *, cancelled: Callable[[], bool]) -> ChangeStream: ...


__all__ = ["AsyncChangeStream"]


class _Relay:
    """The thread's side. It does not refer to what the tasks have: when they have dropped that, the thread ends."""

    def __init__(self, begin: _Begin) -> None:
        self._begin = begin
        self._asked: SimpleQueue[Future[Change | None] | None] = SimpleQueue()  # its put() may interrupt itself
        self.stopped = False
        self.ended: Future[None] = Future()
        self._started = False

    def ask(self) -> Future[Change | None]:
        """Has the thread begin the watch, or wait for the next change; None is the end.

        Raises:
            BackendUnavailable: There is no thread.
        """
        asked: Future[Change | None] = Future()
        if self.stopped:
            asked.set_result(None)
            return asked
        if not self._started:
            context = copy_context()
            thread = threading.Thread(target=context.run, args=(self._run,), name="exlab-store-watch", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise BackendUnavailable(
                    f"there is no thread for the watch: {error}", hint="Look at the limits of this process."
                ) from error
            self._started = True
        self._asked.put(asked)
        return asked

    def stop(self) -> None:
        """Ends the watch soon; may be called at any moment, as by the garbage collector."""
        self.stopped = True
        self._asked.put(None)
        if not self._started:
            self.ended.set_result(None)

    def _run(self) -> None:
        stream: ChangeStream | None = None
        try:
            # Until the None that ends it, which stands behind the last question: nobody waits for an answer in vain.
            while (asked := self._asked.get()) is not None:
                try:
                    if self.stopped:
                        asked.set_result(None)
                    elif stream is None:
                        stream = self._begin(cancelled=lambda: self.stopped)
                        asked.set_result(None)
                    else:
                        asked.set_result(next(stream, None))
                except BaseException as error:  # it is the task's
                    asked.set_exception(error)
                    del error
        finally:
            try:
                if stream is not None:
                    stream.close()
            finally:
                self.ended.set_result(None)


class AsyncChangeStream:
    """The changes below a folder of a store, for coroutines: an asynchronous iterator and context manager.

    ``async with store.aio.watch() as changes:`` begins the watch, which otherwise begins with the first ``anext``. It
    ends as `ChangeStream` does. One task asks at a time; one that is cancelled loses no change.

    Args:
        begin: Begins the watch.
    """

    def __init__(self, begin: _Begin) -> None:
        self._relay = _Relay(begin)
        self._asked: Future[Change | None] | None = None
        self._begun = False
        self._waiting = False
        self._drop = weakref.finalize(self, self._relay.stop)
        self._drop.atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        await self._begin()
        change = None if self._relay.stopped else await self._answered()
        if change is None:
            raise StopAsyncIteration
        return change

    async def aclose(self) -> None:
        """Ends the watch, and waits until its thread has ended. A second call does nothing."""
        if self._drop.detach() is not None:
            self._relay.stop()
        bell = Bell()
        self._relay.ended.add_done_callback(lambda _: bell.ring())
        cancelled = await bell.heard_for_certain()
        if cancelled is not None:
            raise cancelled

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _begin(self) -> None:
        if not self._begun and not self._relay.stopped:
            await admitted()
            await self._answered()
            self._begun = True

    async def _answered(self) -> Change | None:
        if self._waiting:
            raise RuntimeError("another task waits for the next change already")
        # A task that was cancelled has left its question, and its answer is not lost.
        asked = self._asked = self._asked or self._relay.ask()
        bell = Bell()
        asked.add_done_callback(lambda _: bell.ring())
        self._waiting = True
        try:
            await bell.heard()
        finally:
            self._waiting = False
        self._asked = None
        return asked.result()
