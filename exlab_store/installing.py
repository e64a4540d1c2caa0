"""What to say where something has to be installed: pip is no help in an application that was frozen."""

from __future__ import annotations

import shlex
import sys

__all__ = ["how_to_install", "is_frozen"]


def is_frozen() -> bool:
    """Whether this program was built into an application: ``sys.executable`` is that application, and no Python."""
    return bool(getattr(sys, "frozen", False))


def how_to_install(what: str, otherwise: str | None = None) -> str:
    """The advice of an error, where a package is missing.

    Args:
        what: What is missing, as pip takes it: ``exlab-store[smb]``.
        otherwise: The advice outside frozen applications; None for pip's command.

    Returns:
        The advice; in a frozen application it is what to build the application with.
    """
    if is_frozen():
        return (
            f"This application is frozen: have it built with the metadata and the modules of {what}, as PyInstaller "
            "does with --copy-metadata and --hidden-import."
        )
    return f"pip install {shlex.quote(what)}" if otherwise is None else otherwise
