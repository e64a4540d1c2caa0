"""Flushing files and directories to the disk."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from exlab_store import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_durable", "reaches_disk"]

if sys.platform == "darwin":
    import fcntl

    # Of file systems that do not know F_FULLFSYNC: smbfs and ntfs, webdav, zfs (libuv's look at Apple's sources). Those
    # of Apple's disks, APFS and HFS+, know it.
    _UNKNOWN: Final = frozenset({errno.ENOTSUP, errno.EINVAL, errno.ENOTTY})

    def make_durable(descriptor: int) -> None:
        """Waits until the disk has a file or a directory, or, where that cannot be asked for, until it was sent.

        fsync(2) on macOS leaves what was written in the drive's cache; F_FULLFSYNC of fcntl(2) does not.
        """
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _UNKNOWN or came_from_signal_handler(error):
                raise
            os.fsync(descriptor)

    def reaches_disk(directory: str) -> bool:
        """Whether `make_durable` waits for the disk there.

        Args:
            directory: A directory that exists.
        """
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return False
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return False
        finally:
            os.close(descriptor)
        return True
else:
    make_durable: Callable[[int], None] = os.fsync
    """Waits until the disk has a file or a directory."""

    def reaches_disk(directory: str) -> bool:  # noqa: ARG001
        """Nothing that could be asked for: the kind of file system tells."""
        return False
