"""How fast the operations of a store are at one place, beside what is done by hand where the place is a directory.

`measure` does it, and ``exlab-store bench`` prints it.
"""

from __future__ import annotations

from exlab_store.benching.figures import Bench, Contention, Crowd, Operation, Timing
from exlab_store.benching.measuring import measure

__all__ = ["Bench", "Contention", "Crowd", "Operation", "Timing", "measure"]
