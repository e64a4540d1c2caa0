"""The times of a server (FILETIME) and of Python."""

from __future__ import annotations

from typing import Final

__all__ = ["filetime", "seconds_since_1970"]

_EPOCH: Final = 116_444_736_000_000_000  # 1970 in units of 100 ns since 1601


def seconds_since_1970(filetime: int) -> float:
    """A time of the server in the units of Python [MS-DTYP 2.3.3].

    Args:
        filetime: Units of 100 ns since 1601, UTC.
    """
    return (filetime - _EPOCH) / 1e7


def filetime(seconds: float) -> int:
    """A time in the units of a server [MS-DTYP 2.3.3]: 100 ns since 1601, UTC.

    Args:
        seconds: Since 1970.
    """
    return int(seconds * 1e7) + _EPOCH
