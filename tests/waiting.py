"""Waiting for what comes by itself, such as the end of a thread or a server's notice of a release."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PATIENCE", "comes_to", "eventually"]

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
