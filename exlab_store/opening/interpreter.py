"""The command of the Python that runs this program, for another process of it."""

from __future__ import annotations

import os
import stat
import sys

from exlab_store.errors import NotSupported
from exlab_store.installing import is_frozen
from exlab_store.signal_handlers import mode_at

__all__ = ["own_interpreter"]


def own_interpreter() -> str:
    """The path of the Python that runs this program.

    Raises:
        NotSupported: The program is a frozen application, which would start itself, and so on without end; or another
            program has Python within it, and names none that could be started.
    """
    if is_frozen():
        raise _no_python("a frozen application has no Python to start")
    # None or empty where Python does not know [sys.executable]: it is what an embedding program has set.
    path: str | None = sys.executable
    if not path:
        raise _no_python("the program that this Python is embedded in names no Python to start (sys.executable)")
    if not stat.S_ISREG(mode_at(path)) or not os.access(path, os.X_OK):
        raise _no_python(f"there is no program to start at {path!r}, where Python should be (sys.executable)")
    return path


def _no_python(cause: str) -> NotSupported:
    return NotSupported(
        f"this needs Python processes, and {cause}",
        hint="Install exlab-store with pip beside it, and use its command: exlab-store doctor, bench or demo.",
    )
