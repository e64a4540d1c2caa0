"""Descriptors that are opened and closed in one step, so that the exception of a signal handler loses none.

Python runs handlers when a call has returned, before its result is stored: of ``file = os.open(...)`` the number would
be lost, and the file open for ever. Within one call of built-in functions it runs none: ``(file,) = map(os.open, ...)``
loses nothing, and is what the hooks do where a microsecond counts.
"""

from __future__ import annotations

import functools
import os

from exlab_store import came_from_signal_handler, suppress_unless_signalled
from exlab_store_posix.system import calls

__all__ = ["Descriptors", "close_all", "close_first", "discard", "discard_all", "open_into"]


class Descriptors(list[int]):
    """Open descriptors of a function that closes them itself.

    What is left when nothing refers to them is closed all the same: a handler may raise where `discard_all` begins.
    """

    __slots__ = ()

    def __del__(self) -> None:
        if self:
            discard_all(self)


def open_into(opened: list[int], path: str, flags: int, mode: int = 0o777, *, above: int | None = None) -> int:
    """Opens a file.

    Args:
        opened: Gets the descriptor.
        path: The file.
        flags: As for open(2).
        mode: As for open(2).
        above: Descriptor of the directory that a relative path begins at.

    Returns:
        The descriptor.

    Raises:
        OSError: From open.
    """
    opener = calls.open if above is None else functools.partial(calls.open, dir_fd=above)
    opened.extend(map(opener, (path,), (flags,), (mode,)))
    return opened[-1]


def close_first(opened: list[int]) -> None:
    """Closes the descriptor that was opened first.

    Raises:
        OSError: From close; it is closed all the same.
    """
    any(map(os.close, map(opened.pop, (0,))))


def close_all(opened: list[int]) -> None:
    """Closes all descriptors.

    Raises:
        OSError: From close; that one is closed all the same.
    """
    while opened:
        any(map(os.close, map(opened.pop, (-1,))))


def discard_all(opened: list[int]) -> None:
    """Closes all descriptors of what has failed already."""
    while opened:
        with suppress_unless_signalled(OSError):
            any(map(os.close, map(opened.pop, (-1,))))


def discard(descriptor: int) -> None:
    """Closes a descriptor, for which nothing is left to be done, whatever that says.

    Args:
        descriptor: -1 for none.
    """
    if descriptor >= 0:
        try:
            os.close(descriptor)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
