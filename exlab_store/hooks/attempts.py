"""The number of the present attempt at an operation. An observer sees each attempt, and cannot count them itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

__all__ = ["current_attempt"]

current_attempt: Final[ContextVar[int]] = ContextVar("exlab_store_attempt", default=1)
"""1 for the first attempt, and so on."""
