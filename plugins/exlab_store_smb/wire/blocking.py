"""Calls that block in the C library, each with a deadline: resolving a name, and asking a Kerberos server."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from exlab_store.backend import Latch, in_forked_child, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["NotReturned", "blocking"]

_T = TypeVar("_T")

# A resolver that is silent holds a thread for some 30 s after its caller has given up. So many at most, in a process.
_MOST = 32


class NotReturned(Exception):
    """A call has not returned in time. No `TimeoutError`, which an alarm's handler may raise during the wait."""


def _new_slots() -> SimpleQueue[None]:
    slots: SimpleQueue[None] = SimpleQueue()  # in C: a semaphore is left locked by a signal handler's exception
    for _ in range(_MOST):
        slots.put(None)
    return slots


_slots = _new_slots()


def _reset_in_child() -> None:
    global _slots
    _slots = _new_slots()  # the threads that had some do not exist in a forked child


in_forked_child(_reset_in_child)


def blocking(call: Callable[[], _T], deadline: Deadline) -> _T:
    """Calls in a thread of its own, which is left to itself when the time is over.

    The thread does not keep the process from ending.

    Args:
        call: A call that may block for long. Its result is dropped when it is late.
        deadline: Until when to wait for it.

    Returns:
        What the call returns.

    Raises:
        NotReturned: It has not returned in time, or too many before it have not.
        BaseException: Whatever the call raises.
    """
    slots = _slots
    outcome: list[Any] = []
    returned = Latch()
    try:
        taken = [*map(slots.get, (True,), (deadline.remaining(),))]  # in one step: a signal may interrupt
    except Empty as none_left:
        raise NotReturned("too many calls before it have not returned") from none_left

    def give_back() -> None:
        with suppress(IndexError):  # it was given back
            slots.put(taken.pop())

    def run() -> None:
        try:
            outcome[:] = [call(), None]
        except BaseException as error:
            outcome[:] = [None, error]
        finally:
            returned.open()
            give_back()

    try:
        start_thread(threading.Thread(target=run, name="exlab-store-blocking", daemon=True))
    except BaseException:
        give_back()
        raise
    if not returned.wait(deadline.remaining()):
        raise NotReturned("it has not returned in time")
    result, error = outcome
    if error is not None:
        try:
            raise error
        finally:
            del error, outcome  # a traceback that holds its own frame is freed late, with all that it refers to
    return result  # type: ignore[no-any-return]
