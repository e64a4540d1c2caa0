"""What a frozen application needs of this package: the hook that PyInstaller finds through ``pyinstaller40``."""

from __future__ import annotations

import os

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folders of the hooks, for PyInstaller."""
    return [os.path.join(os.path.dirname(__file__), "hooks")]
