"""The process behind a logged disk: a FUSE directory with one file, ``disk``, which logs writes and flushes.

The disk's contents are kept in memory, on top of the image it began with, which is never changed. One thread
serves the file, so the log's order is the order in which the disk saw things.
"""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import stat
import sys
from typing import Any

from exlab_store.testing.crash.block_log import flush_entry, write_entry

__all__ = ["main"]

_NAME = "/disk"


class _LoggedDisk:
    """The operations that mfusepy calls, with its names and parameters."""

    use_ns = True

    def __init__(self, image: str, log: str) -> None:
        with open(image, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:  # noqa: ARG002  # mfusepy's parameters
        """The attributes of the directory or of the disk."""
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path != _NAME:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": len(self._data)}

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002
        """Opens the disk."""
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        """Reads from memory."""
        return self._data[offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:  # noqa: ARG002
        """Logs, then writes to memory."""
        self._append(write_entry(offset, data))
        self._data[offset : offset + len(data)] = data
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
        """Logs a flush: the loop device turns a flush of the file system into this."""
        self._append(flush_entry())
        return 0

    def flush(self, path: str, fh: int) -> int:  # noqa: ARG002
        """Does nothing: this is about closing, and no barrier."""
        return 0

    def _append(self, entry: bytes) -> None:
        if os.write(self._log, entry) != len(entry):
            raise OSError(errno.EIO, "the log cannot be written")


def main() -> None:
    """Serves a disk until it is unmounted; arguments: mountpoint, image, log."""
    mountpoint, image, log = sys.argv[1:]
    # mfusepy has no types; a name that is looked up at run time needs none.
    mfusepy: Any = importlib.import_module("mfusepy")
    operations = type("LoggedDisk", (_LoggedDisk, mfusepy.Operations), {})(image, log)
    mfusepy.FUSE(operations, mountpoint, foreground=True, nothreads=True, fsname="exlab-store-crash")
