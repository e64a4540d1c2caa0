"""The processes of this machine, as far as it matters who holds a lock."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import platform
from typing import TYPE_CHECKING

from exlab_store_posix.windows.kernel32 import process_exists

if TYPE_CHECKING:
    from exlab_store import LockOwner

__all__ = ["may_be_alive"]


def may_be_alive(owner: LockOwner) -> bool:
    """Whether the holder that a record names has not certainly ended.

    Args:
        owner: The holder.
    """
    return owner.host != platform.node() or process_exists(owner.pid)
