"""Threads that each have a file system of their own, so that a call of a library without a deadline has one.

Many of fsspec's file systems are not safe between threads (FTP has one connection, a ZIP archive one position). A call
that does not come back in time is left to its thread, which nobody uses again.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from exlab_store import BackendUnavailable, StoreError, WriteOutcomeUnknown
from exlab_store.backend import Latch, in_forked_child, start_thread, under_mutex

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_fsspec.ways import FsspecFileSystem

__all__ = ["CallThreads"]

_AT_ONCE: Final = 8
_MOST_GIVEN_UP: Final = 16
_LOOK_AGAIN: Final = 0.05  # seconds after which one that waits looks, though nobody has told it of anything
T = TypeVar("T")


class _PendingCall(Generic[T]):
    """A call on its way.

    Attributes:
        done: Its result or its error is there, and its thread serves others.
        ended: Opened then.
    """

    def __init__(self, function: Callable[[FsspecFileSystem], T]) -> None:
        self.function = function
        self.done = False
        self.ended = Latch()
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self, file_system: FsspecFileSystem) -> None:
        try:
            self.result = self.function(file_system)
        except BaseException as error:  # it is raised where the result is waited for
            self.error = error


class CallThreads:
    """The threads of one store, with a file system for each.

    Args:
        make: Makes a file system; it is called in the thread that uses it.
        end: Frees what a file system has.
        kept: Whether a file system serves more than one call.
    """

    def __init__(
        self, make: Callable[[], FsspecFileSystem], end: Callable[[FsspecFileSystem], None], *, kept: bool
    ) -> None:
        self._make = make
        self._end = end
        self._kept = kept
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._mutex = threading.RLock()
        self._changed = Latch()
        self._idle: list[_CallThread] = []
        self._busy: dict[_PendingCall[Any], _CallThread] = {}
        self._given_up: weakref.WeakSet[_CallThread] = weakref.WeakSet()
        self._closed = False

    def run(self, function: Callable[[FsspecFileSystem], T], seconds: float, late: Callable[[], Exception]) -> T:
        """Calls a function with a file system, in another thread.

        Args:
            function: What to call; it raises the errors of a store.
            seconds: How long to wait for it.
            late: Makes the error for a call that is not back by then.

        Raises:
            BackendUnavailable: No thread is free; nothing was called.
            StoreError: Whatever the function raises, or ``late`` makes.
        """
        over = time.monotonic() + seconds
        call = _PendingCall(function)
        try:
            while (changed := under_mutex(self._mutex, lambda: self._begun(call))) is not None:
                if (left := over - time.monotonic()) <= 0:
                    raise BackendUnavailable(
                        "all calls before this one are still waiting for an answer", exhausted=True
                    )
                changed.wait(min(left, _LOOK_AGAIN))
            call.ended.wait(max(0.0, over - time.monotonic()))
        finally:
            if not call.done:  # also when a signal handler raises
                under_mutex(self._mutex, lambda: self._give_up(call))
        if not call.done:
            raise late()
        if call.error is not None:
            error, call.error = call.error, None
            try:
                raise error
            finally:
                del error
        return cast("T", call.result)

    def close(self) -> None:
        """Ends the threads that are idle; one that is busy ends after its call."""
        under_mutex(self._mutex, self._close)

    def _close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle[-1].calls.put(None)
            del self._idle[-1]

    def _begun(self, call: _PendingCall[Any]) -> Latch | None:
        """Gives the call to a thread; gives what to wait for where all are busy. The mutex is held."""
        if len(self._given_up) >= _MOST_GIVEN_UP:
            raise BackendUnavailable(
                f"{len(self._given_up)} calls were given up and have not come back",
                exhausted=True,
                hint="Look at the server and the network; open the store again when it answers.",
            )
        if not self._idle and len(self._busy) >= _AT_ONCE:
            return self._changed
        worker = self._idle[-1] if self._idle else _CallThread()
        self._busy[call] = worker  # from here on `_give_up` finds it
        if self._idle:
            del self._idle[-1]
        else:
            self._start(worker)
        worker.calls.put(call)
        return None

    def _start(self, worker: _CallThread) -> None:
        try:
            start_thread(threading.Thread(target=self.serve, args=(worker,), name="exlab-store-fsspec", daemon=True))
        except RuntimeError as error:
            raise BackendUnavailable(
                f"there is no thread for the call: {error}", hint="Look at the limits of this process, and try again."
            ) from error

    def _give_up(self, call: _PendingCall[Any]) -> None:
        """Leaves a call to its thread, which ends behind it, or at once where it was not given the call."""
        worker = self._busy.get(call)
        if worker is not None:
            self._given_up.add(worker)
            worker.calls.put(None)
            if worker in self._idle:
                self._idle.remove(worker)
            del self._busy[call]
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, Latch()
        changed.open()

    def serve(self, worker: _CallThread) -> None:
        """Runs the calls of one thread, until it is told to end or was given up."""
        try:
            self._serve(worker)
        finally:
            under_mutex(self._mutex, lambda: self._ended_with(worker))

    def _ended_with(self, worker: _CallThread) -> None:
        self._given_up.discard(worker)
        self._tell()

    def _serve(self, worker: _CallThread) -> None:
        file_system: FsspecFileSystem | None = None
        while (call := worker.calls.get()) is not None:
            if file_system is None:
                try:
                    file_system = self._make()
                except BaseException as error:
                    call.error = error
            if file_system is not None:
                call.run(file_system)
            if file_system is not None and (_is_doubtful(call.error) or not self._kept):
                # It may be half way through an exchange with the server.
                self._ended(file_system)
                file_system = None
            if not under_mutex(self._mutex, partial(self._given_back, worker, call)):
                break
            del call  # a document is not kept until the next one
        if file_system is not None:
            self._ended(file_system)

    def _given_back(self, worker: _CallThread, call: _PendingCall[Any]) -> bool:
        """Whether the thread is to go on; the mutex is held."""
        if self._busy.pop(call, None) is None:
            return False  # it was given up
        call.done = True
        if not self._closed:
            self._idle.append(worker)
        self._tell()
        call.ended.open()
        return not self._closed

    def _ended(self, file_system: FsspecFileSystem) -> None:
        with suppress(Exception):
            self._end(file_system)

    def forget(self) -> None:
        """Has no threads any more: in a forked child, where they are the parent's."""
        closed = self._closed
        self._begin()
        self._closed = closed


def _is_doubtful(error: BaseException | None) -> bool:
    return error is not None and (
        not isinstance(error, StoreError) or isinstance(error, (BackendUnavailable, WriteOutcomeUnknown))
    )


class _CallThread:
    """One thread.

    Attributes:
        calls: What it is to do; None has it end.
    """

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[_PendingCall[Any] | None] = queue.SimpleQueue()


_all: weakref.WeakSet[CallThreads] = weakref.WeakSet()


def _forget_threads() -> None:
    for workers in list(_all):
        workers.forget()


in_forked_child(_forget_threads)
