"""What threads share, so that no signal handler's exception leaves it locked for ever: mutexes, waits, new threads.

Python runs a signal handler between two steps of the main thread. From 3.14 on, one of these is between the taking of
a mutex by a ``with`` statement and its block: what is raised there leaves the mutex locked, and all other threads wait.
`threading.Condition` and `threading.Event` are Python code with such statements, on every version.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Latch", "start_thread", "under_mutex"]

T = TypeVar("T")

_LONGEST: Final = 60.0  # seconds that the start of a thread may take; on a busy machine it takes 0.1


class _Mutex(Protocol):
    def acquire(self, blocking: bool = ..., timeout: float = ..., /) -> bool: ...
    def release(self) -> None: ...


def under_mutex(
    mutex: _Mutex, work: Callable[[], T], seconds: float = -1, late: Callable[[], Exception] = TimeoutError
) -> T:
    """Does work while a mutex is held.

    Args:
        mutex: A `threading.Lock` or `threading.RLock`; what is written in Python, as a `threading.Condition`, may be
            interrupted inside.
        work: What to do; its exceptions pass through.
        seconds: How long to wait for the mutex; -1 for as long as it takes.
        late: Makes the error for a mutex that is not free by then.

    Returns:
        The result of the work.

    Raises:
        Exception: What ``late`` makes; nothing was done.
    """
    taken = False
    try:
        (taken,) = map(mutex.acquire, (True,), (seconds,))  # in one step: the call and the note of its result
        if not taken:
            raise late()
        return work()
    finally:
        if taken:
            mutex.release()


class Latch:
    """A gate that one thread opens for others: a `threading.Event` for which a signal handler may run at any moment.

    What a handler raises in the ``wait`` of an Event leaves the Event's own lock held now and then, and whoever is to
    open it then waits for ever in ``set``.
    """

    __slots__ = ("_shut",)

    def __init__(self) -> None:
        self._shut = threading.Lock()
        self._shut.acquire()

    def open(self) -> None:
        """Lets through all who wait; a second call does nothing."""
        try:
            self._shut.release()
        except RuntimeError:
            pass  # it is open, or one of those who wait is passing and opens it again

    def wait(self, seconds: float) -> bool:
        """Waits until it is open.

        Args:
            seconds: How long at most; 0 for no wait.

        Returns:
            Whether it is open. An exception of a signal handler may shut it again: who waits looks from time to time
            whether there is anything left to wait for.
        """
        if not self._shut.acquire(True, min(seconds, threading.TIMEOUT_MAX)):
            return False
        self.open()
        return True


def start_thread(thread: threading.Thread) -> None:
    """Starts a thread.

    ``Thread.start`` waits for an Event: interrupted there, it leaves the new thread waiting for ever (see `Latch`).

    Args:
        thread: Which one.

    Raises:
        RuntimeError: The system gives no more threads.
    """
    if threading.current_thread() is not threading.main_thread():
        thread.start()  # no signal handler runs here
        return
    failed: list[BaseException] = []
    begun = Latch()

    def run() -> None:
        try:
            thread.start()
        except BaseException as error:
            failed.append(error)
        finally:
            begun.open()

    start_new_thread(run, ())
    begun.wait(_LONGEST)
    if failed:
        raise failed[0]
