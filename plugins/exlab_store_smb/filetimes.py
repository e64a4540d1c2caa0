"""Times as a server gives them."""

from __future__ import annotations

from typing import Final

__all__ = ["seconds_since_1970"]

_EPOCH: Final = 116_444_736_000_000_000  # 1970 in units of 100 ns since 1601


def seconds_since_1970(filetime: int) -> float:
    """A time of the server in the units of Python [MS-DTYP 2.3.3].

    Args:
        filetime: Units of 100 ns since 1601, UTC.
    """
    return (filetime - _EPOCH) / 1e7
