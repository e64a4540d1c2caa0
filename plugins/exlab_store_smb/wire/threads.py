"""Calls in a thread of their own.

Signal handlers run in the main thread only. What one raises in the middle of another package's code may leave anything
there, or be taken for something else: spnego makes a want of credentials of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from exlab_store.backend import Latch, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["apart"]

_T = TypeVar("_T")

_LOOK_AGAIN = 60.0  # seconds; a signal handler's exception may have shut the latch


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
        start_thread(threading.Thread(target=run, name="exlab-store-smb connecting", daemon=True))
        while not returned.wait(_LOOK_AGAIN):
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
