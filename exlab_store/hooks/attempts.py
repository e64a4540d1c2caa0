"""Which attempt at an operation is under way: what an observer, which sees each attempt, cannot know by itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

__all__ = ["current_attempt"]

current_attempt: Final[ContextVar[int]] = ContextVar("exlab_store_attempt", default=1)
"""1 for the first attempt, and so on."""
