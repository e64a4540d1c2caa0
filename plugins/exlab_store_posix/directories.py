"""Directories that stay: made when missing, and durable before a document in them is acknowledged."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

__all__ = ["Directories", "fsync_directory"]

_OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


def fsync_directory(path: str) -> tuple[int, int]:
    """Makes the names in a directory durable (POSIX fsync on a directory).

    Args:
        path: The directory.

    Returns:
        Device and inode of the directory that was synchronised.

    Raises:
        OSError: From open or fsync.
    """
    if os.name == "nt":  # Windows has no such call; the guarantees do not claim durable there
        return 0, 0
    descriptor = os.open(path, _OPEN_DIRECTORY)
    try:
        os.fsync(descriptor)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino


class Directories:
    """The directories of one store.

    A directory's own name has to be durable before what is in it can be. Its maker may be another process that
    has not synchronised it yet, so the first write into a directory synchronises the chain above it too; a clean
    directory costs about 45 us, once.

    Args:
        root: The store's directory, without a slash at its end; empty text for ``/``.
        create: The root may be missing, so that the chain goes up to the top of the file system.
    """

    def __init__(self, root: str, *, create: bool) -> None:
        self._root = root
        self._create = create
        self._durable: dict[str, tuple[int, int]] = {}

    def make(self, directory: str) -> None:
        """Makes a directory below the root, and those above it that are missing, with the umask's mode.

        Args:
            directory: The directory; with ``create`` the root itself is made too.

        Raises:
            FileNotFoundError: The root is missing and may not be made.
            OSError: From mkdir.
        """
        missing: list[str] = []
        path = directory
        while path and not os.path.isdir(path):
            if path == self._root and not self._create:
                raise FileNotFoundError(errno.ENOENT, "the store's directory is gone", path)
            missing.append(path)
            path = path.rpartition("/")[0]
        for path in reversed(missing):
            with suppress(FileExistsError):  # another process makes the same one
                os.mkdir(path)
        self._durable.pop(directory, None)

    def settle(self, directory: str) -> None:
        """Makes the names in a directory durable, and on first use those of the directories above it.

        Args:
            directory: The root or a directory below it.

        Raises:
            OSError: From open or fsync: it is unknown whether the names are durable.
        """
        identity = fsync_directory(directory or "/")
        if self._durable.get(directory) == identity:
            return
        path = directory
        while path != self._root:
            path = path.rpartition("/")[0]
            try:
                fsync_directory(path or "/")
            except PermissionError:
                pass  # a folder that this account may not read is one in which it has made nothing
        if self._create:
            self._settle_above_root(identity[0])
        self._durable[directory] = identity

    def _settle_above_root(self, device: int) -> None:
        path = self._root
        while path:
            path = path.rpartition("/")[0]
            try:
                # Above a mount point nothing of ours can be new.
                if os.stat(path or "/").st_dev != device:
                    return
                fsync_directory(path or "/")
            except PermissionError:
                # A directory that this account may not read is one in which it has made nothing.
                return
