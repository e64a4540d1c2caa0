"""The hook for frozen applications, which PyInstaller finds through the entry point group ``pyinstaller40``."""

from __future__ import annotations

import os

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folders of the hooks, for PyInstaller."""
    return [os.path.join(os.path.dirname(__file__), "hooks")]
