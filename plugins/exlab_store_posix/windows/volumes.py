"""The kind of a volume: what is on a disk of this machine, and what is elsewhere."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

from typing import Final, Literal

from exlab_store import came_from_signal_handler
from exlab_store_posix.windows.kernel32 import drive_type, volume_of

__all__ = ["volume_kind"]

_FIXED: Final = 3
_REMOTE: Final = 4
_RAM_DISK: Final = 6


def volume_kind(path: str) -> Literal["disk", "memory", "share", "unknown"]:
    """What holds a directory; ``disk`` is NTFS alone, as of no other file system Microsoft says what a rename stores.

    Args:
        path: It exists.
    """
    try:
        root, name, _ = volume_of(path)
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return "share" if path.startswith("\\\\?\\UNC\\") else "unknown"
    kind = drive_type(root)
    if kind == _REMOTE:
        return "share"
    if kind == _RAM_DISK:
        return "memory"
    return "disk" if kind == _FIXED and name == "NTFS" else "unknown"
