"""Reading a small file whose path comes from outside: it must be a regular file, and the read does not wait."""

from __future__ import annotations

import errno
import os
import stat

from exlab_store.signal_handlers import came_from_signal_handler

__all__ = ["UnreadableFile", "read_small_file"]

_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # to open a pipe would wait for its writer
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


class UnreadableFile(Exception):
    """A file cannot be read. It is no `OSError`: a program's own, out of its signal handler, must not be taken for it.

    Args:
        reason: Why, in words.
        is_path: Whether the text can be the path of a file at all.
    """

    def __init__(self, reason: str, *, is_path: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_path = is_path


def read_small_file(path: str, limit: int) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        limit: How many bytes it may have.

    Raises:
        UnreadableFile: It cannot be read, is no regular file, or is larger, or the text cannot be a path; the system's
            error is its cause.
    """
    try:
        return _content(path, limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL, or half of a surrogate pair
        if came_from_signal_handler(error):
            raise
        if isinstance(error, OSError):
            raise UnreadableFile(error.strerror or str(error)) from error
        raise UnreadableFile(f"this cannot be the name of a file: {error}", is_path=False) from None


def _content(path: str, limit: int) -> bytes:
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
