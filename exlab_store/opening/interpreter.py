"""The command of the Python that runs this program, for another process of it."""

from __future__ import annotations

import sys

from exlab_store.errors import NotSupported

__all__ = ["is_frozen", "own_interpreter"]


def is_frozen() -> bool:
    """Whether this program was built into an application: ``sys.executable`` is that application, and no Python."""
    return bool(getattr(sys, "frozen", False))


def own_interpreter() -> str:
    """The path of the Python that runs this program.

    Raises:
        NotSupported: The program is a frozen application, which would start itself, and so on without end.
    """
    if is_frozen():
        raise NotSupported(
            "this needs Python processes, and a frozen application has no Python to start",
            hint="Install exlab-store with pip beside it, and use its command: exlab-store doctor, bench or demo.",
        )
    return sys.executable
