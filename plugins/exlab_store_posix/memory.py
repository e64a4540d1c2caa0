"""The check that a document fits into memory, before it is read."""

from __future__ import annotations

import os
import sys

from exlab_store import StoreError

__all__ = ["ensure_fits"]


def ensure_fits(size: int) -> None:
    """Refuses a document that is larger than the memory of this machine.

    A kernel that overcommits promises the memory all the same, and ends some process when the document fills it.

    Args:
        size: Its bytes.

    Raises:
        StoreError: It is.
    """
    memory = _memory()
    if memory is not None and size > memory:
        raise StoreError(
            f"the document has {size:,} bytes, and this machine has a memory of {memory:,}",
            hint="Documents are small: look at what is there.",
        )


def _memory() -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return None
