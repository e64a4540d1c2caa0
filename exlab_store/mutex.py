"""The mutexes of threads: taken and given back so that no signal handler's exception leaves one locked for ever.

Python runs a signal handler between two steps of the main thread. From 3.14 on, one of these is between the taking of
a mutex by a ``with`` statement and its block: what is raised there leaves the mutex locked, and all other threads wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["under_mutex"]

T = TypeVar("T")


class _Mutex(Protocol):
    def acquire(self, blocking: bool = ..., timeout: float = ..., /) -> bool: ...
    def release(self) -> None: ...


def under_mutex(mutex: _Mutex, work: Callable[[], T]) -> T:
    """Does work while a mutex is held.

    Args:
        mutex: A `threading.Lock` or `threading.RLock`; what is written in Python, as a `threading.Condition`, may be
            interrupted inside.
        work: What to do; its exceptions pass through.

    Returns:
        The result of the work.
    """
    taken = False
    try:
        (taken,) = map(mutex.acquire, (True,))  # in one step: the call and the note of its result
        return work()
    finally:
        if taken:
            mutex.release()
