"""First imports in the middle of an operation, out of the reach of signal handlers.

The exception of a handler that strikes an import may leave the interpreter's import lock taken for ever (measured on
3.11, at the end of ``_imp.acquire_lock``): every other thread hangs at its next import. Handlers run in the main thread
alone, so the first import of a module happens in another.
"""

from __future__ import annotations

import sys
import threading
from _thread import start_new_thread
from contextlib import suppress
from importlib import import_module
from typing import Final

from exlab_store.mutex import Latch

__all__ = ["import_whole"]

_LONGEST: Final = 10.0  # seconds; then the statement waits itself, as for a module that is half imported


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
    done = Latch()
    try:
        start_new_thread(_import, (missing, done))
    except RuntimeError:  # the system gives no more threads, or the interpreter ends
        return
    done.wait(_LONGEST)


def _is_whole(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _import(names: list[str], done: Latch) -> None:
    try:
        for name in names:
            with suppress(BaseException):  # it is raised where the module is named
                import_module(name)
    finally:
        done.open()
