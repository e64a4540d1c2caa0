"""Documents in memory: the reference implementation of the hooks, and the backend for tests.

``memory://`` is a fresh store; ``memory://name`` is one that all openers of that name in this process share, and
``memory://name/folder`` is a folder of it.
"""

from __future__ import annotations

from exlab_store_memory.backend import MemoryBackend, open_backend

__all__ = ["MemoryBackend", "open_backend"]
