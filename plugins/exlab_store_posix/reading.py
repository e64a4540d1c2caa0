"""Reading an open document; another file may have its name by now."""

from __future__ import annotations

import os
import stat
import sys
from typing import Final

from exlab_store import InvalidKey, Stat
from exlab_store_posix.memory import ensure_fits

__all__ = ["AT_ONCE", "ensure_file", "not_a_document", "read_at", "read_file", "stat_of"]

AT_ONCE: Final = 1 << 16
"""Bytes that hold the usual document."""

_LARGE: Final = 1 << 28  # below, a look at the memory would cost more than it tells

if sys.platform == "win32":

    def read_at(descriptor: int, size: int, offset: int) -> bytes:
        """Reads a part of a file."""
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)
else:
    read_at = os.pread
    """Reads a part of a file. Pipes, sockets and terminals refuse it, as they have no positions."""


def read_file(descriptor: int) -> bytes:
    """Reads a file that is empty, large, or none.

    Args:
        descriptor: Of it.

    Raises:
        InvalidKey: It is none.
        StoreError: It is larger than the memory.
        OSError: From fstat or read.
    """
    size = ensure_file(descriptor)
    if size > _LARGE:
        ensure_fits(size)
    # One byte more than the size, so that the usual read needs no second call to see the end.
    data = read_at(descriptor, size + 1, 0)
    if len(data) == size:
        return data
    parts = [data]
    position = len(data)
    while part := read_at(descriptor, 1 << 20, position):
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def ensure_file(descriptor: int) -> int:
    """Refuses a folder, a device, a pipe and a socket.

    Args:
        descriptor: Of what stands at a document's name.

    Returns:
        The size of the file.

    Raises:
        InvalidKey: It is none.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise not_a_document(status.st_mode)
    return status.st_size


def stat_of(status: os.stat_result) -> Stat:
    """What the core is told of a file or a folder.

    Args:
        status: Of what stands at a document's name.

    Raises:
        InvalidKey: It is neither.
    """
    if stat.S_ISDIR(status.st_mode):
        return Stat(0, status.st_mtime, kind="folder")
    if not stat.S_ISREG(status.st_mode):
        raise not_a_document(status.st_mode)
    return Stat(status.st_size, status.st_mtime)


def not_a_document(mode: int) -> InvalidKey:
    """The error for something that is in a document's place and is not a file.

    Args:
        mode: As of stat(2).
    """
    what = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
    return InvalidKey(f"the key names {what}, not a document", hint="Choose another key for the document.")
