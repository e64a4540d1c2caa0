"""The kernel's notices of what happens in directories, inotify(7), without a package for it."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store_posix.descriptors import Descriptors, discard_all

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAME", "FOLDER", "GONE", "LEFT", "LOST_COUNT", "ROOT_GONE", "Inotify", "Notice"]

_MODIFY: Final = 0x2
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_UNMOUNT: Final = 0x2000
_Q_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x1000000
_DONT_FOLLOW: Final = 0x2000000
_ISDIR: Final = 0x40000000

FOLDER: Final = _ISDIR
"""The name is one of a directory."""
CAME: Final = _MOVED_TO | _CREATE
"""The name is new, or stands for something else than before."""
LEFT: Final = _MOVED_FROM | _DELETE
"""What had the name has it no more."""
GONE: Final = _IGNORED
"""The directory is not watched any more: it was deleted, or its watch was taken away."""
ROOT_GONE: Final = _DELETE_SELF | _MOVE_SELF | _UNMOUNT
"""The directory itself was deleted, renamed or unmounted."""
LOST_COUNT: Final = _Q_OVERFLOW
"""More has happened than the kernel has kept."""

_WATCHED: Final = _MODIFY | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_HEADER: Final = struct.Struct("iIII")
_AT_ONCE: Final = 1 << 18


class Notice(NamedTuple):
    """What the kernel says.

    Attributes:
        watch: The number of the directory's watch; -1 for none.
        what: Bits, of those that this module names.
        name: In the directory; empty for the directory itself.
    """

    watch: int
    what: int
    name: str


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Inotify:
    """An instance of inotify. It is closed when nothing refers to it any more.

    Raises:
        OSError: From inotify_init1(2): EMFILE where this account has too many instances.
        AttributeError: The C library has no inotify.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._add = self._libc.inotify_add_watch
        self._remove = self._libc.inotify_rm_watch
        # A forked child closes its copy of the descriptor and takes no watch away: it would take it from its parent.
        self._opened = Descriptors()
        self._opened.extend(map(self._libc.inotify_init1, (_FLAGS,)))  # in one step, see descriptors.py
        self._descriptor = self._opened[0]
        if self._descriptor < 0:
            self._opened.clear()
            _checked(-1, "inotify_init1")
        self._poll = select.poll()  # type: ignore[attr-defined, unused-ignore]
        self._poll.register(self._descriptor, select.POLLIN)  # type: ignore[attr-defined, unused-ignore]

    def close(self) -> None:
        """Closes the descriptor; a second call does nothing."""
        discard_all(self._opened)

    def add(self, path: str, *, follow: bool = False) -> int:
        """Watches a directory, or goes on to.

        Args:
            path: Its path.
            follow: It may be a symbolic link.

        Returns:
            The number of its watch; the same for the same directory.

        Raises:
            OSError: From inotify_add_watch(2): ENOSPC where this account has too many watches.
        """
        mask = _WATCHED | _ONLYDIR | (0 if follow else _DONT_FOLLOW)
        return _checked(self._add(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask)), path)

    def remove(self, watch: int) -> None:
        """Watches a directory no more; one that was deleted is not watched anyway.

        Args:
            watch: The number.
        """
        self._remove(self._descriptor, watch)

    def wait(self, seconds: float) -> list[Notice]:
        """Waits for notices.

        Args:
            seconds: How long at most.

        Raises:
            OSError: From read(2).
        """
        if not self._poll.poll(seconds * 1000):
            return []
        try:
            data = os.read(self._descriptor, _AT_ONCE)
        except BlockingIOError:
            return []
        return list(_notices_in(data))


def _notices_in(data: bytes) -> Iterator[Notice]:
    offset = 0
    while offset < len(data):
        watch, what, _, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        yield Notice(watch, what, os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
        offset += length


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number), path)
    return result
