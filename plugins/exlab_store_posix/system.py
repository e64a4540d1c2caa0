"""The calls on documents and their folders, chosen once: those of `os`, and on Windows some of our own.

What stands in both under one name does the same; so ``calls.open`` on Linux is ``os.open``, and costs as much.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from exlab_store_posix.windows import calls
else:
    import os as calls

__all__ = ["calls"]
