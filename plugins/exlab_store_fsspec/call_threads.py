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
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from exlab_store import BackendUnavailable, StoreError, WriteOutcomeUnknown
from exlab_store.backend import in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_fsspec.ways import FsspecFileSystem

__all__ = ["CallThreads"]

_AT_ONCE: Final = 8
_MOST_GIVEN_UP: Final = 16
T = TypeVar("T")


class _PendingCall(Generic[T]):
    """A call on its way: done once its result or its error is there."""

    def __init__(self, function: Callable[[FsspecFileSystem], T]) -> None:
        self.function = function
        self.done = threading.Event()
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
        self._changed = threading.Condition()
        self._idle: list[_CallThread] = []
        self._busy = 0
        self._given_up = 0
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
        worker = self._taken(over)
        call = _PendingCall(function)
        worker.calls.put(call)
        returned = False
        try:
            returned = call.done.wait(max(0.0, over - time.monotonic()))
        finally:
            if not returned:  # also when a signal handler raises
                self._give_up(worker, call)
        if not call.done.is_set():
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
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.calls.put(None)

    def _taken(self, over: float) -> _CallThread:
        with self._changed:
            while not self._idle and self._busy >= _AT_ONCE and self._given_up < _MOST_GIVEN_UP:
                if not self._changed.wait(max(0.0, over - time.monotonic())) and time.monotonic() >= over:
                    raise BackendUnavailable(
                        "all calls before this one are still waiting for an answer", exhausted=True
                    )
            if self._given_up >= _MOST_GIVEN_UP:
                raise BackendUnavailable(
                    f"{self._given_up} calls were given up and have not come back",
                    exhausted=True,
                    hint="Look at the server and the network; open the store again when it answers.",
                )
            worker = self._idle.pop() if self._idle else _CallThread(self)
            self._busy += 1
            return worker

    def _give_up(self, worker: _CallThread, call: _PendingCall[Any]) -> None:
        with self._changed:
            if not call.done.is_set():
                worker.given_up = True
                self._busy -= 1
                self._given_up += 1
                self._changed.notify()

    def serve(self, worker: _CallThread) -> None:
        """Runs the calls of one thread, until it is told to end or was given up."""
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
            if not self._given_back(worker, call):
                break
            del call  # a document is not kept until the next one
        if file_system is not None:
            self._ended(file_system)

    def _given_back(self, worker: _CallThread, call: _PendingCall[Any]) -> bool:
        with self._changed:
            if worker.given_up:
                self._given_up -= 1
            else:
                self._busy -= 1
                if not self._closed:
                    self._idle.append(worker)
            self._changed.notify()
            call.done.set()
            return not worker.given_up and not self._closed

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
        given_up: Nobody waits for it any more.

    Raises:
        BackendUnavailable: The system gives no thread.
    """

    def __init__(self, workers: CallThreads) -> None:
        self.calls: queue.SimpleQueue[_PendingCall[Any] | None] = queue.SimpleQueue()
        self.given_up = False
        try:
            threading.Thread(target=workers.serve, args=(self,), name="exlab-store-fsspec", daemon=True).start()
        except RuntimeError as error:
            raise BackendUnavailable(
                f"there is no thread for the call: {error}", hint="Look at the limits of this process, and try again."
            ) from error


_all: weakref.WeakSet[CallThreads] = weakref.WeakSet()


def _forget_threads() -> None:
    for workers in list(_all):
        workers.forget()


in_forked_child(_forget_threads)
