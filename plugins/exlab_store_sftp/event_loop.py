"""The one thread of this process on which all SSH connections live; asyncssh runs on its event loop.

It begins with the first connection and does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exlab_store import BackendUnavailable
from exlab_store.backend import in_forked_child

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Coroutine

__all__ = ["run", "start"]

_T = TypeVar("_T")

# Beside the deadline that the coroutine keeps itself: its thread may have to wait for a processor.
_GRACE: Final = 10.0

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
# A forked child has no such thread. Its copy of the loop must not be closed, which would touch what the parent polls.
_of_parents: list[asyncio.AbstractEventLoop] = []


def start(coroutine: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
    """Has the thread run a coroutine.

    Args:
        coroutine: It must come to an end by itself.

    Raises:
        BackendUnavailable: The interpreter is ending.
    """
    if sys.is_finalizing():  # the thread has stopped, and nobody would ever answer
        coroutine.close()
        raise BackendUnavailable("this process is ending", exhausted=True)
    return asyncio.run_coroutine_threadsafe(coroutine, _running())


def run(coroutine: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Has the thread run a coroutine, and waits for its result.

    Args:
        coroutine: It keeps the deadline itself.
        seconds: The deadline.

    Raises:
        BaseException: What the coroutine, or a signal handler, raises; then the coroutine is cancelled. A result that
            comes all the same is dropped, so it must give back what it stands for when it is.
    """
    future = start(coroutine)
    try:
        return future.result(seconds + _GRACE)
    except BaseException:
        future.cancel()
        raise


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(loop,), name="exlab-store-sftp", daemon=True).start()
            _loop = loop
        return _loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _forget_in_child() -> None:
    global _lock, _loop
    _lock = threading.Lock()
    if _loop is not None:
        _of_parents.append(_loop)
        _loop = None


in_forked_child(_forget_in_child)
