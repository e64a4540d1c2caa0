"""Directories that stay: made when missing, and durable before a document in them is acknowledged."""

from __future__ import annotations

import errno
import os
import stat

from exlab_store import BackendUnavailable, StoreError, came_from_signal_handler
from exlab_store.backend import mode_at
from exlab_store_posix.descriptors import Descriptors, close_all, discard, discard_all, open_into
from exlab_store_posix.faults import translated
from exlab_store_posix.flushing import make_durable

__all__ = ["Directories"]

_OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_OPEN = (_OPEN_DIRECTORY,)
_REFUSES_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


class Directories:
    """The directories of one store.

    A directory's own name has to be durable before what is in it can be. Its maker may be another process that
    has not synchronised it yet, so the first write into a directory synchronises the chain above it too; a clean
    directory costs about 45 us, once.

    Args:
        root: The store's directory, without a slash at its end; empty text for ``/``.
        create: The root may be missing, so that the chain goes up to the top of the file system.
        durable: Names have to be durable; otherwise a file system may refuse to synchronise a directory.
    """

    def __init__(self, root: str, *, create: bool, durable: bool) -> None:
        self._root = root
        self._create = create
        self._strict = durable
        self._durable: dict[str, tuple[int, int]] = {}

    def open(self, directory: str) -> int:
        """Opens a directory so that it can be synchronised once something was done in it; makes it where it is missing.

        Its own name, and on first use those of the directories above it, are durable then. Opening it first means
        that a directory that cannot be opened refuses a write before anything has happened.

        Args:
            directory: The root or a directory below it; empty text for ``/``.

        Returns:
            A descriptor for `settle`, for the caller to close; -1 on Windows, which has no way to synchronise a
            directory.

        Raises:
            FileNotFoundError: The root is missing and may not be made.
            OSError: From mkdir or open.
            StoreError: The directories above it cannot be synchronised.
        """
        if os.name == "nt":
            self.make(directory)
            return -1
        try:
            (descriptor,) = map(os.open, (directory or "/",), _OPEN)  # in one step, see descriptors.py
        except FileNotFoundError as error:
            if came_from_signal_handler(error):
                raise
            self.make(directory)
            (descriptor,) = map(os.open, (directory,), _OPEN)
        try:
            status = os.fstat(descriptor)
            if self._durable.get(directory) != (status.st_dev, status.st_ino):
                self._settle_all_above(directory, status)
        except BaseException:
            discard(descriptor)
            raise
        return descriptor

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
        while path and not stat.S_ISDIR(mode_at(path + os.sep)):
            if path == self._root and not self._create:
                raise FileNotFoundError(errno.ENOENT, "the store's directory is gone", path)
            missing.append(path)
            path = path.rpartition(os.sep)[0]
        for path in reversed(missing):
            try:
                os.mkdir(path)
            except FileExistsError as error:  # another process makes the same one, or there is a document
                if _is_no_directory(path):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
        if missing:
            self._durable.pop(directory, None)

    def settle(self, descriptor: int) -> None:
        """Makes the names in a directory durable.

        Args:
            descriptor: What `open` gave.

        Raises:
            OSError: From fsync: it is unknown whether the names are durable.
        """
        if descriptor < 0:
            return
        try:
            make_durable(descriptor)
        except OSError as error:
            if self._matters(error):
                raise

    def _settle_all_above(self, directory: str, status: os.stat_result) -> None:
        path = directory
        while path != self._root:
            path = path.rpartition("/")[0]
            self._settle_above(path)
        while self._create and path and os.stat(path).st_dev == status.st_dev:
            # Above a mount point nothing of ours can be new.
            path = path.rpartition("/")[0]
            self._settle_above(path)
        self._durable[directory] = status.st_dev, status.st_ino

    def _settle_above(self, path: str) -> None:
        opened = Descriptors()
        try:
            try:
                descriptor = open_into(opened, path or "/", _OPEN_DIRECTORY)
            except PermissionError:
                return  # what this account may pass but not read, others have made, and they synchronise it
            try:
                make_durable(descriptor)
            except OSError as error:
                if self._matters(error):
                    raise _not_durable(error) from error
            close_all(opened)
        finally:
            discard_all(opened)

    def _matters(self, error: OSError) -> bool:
        return self._strict or error.errno not in _REFUSES_FSYNC or came_from_signal_handler(error)


def _is_no_directory(path: str) -> bool:
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError as error:
        if came_from_signal_handler(error):
            raise
        return False  # it is gone again: somebody deletes the folder, and whoever goes on finds that out


def _not_durable(error: OSError) -> StoreError:
    found = translated(error, "make the document's folders durable")
    if isinstance(found, BackendUnavailable):
        found.exhausted = True  # a kernel tells of a failure once: that a second fsync succeeds proves nothing
    return found
