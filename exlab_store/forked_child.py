"""What the core does in a forked child: its one list of calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_forked_child"]

_calls: list[Callable[[], None]] = []


def in_forked_child(call: Callable[[], None]) -> None:
    """Has something called in every child that this process forks from now on.

    Args:
        call: It is called before the child's own code, in the order of these requests. It must not raise.
    """
    _calls.append(call)


def _begin_anew() -> None:
    for call in _calls:
        call()


if hasattr(os, "register_at_fork"):  # Windows has none
    os.register_at_fork(after_in_child=_begin_anew)
