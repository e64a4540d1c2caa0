"""Calls on an executor that are made, or are known not to be: its own ``submit`` may fail and make the call later.

An executor queues a call before it starts a thread for it. Where the system refuses the thread, the caller gets the
error, and the next thread that has time makes the call.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from exlab_store.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["submitted"]

T = TypeVar("T")


def submitted(executor: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T]:
    """Has a thread of an executor make a call.

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
