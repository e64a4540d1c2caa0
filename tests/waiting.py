"""Waiting for what comes by itself, such as the end of a thread or a server's notice of a release."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exlab_store import LockLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from exlab_store import StoreLock

__all__ = ["PATIENCE", "comes_to", "eventually", "falls_below", "is_once_below", "is_told_of_the_loss"]

PATIENCE = 30.0
"""Seconds; on a busy machine a moment takes long."""


def comes_to(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether a condition holds in time."""
    over = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > over:
            return False
        time.sleep(0.002)
    return True


def eventually(condition: Callable[[], object]) -> None:
    """Waits until a condition holds, and fails where it does not."""
    assert comes_to(condition)


def is_told_of_the_loss(held: StoreLock) -> bool:
    """Whether a holder learns in time that its lock is lost: nothing is sent under it any more."""

    def lost() -> bool:
        try:
            held.ensure_held()
        except LockLost:
            return True
        return False

    return comes_to(lost)


_ATTEMPTS = 6


def is_once_below(seconds: float, measure: Callable[[], float]) -> bool:
    """Whether a time is as short as it should be, in one of some attempts: a busy machine spoils some, a fault all.

    Args:
        seconds: The limit.
        measure: Does it once, and gives the seconds that it took.
    """
    return any(measure() < seconds for _ in range(_ATTEMPTS))


async def falls_below(seconds: float, measure: Callable[[], Awaitable[float]]) -> bool:
    """`is_once_below` for tasks."""
    for _ in range(_ATTEMPTS):
        if await measure() < seconds:
            return True
    return False
