"""The threads that do the work of tasks: a bounded number for the stores of one share.

So a slow share takes no threads from another, from the event loop's own executor, or from the application. They
start when they are needed and end with the last of the stores.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet, WeakValueDictionary

from exlab_store.errors import BackendUnavailable
from exlab_store.forked_child import in_forked_child
from exlab_store.mutex import under_mutex

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from exlab_store.location import Location

__all__ = ["THREADS_PER_SHARE", "Workers", "submitted", "workers_for"]

T = TypeVar("T")

# More threads make nothing faster, and all that run want Python's global lock, as the event loop does. Measured with
# 400 updates over SMB on two busy cores: the loop was held up for 9 to 27 ms with eight threads, for 13 to 58 ms with
# sixteen, and both made as many updates a second.
THREADS_PER_SHARE = 8

# Of the threads, so many may wait for a lock that somebody outside this process holds. The rest is there for those
# who need not wait.
_PATIENT = 4


def submitted(executor: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T]:
    """Has a thread of an executor make a call, or tells for certain that it is not made.

    An executor queues a call before it starts a thread for it. Where the system refuses the thread, the executor's own
    ``submit`` raises, and the next thread that has time makes the call all the same.

    Args:
        executor: Whose thread.
        call: What to call.

    Raises:
        BackendUnavailable: The system gives the executor no thread, or the interpreter is shutting down; the call
            will not be made.
    """
    future: Future[T] = Future()
    try:
        executor.submit(_carry_out, future, call)
    except RuntimeError as error:
        # It is queued before a thread is started; where another thread has begun it already, it goes on.
        if future.cancel():
            ending = "shutdown" in str(error)
            raise BackendUnavailable(
                f"there is no thread for the work: {error}",
                exhausted=ending,
                hint=(
                    "The program ends: wait for this work before its main thread returns, or use the synchronous store."
                    if ending
                    else "Look at the limits of this process, and try again."
                ),
            ) from error
    return future


def _carry_out(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # it is the caller's
        future.set_exception(error)
        del future  # the error refers to this frame
    else:
        future.set_result(result)


class Workers:
    """At most eight threads."""

    def __init__(self) -> None:
        self._patient = [None] * _PATIENT
        self._executor: ThreadPoolExecutor | None = None
        self._stores = 0
        self._calls = 0
        self._asking = 0
        self._mutex = threading.RLock()  # the garbage collector may make a store leave, at any moment
        _all.add(self)

    def join(self) -> None:
        """Counts one more store that uses the threads."""
        under_mutex(self._mutex, lambda: self._count(stores=1))

    def leave(self) -> None:
        """Counts one less; with the last of them the threads end, as soon as they have nothing to do."""
        under_mutex(self._mutex, lambda: self._count(stores=-1))

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Has a thread make a call.

        Args:
            call: What to call; first come, first served.

        Raises:
            BackendUnavailable: There is no thread for it, and it will not be called.
        """
        future = under_mutex(self._mutex, lambda: self._submit(call))
        future.add_done_callback(lambda _: self._end_call())
        return future

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS_PER_SHARE, thread_name_prefix="exlab-store")
        self._calls += 1  # before a store may leave
        try:
            return submitted(self._executor, call)
        except BaseException:
            self._end_call()
            raise

    def _end_call(self) -> None:
        under_mutex(self._mutex, lambda: self._count(calls=-1))

    def _count(self, *, stores: int = 0, calls: int = 0, asking: int = 0) -> None:
        """Counts, and ends the threads that nobody uses any more."""
        self._stores += stores
        self._calls += calls
        self._asking += asking
        # A call may outlive its store, as the release of a lock does; and the first call opens a store.
        if self._stores == self._calls == 0 and self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None

    def take_patience(self) -> bool:
        """Whether a call may wait for a lock that somebody outside this process holds; to be given back."""
        try:
            self._patient.pop()
        except IndexError:
            return False
        return True

    def give_patience_back(self) -> None:
        """The call has ended."""
        self._patient.append(None)

    @contextmanager
    def asking(self) -> Generator[int]:
        """Counts a task that asks again and again for a lock; gives how many there are."""
        under_mutex(self._mutex, lambda: self._count(asking=1))
        try:
            yield self._asking
        finally:
            under_mutex(self._mutex, lambda: self._count(asking=-1))

    def forget_threads(self) -> None:
        """Starts afresh in a forked child, which has none of the threads."""
        self._patient = [None] * _PATIENT
        self._mutex = threading.RLock()
        self._executor = None
        self._calls = 0
        self._asking = 0


_all: WeakSet[Workers] = WeakSet()
_of_share: WeakValueDictionary[str, Workers] = WeakValueDictionary()
_mutex = threading.Lock()


def _forget_in_child() -> None:
    global _mutex
    _mutex = threading.Lock()
    for workers in list(_all):
        workers.forget_threads()


in_forked_child(_forget_in_child)


def workers_for(location: Location | None) -> Workers:
    """The threads for a store.

    Args:
        location: Where the store is; a nameless one in memory, or one without a location, has threads of its own.
    """
    if location is None or not location.shared:
        return Workers()
    share = _share(location)

    def found_or_made() -> Workers:
        workers = _of_share.get(share)
        if workers is None:
            workers = _of_share[share] = Workers()
        return workers

    return under_mutex(_mutex, found_or_made)


def _share(location: Location) -> str:
    """What may be slow as a whole: a share of a server, ``/lab``, or what a mount is usually named by, ``/mnt/lab``."""
    named_by = 1 if location.host else 2
    return f"{location.scheme}://{location.host}{'/'.join(location.path.split('/')[: named_by + 1])}"
