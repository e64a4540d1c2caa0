"""Documents as files on local and mounted file systems.

``/data/lab`` and ``file:///data/lab`` are a directory that exists; each document is a file below it.
"""

from __future__ import annotations

from exlab_store_posix.backend import PosixBackend
from exlab_store_posix.opening import open_backend

__all__ = ["PosixBackend", "open_backend"]
