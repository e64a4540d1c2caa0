"""Waiting for a connection that is ready, with a deadline, on systems with poll(2) and on Windows, which has none."""

from __future__ import annotations

import select
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READABLE", "WRITABLE", "ready", "wait_until_ready"]

READABLE: Final = 1
WRITABLE: Final = 2
_SLICE: Final = 0.05  # seconds from one question to the next whether a wait was cancelled
_LONGEST: Final = 3600.0


def ready(socket: int, events: int, seconds: float) -> int:
    """Which events a socket is ready for; an end or an error makes it readable.

    Args:
        socket: Its descriptor.
        events: `READABLE`, `WRITABLE`, or both.
        seconds: How long to wait.
    """
    if sys.platform != "win32":  # there, select(2) takes no descriptor beyond 1023
        poller = select.poll()
        wanted = (select.POLLIN if events & READABLE else 0) | (select.POLLOUT if events & WRITABLE else 0)
        poller.register(socket, wanted)
        mask = sum(found for _, found in poller.poll(1000 * seconds))
        return (READABLE if mask & ~select.POLLOUT else 0) | (WRITABLE if mask & select.POLLOUT else 0)
    reading, writing = [socket] if events & READABLE else [], [socket] if events & WRITABLE else []
    # Windows tells the failure of a connection that is being made by the third list alone.
    readable, writable, failed = select.select(reading, writing, [socket], seconds)
    return (READABLE if readable or failed else 0) | (WRITABLE if writable else 0)


def wait_until_ready(
    socket: int, events: int, deadline: float, cancelled: Callable[[], bool] | None = None
) -> tuple[int, bool]:
    """Waits until a socket can be read or written.

    Args:
        socket: Its descriptor.
        events: `READABLE`, `WRITABLE`, or both.
        deadline: By the monotonic clock.
        cancelled: Asked every 50 ms; True ends the wait.

    Returns:
        What can be done, 0 for nothing; and whether the wait was cancelled.
    """
    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return 0, False
        found = ready(socket, events, min(remaining, _LONGEST if cancelled is None else _SLICE))
        if found:
            return found, False
        if cancelled is not None and cancelled():
            return 0, True
