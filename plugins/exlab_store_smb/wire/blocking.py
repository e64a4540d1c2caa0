"""Calls that block in the C library, each with a deadline: resolving a name, and asking a Kerberos server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from exlab_store.backend import in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["blocking"]

_T = TypeVar("_T")

# A resolver that is silent holds a thread for some 30 s after its caller has given up. So many at most, in a process.
_MOST = 32
_slots = threading.BoundedSemaphore(_MOST)


def _reset_in_child() -> None:
    global _slots
    _slots = threading.BoundedSemaphore(_MOST)  # the threads that had some do not exist in a forked child


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
        TimeoutError: It has not returned in time, or too many before it have not.
        BaseException: Whatever the call raises.
    """
    slots = _slots
    if not slots.acquire(timeout=deadline.remaining()):
        raise TimeoutError("too many calls before it have not returned")
    outcome: list[Any] = []
    returned = threading.Event()

    def run() -> None:
        try:
            outcome[:] = [call(), None]
        except BaseException as error:
            outcome[:] = [None, error]
        finally:
            returned.set()
            slots.release()

    thread = threading.Thread(target=run, name="exlab-store-blocking", daemon=True)
    try:
        thread.start()
    except BaseException:
        slots.release()
        raise
    if not returned.wait(deadline.remaining()):
        raise TimeoutError("it has not returned in time")
    result, error = outcome
    if error is not None:
        try:
            raise error
        finally:
            del error, outcome  # a traceback that holds its own frame is freed late, with all that it refers to
    return result  # type: ignore[no-any-return]
