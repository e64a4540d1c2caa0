"""Threads, started so that a signal handler's exception leaves none half started; and calls in one of their own.

Signal handlers run in the main thread only. What one raises in the middle of another package's code may leave anything
there, or be taken for something else: spnego makes a want of credentials of it.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from typing import TYPE_CHECKING, TypeVar

from exlab_store_smb.wire.latch import Latch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["apart", "start"]

_T = TypeVar("_T")

_LONGEST = 60.0  # seconds that the start of a thread may take; on a busy machine it takes 0.1


def start(thread: threading.Thread) -> None:
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


def apart(call: Callable[[], _T], discard: Callable[[_T], object]) -> _T:
    """Calls in a thread of its own, and waits for the end of that.

    Args:
        call: It comes back by itself, in its own time.
        discard: Gets the result where a signal handler has ended the wait for it; perhaps in the other thread.

    Returns:
        What the call returns.

    Raises:
        RuntimeError: The system gives no more threads.
        BaseException: Whatever the call raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    results: list[_T] = []
    errors: list[BaseException] = []
    given_up: list[bool] = []
    returned = Latch()

    def run() -> None:
        try:
            result = call()
            results.append(result)
            if given_up:
                discard(result)
        except BaseException as error:
            errors.append(error)
        finally:
            returned.open()

    try:
        start(threading.Thread(target=run, name="exlab-store-smb connecting", daemon=True))
        while not returned.wait(_LONGEST):
            pass
    except BaseException:
        given_up.append(True)
        for result in results:
            discard(result)
        raise
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # a traceback that holds its own frame is freed late, with all that it refers to
    return results[0]
