"""The exceptions of signal handlers. They are the program's own, and no answer of the storage.

Python runs signal handlers in the main thread, between two steps of the code there. The exception of a handler comes
out of that step: an alarm's `TimeoutError` out of a read of a file, as if the file system had raised it.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
from contextlib import suppress
from types import CodeType, FrameType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["ENDING", "came_from_signal_handler", "mode_at", "suppress_unless_signalled"]

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""The signals, beside that of Ctrl-C, that ask a program to end. Windows has no SIGHUP, and SIGBREAK for Ctrl-Break."""

_VARIADIC = 0x04  # CO_VARARGS of inspect, which takes 10 ms to import


def came_from_signal_handler(error: BaseException) -> bool:
    """Whether a signal handler raised an exception, so that it has to be passed on as it is.

    A backend asks before it translates, retries or ignores an exception. It costs 0.1 us for an exception that was
    raised in the asking function itself, by a system call say.

    Args:
        error: The exception, as it was caught.

    Returns:
        True if its traceback leads through a handler that was called as Python calls one, or that is registered now.
        A handler that is written in C is not seen.
    """
    outer: TracebackType | None = error.__traceback__
    if outer is None or outer.tb_next is None:
        return False  # it was raised where it was caught
    interrupted: list[FrameType] = []
    while (inner := outer.tb_next) is not None:
        interrupted.append(outer.tb_frame)
        if _called_as_handler(inner.tb_frame, interrupted):
            return True
        outer = inner
    registered = set(_registered())
    if not registered:
        return False
    step: TracebackType | None = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in registered:
            return True
        step = step.tb_next
    return False


class suppress_unless_signalled(suppress):  # noqa: N801  # it stands where contextlib.suppress would
    """``contextlib.suppress``, which lets through what a signal handler has raised."""

    def __exit__(
        self, exctype: type[BaseException] | None, excinst: BaseException | None, exctb: TracebackType | None
    ) -> bool:
        """Suppresses what is named, unless a signal handler raised it."""
        if excinst is None:
            return False
        return bool(super().__exit__(exctype, excinst, exctb)) and not came_from_signal_handler(excinst)


def mode_at(path: str, *, follow_symlinks: bool = True) -> int:
    """The mode of what stands at a path, for ``stat.S_ISDIR`` and its like.

    A backend asks this in place of ``os.path.isdir``, ``isfile``, ``exists`` and ``islink``: those answer no where an
    alarm's `TimeoutError` struck, which nobody sees then.

    Args:
        path: The path; one that no file can have is that of nothing.
        follow_symlinks: Whether what a symbolic link leads to is asked about, or the link.

    Returns:
        ``st_mode`` [POSIX, stat()]; 0, which is no kind of file, where nothing stands or this account may not look.
    """
    try:
        return os.stat(path, follow_symlinks=follow_symlinks).st_mode
    except (OSError, ValueError) as error:
        if came_from_signal_handler(error):
            raise
        return 0


def _called_as_handler(frame: FrameType, interrupted: list[FrameType]) -> bool:
    """Whether a function got a number and the frame that it interrupts: nothing else is called that way."""
    code = frame.f_code
    named = code.co_argcount
    variadic = code.co_flags & _VARIADIC
    if named < 2 and not variadic:
        return False
    local = frame.f_locals
    given = [local.get(name) for name in code.co_varnames[:named]]
    if variadic:
        rest = local.get(code.co_varnames[named + code.co_kwonlyargcount])
        given += rest if type(rest) is tuple else ()
    return any(
        isinstance(number, int) and any(behind is frame for frame in interrupted)
        for number, behind in itertools.pairwise(given)
    )


def _registered() -> Iterator[CodeType]:
    """The code of the handlers; one that deletes its arguments cannot be told by them."""
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            code = _code_of(handler)
            if code is not None:
                yield code


def _code_of(handler: object) -> CodeType | None:
    for _ in range(10):  # a partial of a method of a partial, say
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif isinstance(handler, MethodType):
            handler = handler.__func__
        else:
            break
    code = getattr(handler, "__code__", None)
    if code is None and not isinstance(handler, type):
        code = getattr(getattr(type(handler), "__call__", None), "__code__", None)  # noqa: B004  # its code, not whether
    return code if isinstance(code, CodeType) else None
