"""First imports in the middle of an operation, which no signal handler's exception strikes.

The exception of a handler that strikes an import may leave the interpreter's import lock taken for ever (measured on
3.11, at the end of ``_imp.acquire_lock``): every other thread hangs at its next import. So the handlers wait for the
end of a first import. It happens in the main thread all the same: the end of another thread aborts a process that is
out of descriptors (``pthread_exit`` of glibc loads a library), and a program of one thread would for a moment be none.
"""

from __future__ import annotations

import signal
import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from exlab_store.signal_handlers import came_from_signal_handler, suppress_unless_signalled

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handlers: TypeAlias = dict[int, Callable[[int, FrameType | None], object]]

__all__ = ["import_whole"]


def import_whole(*names: str) -> None:
    """Imports modules, so that the ``import`` statement behind this finds them whole and takes no lock.

    A function of this package that imports when it is called begins with it. What cannot be imported raises in the
    statement, and not here. A signal that arrives meanwhile is handled at the end; a second one of its kind at once, as
    a file system that holds the modules may be asleep, and whoever presses Ctrl-C twice means it.

    Args:
        names: The full names of the modules.

    Raises:
        BaseException: Of a signal handler.
    """
    missing = [name for name in names if not _is_whole(name)]
    if not missing or threading.current_thread() is not threading.main_thread():
        return  # no handler runs in any other thread
    handlers: Handlers = {}
    for each in signal.valid_signals():
        if callable(handler := signal.getsignal(each)):
            handlers[each] = handler
    arrived: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        if number in arrived:
            handlers[number](number, frame)
        else:
            arrived.append(number)

    try:
        _have_deferred(handlers, defer)
        for name in missing:
            with suppress_unless_signalled(Exception):
                import_module(name)
    finally:
        _handle(arrived, handlers, defer)


def _is_whole(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


def _have_deferred(handlers: Handlers, defer: Callable[[int, FrameType | None], object]) -> None:
    try:
        for number in handlers:
            signal.signal(number, defer)
    except ValueError as error:  # a subinterpreter runs no handlers
        if came_from_signal_handler(error):
            raise


def _handle(arrived: list[int], handlers: Handlers, defer: object) -> None:
    """Puts the handlers back, all of them though one raises meanwhile, and has them handle what has arrived."""
    failure: BaseException | None = None
    waiting = True
    while waiting:
        try:
            for number in [number for number in handlers if signal.getsignal(number) is defer]:
                signal.signal(number, handlers[number])
            while arrived:
                number = arrived.pop(0)
                # Not signal.raise_signal, which would wake an event loop a second time.
                handlers[number](number, sys._getframe())  # noqa: SLF001  # inspect takes 10 ms to import
            waiting = False
        except BaseException as error:  # a handler that is back has raised; it is passed on when all are
            failure = error
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # it refers to this frame
