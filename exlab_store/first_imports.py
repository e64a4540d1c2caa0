"""First imports in the middle of an operation, of which a signal handler's exception leaves nothing locked.

An exception that strikes an import may leave the interpreter's import lock taken for ever (measured on 3.11, at the end
of ``_imp.acquire_lock``), or the lock of a module: other threads then hang at their next import. Nothing keeps a
handler from striking. To import in another thread does not: the end of that one aborts a process that is out of
descriptors (``pthread_exit`` of glibc loads a library). Nor do other handlers meanwhile: Python cannot put back what C
code has registered. So what was struck is mended: the import lock is released, and the import is made again.
"""

from __future__ import annotations

import _imp
from contextlib import suppress
from importlib import import_module
from typing import Final

from exlab_store.signal_handlers import came_from_signal_handler

__all__ = ["import_whole"]

_ATTEMPTS: Final = 3


def import_whole(*names: str) -> None:
    """Imports modules, so that the ``import`` statement behind this finds them whole and takes no lock.

    A function of this package that imports when it is called begins with it. What cannot be imported raises in the
    statement, and not here.

    Args:
        names: The full names of the modules.

    Raises:
        BaseException: Of a signal handler, when the modules are imported.
    """
    struck: BaseException | None = None
    error: BaseException | None = None
    for name in names:
        for _ in range(_ATTEMPTS):
            error = _error_of_import(name)
            # That of Ctrl-C comes from a handler in C; what a module raises itself, SystemExit too, is the statement's.
            if error is None or not (isinstance(error, KeyboardInterrupt) or came_from_signal_handler(error)):
                break
            struck = error
    if struck is not None:
        try:
            raise struck
        finally:
            struck = error = None  # they refer to this frame


def _error_of_import(name: str) -> BaseException | None:
    others = _imp.lock_held()  # by another thread, or by the code that a handler or a finaliser has interrupted
    try:
        import_module(name)
    except BaseException as error:
        return error
    finally:
        if not others:
            with suppress(RuntimeError):  # it is not held by this thread
                while True:
                    _imp.release_lock()
    return None
