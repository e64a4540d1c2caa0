"""Lock files and temporary files below a directory, for those who look after a store."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING

from exlab_store import InvalidKey, Leftover, came_from_signal_handler, is_key, is_temporary_name, temporary_writer
from exlab_store_posix.descriptors import Descriptors, close_all, close_first, discard_all, open_into
from exlab_store_posix.entries import entries_of
from exlab_store_posix.holding import KernelLocks
from exlab_store_posix.lock_file import OPEN, excluded_from, is_database
from exlab_store_posix.owner_record import read_owner
from exlab_store_posix.processes import ProcessTable
from exlab_store_posix.system import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store_posix.entries import Entry
    from exlab_store_posix.mounts import FileSystem

__all__ = ["TreeSearch", "remove_temporary"]

_LOCK = ".lock"
# No writer takes so long between two system calls; one that was stopped and goes on finds its file gone, and fails.
_PATIENCE = 600.0
_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class TreeSearch:
    """One look at a directory tree; links are not followed.

    Args:
        base: The store's directory, with a slash at its end.
        kind_of: The kind of file system of a device (``st_dev``) and a path on it.
        ignores: Tells which names are ignored.
    """

    def __init__(self, base: str, kind_of: Callable[[int, str], FileSystem], ignores: Callable[[str], bool]) -> None:
        self._ignores = ignores
        self._base = base
        self._kind_of = kind_of
        self._processes = ProcessTable()
        self._locks = KernelLocks(self._processes)

    def find(self, folder: str) -> Iterator[Leftover]:
        """Finds what is below a folder, at any depth.

        Args:
            folder: The folder's key, or empty text for the store's directory.

        Raises:
            FileNotFoundError: There is no such folder.
            OSError: A folder cannot be listed.
        """
        for depth in range(folder.count("/") + 1 if folder else 0):
            path = self._base + "/".join(folder.split("/")[: depth + 1])
            if not stat.S_ISDIR(calls.lstat(path).st_mode):
                return
        yield from self._walk(folder)

    def _walk(self, folder: str) -> Iterator[Leftover]:
        for entry in entries_of(self._base + folder):
            if self._ignores(entry.name):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if is_key(name):
                        yield from self._walk(name)
                elif entry.is_file(follow_symlinks=False) and _can_be_told(name):
                    found = self._leftover(name, entry)
                    if found is not None:
                        yield found
            except FileNotFoundError:
                continue  # it went away meanwhile, as temporary files do

    def _leftover(self, name: str, entry: Entry) -> Leftover | None:
        if is_temporary_name(entry.name):
            return self._temporary(name, temporary_writer(entry.name), entry)
        return self._lock(name, entry) if entry.name.endswith(_LOCK) else None

    def _temporary(self, name: str, writer: int | None, entry: Entry) -> Leftover:
        status = entry.stat(follow_symlinks=False)
        kind = self._kind_of(status.st_dev, self._base + name)
        age = _age(status, kind)
        return Leftover(
            name=name,
            kind="temporary",
            size=status.st_size,
            modified=status.st_mtime,
            age=age,
            # On a network mount the writer may be a process of any other machine, and some programs do not say who
            # they are.
            abandoned=writer is not None
            and age is not None
            and age > _PATIENCE
            and self._processes.are_gone(writer, entry.name),
        )

    def _lock(self, name: str, entry: Entry) -> Leftover:
        status = entry.stat(follow_symlinks=False)
        path = self._base + name
        kind = self._kind_of(status.st_dev, path)
        held = self._locks.hold(path, kind)
        return Leftover(
            name=name,
            kind="lock",
            size=status.st_size,
            modified=status.st_mtime,
            age=_age(status, kind),
            held=held,
            owner=None if held is False else read_owner(path, kind),
            excludes=tuple(excluded_from(path)),
            database=_is_database(path, status.st_size),
        )


def _is_database(path: str, size: int) -> bool:
    opened = Descriptors()
    try:
        return is_database(open_into(opened, path, OPEN & ~os.O_RDWR | os.O_RDONLY), size)
    except OSError as error:  # this account may not read it
        if came_from_signal_handler(error):
            raise
        return False
    finally:
        discard_all(opened)


def remove_temporary(base: str, name: str) -> None:
    """Removes a temporary file; no folder on the way may be a link.

    Args:
        base: The store's directory, with a slash at its end.
        name: The file's, ``/``-separated below it.

    Raises:
        InvalidKey: It is not the name of a temporary file, or what stands there is none.
        FileNotFoundError: There is none.
        OSError: From a system call.
    """
    folder, _, last = name.rpartition("/")
    if not is_temporary_name(last) or ("/" in name and not is_key(folder)):
        raise _not_temporary()
    if os.unlink not in os.supports_dir_fd:
        _unlink(base + name, None)
        return
    opened = Descriptors()
    try:
        open_into(opened, base, _OPEN_FOLDER & ~getattr(os, "O_NOFOLLOW", 0))
        for segment in folder.split("/") if folder else []:
            _open(segment, opened, opened[-1])
            close_first(opened)
        _unlink(last, opened[-1])
        close_all(opened)
    finally:
        close_all(opened)


def _open(segment: str, opened: list[int], above: int) -> None:
    try:
        open_into(opened, segment, _OPEN_FOLDER, above=above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and not came_from_signal_handler(error):
            raise FileNotFoundError(errno.ENOENT, "a folder on the way is none", segment) from error
        raise


def _unlink(path: str, descriptor: int | None) -> None:
    if not stat.S_ISREG(os.stat(path, dir_fd=descriptor, follow_symlinks=False).st_mode):
        raise _not_temporary()
    os.unlink(path, dir_fd=descriptor)


def _not_temporary() -> InvalidKey:
    return InvalidKey("this is not a temporary file", hint="Documents and lock files are not removed this way.")


def _age(status: os.stat_result, kind: FileSystem) -> float | None:
    # The kernel that stamps the files of its own disks has the clock that this process reads.
    return max(0.0, time.time() - status.st_mtime) if kind.is_of_this_machine else None


def _can_be_told(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no text: nothing of ours
        return False
    return True
