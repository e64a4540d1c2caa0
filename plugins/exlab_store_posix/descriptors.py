"""Descriptors that are opened and closed in one step, so that the exception of a signal handler loses none.

Python runs handlers when a call has returned, before its result is stored: of ``file = os.open(...)`` the number would
be lost, and the file open for ever. Within one call of built-in functions it runs none.
"""

from __future__ import annotations

import functools
import os

from exlab_store import suppress_unless_signalled

__all__ = ["close_all", "close_first", "discard_all", "open_into"]


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
    opener = os.open if above is None else functools.partial(os.open, dir_fd=above)
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
