"""A bound on what the process may read that reads what another machine has written."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["bound_memory"]

_MORE: Final = 256 << 20
"""Bytes beside what the process has: for a message, and for what a backend needs for its work."""

if sys.platform == "linux":
    import resource

    def bound_memory() -> None:
        """Has this process get no more memory than it needs: a document that is no message may have any size.

        A store reads a document as a whole. One that does not fit raises `StoreError` then, as on a full machine.
        """
        with open("/proc/self/statm", encoding="utf-8") as file:
            has = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or has + _MORE < hard:
            resource.setrlimit(resource.RLIMIT_AS, (has + _MORE, hard))
else:

    def bound_memory() -> None:
        """Nothing: other systems do not bound it in this way."""
