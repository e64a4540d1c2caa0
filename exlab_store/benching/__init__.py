"""The speed of a store's operations, beside the same work by hand where the store is a directory.

`measure` does it, and ``exlab-store bench`` prints it.
"""

from __future__ import annotations

from exlab_store.benching.figures import Bench, Contention, Crowd, Operation, Timing
from exlab_store.benching.measuring import measure

__all__ = ["Bench", "Contention", "Crowd", "Operation", "Timing", "measure"]
