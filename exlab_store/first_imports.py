"""First imports in the middle of an operation, out of the reach of signal handlers.

The exception of a handler that strikes an import may leave the interpreter's import lock taken for ever (measured on
3.11, at the end of ``_imp.acquire_lock``): every other thread hangs at its next import. Handlers run in the main thread
alone, so the first import of a module happens in another, which is gone when the operation goes on.
"""

from __future__ import annotations

import sys
import threading
import time
from _thread import start_new_thread
from contextlib import suppress
from importlib import import_module
from typing import Final

from exlab_store.mutex import Latch
from exlab_store.signal_handlers import mode_at

__all__ = ["import_whole"]

_LONGEST: Final = 10.0  # seconds; then the statement waits itself, as for a module that is half imported
_ENDING: Final = 1.0  # seconds; it takes some 50 us
_LOOK_AGAIN: Final = 0.00005


def import_whole(*names: str) -> None:
    """Imports modules, so that the ``import`` statement behind this finds them whole and takes no lock.

    A function of this package that imports when it is called begins with it. Nothing is raised here: what cannot be
    imported raises in the statement.

    Args:
        names: The full names of the modules.
    """
    missing = [name for name in names if not _is_whole(name)]
    if not missing or threading.current_thread() is not threading.main_thread():
        return
    done, threads = Latch(), list[int]()
    try:
        start_new_thread(_import, (missing, done, threads))
    except RuntimeError:  # the system gives no more threads, or the interpreter ends
        return
    if done.wait(_LONGEST) and threads:
        _wait_for_the_end_of(threads[0])


def _wait_for_the_end_of(thread: int) -> None:
    """Waits until the kernel has no such thread any more, where it tells.

    A program of one thread stays one: with another that has just not ended, ``unshare(CLONE_NEWUSER)`` is EINVAL (one
    test on a busy machine), and Python 3.12 warns of a fork.
    """
    over = time.monotonic() + _ENDING
    while mode_at(f"/proc/self/task/{thread}") and time.monotonic() < over:
        time.sleep(_LOOK_AGAIN)


def _is_whole(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _import(names: list[str], done: Latch, threads: list[int]) -> None:
    try:
        threads.append(threading.get_native_id())
        for name in names:
            with suppress(BaseException):  # it is raised where the module is named
                import_module(name)
    finally:
        done.open()
