"""The log of a block device: every write and every flush, in the order in which the device saw them.

An entry is a header (kind, offset, length; little-endian) and the bytes that were written. A position is a number
of bytes of the log, so the size of the file is the position now; whoever notes that size after an operation
has returned knows which entries the device had seen by then.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BlockLog", "LogEntry", "flush_entry", "position_of", "write_entry"]

_HEADER = struct.Struct("<BQI")
_WRITE = 1
_FLUSH = 2


def write_entry(offset: int, data: bytes) -> bytes:
    """The entry of a write.

    Args:
        offset: Where on the device.
        data: What was written.
    """
    return _HEADER.pack(_WRITE, offset, len(data)) + data


def flush_entry() -> bytes:
    """The entry of a flush: what was written before it survives a power cut."""
    return _HEADER.pack(_FLUSH, 0, 0)


class LogEntry(NamedTuple):
    """What the device was asked for.

    Attributes:
        offset: Where on the device; 0 for a flush.
        data: What was written; None for a flush.
    """

    offset: int
    data: bytes | None


class BlockLog:
    """A log, read when its device is gone.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.entries: list[LogEntry] = []
        self._ends: list[int] = []
        log = memoryview(path.read_bytes())
        at = 0
        while at + _HEADER.size <= len(log):
            kind, offset, length = _HEADER.unpack_from(log, at)
            at += _HEADER.size
            if at + length > len(log):  # the machine that wrote the log stopped in the middle
                break
            self.entries.append(LogEntry(offset, bytes(log[at : at + length]) if kind == _WRITE else None))
            at += length
            self._ends.append(at)

    def seen(self, position: int) -> int:
        """How many entries the device had seen completely.

        Args:
            position: The size of the log's file at that time.
        """
        return bisect_right(self._ends, position)


def position_of(log: Path) -> int:
    """The position now.

    Args:
        log: The log's file.
    """
    return os.stat(log).st_size
