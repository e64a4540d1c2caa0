"""Reads a file that somebody else has named: only a regular one, only a small one, and without waiting."""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["read_small_file"]

_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # to open a pipe would wait for its writer
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


def read_small_file(path: str, limit: int) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        limit: How many bytes it may have.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger; ``strerror`` says which.
        ValueError: The text cannot be a path.
    """
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, a device or a socket, and no file", path)
        data = b""
        while len(data) <= limit and (part := os.read(descriptor, limit + 1 - len(data))):
            data += part
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", path)
    return data
