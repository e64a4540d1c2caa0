"""The functions that run in a forked child: this module alone registers them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_forked_child"]


def in_forked_child(call: Callable[[], None]) -> None:
    """Has something called in every child that this process forks from now on.

    Args:
        call: It is called before the child's own code, in the order of these requests. What it raises is printed, and
            keeps no other call from being made.
    """
    if hasattr(os, "register_at_fork"):  # Windows has none
        os.register_at_fork(after_in_child=call)
