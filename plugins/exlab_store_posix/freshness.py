"""Reads of a mounted share that see the server's document, and not what this machine has cached of it.

Measured with a kernel 6.1 as the client of nfsd and of Samba 4.17, another client having just replaced the document:

- NFS 4.1 and 4.2 open the *file* that a cached folder names, until the folder is looked at again: 47 of 60 reads were
  old, and a new document was missing 15 times of 15. Opening the folder first asks the server for it (one GETATTR):
  none was. statx does not help: with AT_STATX_FORCE_SYNC for the inode's number it sent nothing.
- cifs believes for a second that a file is missing. It also keeps a lease, and a closed file open for as long as
  somebody opens it again within a second. Meanwhile it asks the server for nothing, not even with ``cache=none``: a
  program that read every 0.4 s saw the old document for ever. It hands one handle to all who open a path with the same
  flags. Its cached pages are known by the inode's number, which a server uses again, and by size and time.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct
import sys
import time
from typing import TYPE_CHECKING, Final, TypeVar

from exlab_store import BackendUnavailable, came_from_signal_handler, is_temporary_name
from exlab_store.backend import mode_at
from exlab_store_posix.descriptors import Descriptors, close_all, discard_all, open_into
from exlab_store_posix.mounts import FileSystem
from exlab_store_posix.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPEN_DIRECT", "READ", "ensure_stands", "look_again", "read_fresh", "stat_fresh"]

T = TypeVar("T")

READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in the document's place must not hold up the reader
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
"""For a document."""

OPEN_DIRECT: Final = getattr(os, "O_DIRECT", 0)
"""Past this machine's cache of pages: what is read and written goes over the wire as it is."""

_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

# The file was replaced while it was being opened or read (ESTALE). An SMB server refuses the open of another file with
# the lease of the old one, which the client calls EINVAL [MS-SMB2 3.3.5.9.8].
_REPLACED: Final = frozenset({errno.ESTALE})
_OPENED_AS_ANOTHER: Final = frozenset({errno.ESTALE, errno.EINVAL, errno.EBUSY})
# A program that still reads an old version lets go of it in a moment; the client, a second after that.
_PATIENCE: Final = 5.0
_PAUSE: Final = 0.002
# A writer deletes what its own machine has open before it renames (see `replacing`): milliseconds, unless it has died.
_LONGEST_GAP: Final = 2.0
# A server that lists a folder while a file in it is renamed may show neither its old name nor its new one (3 of 5,000).
_LOOKS: Final = 2

# Two reads with the same flags may get one handle. Those under the lock have flags that no others have, and take turns.
_PLAIN: Final = (OPEN_DIRECT, OPEN_DIRECT | getattr(os, "O_NOCTTY", 0))
_LOCKED: Final = (OPEN_DIRECT | getattr(os, "O_DSYNC", 0), OPEN_DIRECT | getattr(os, "O_SYNC", 0))
_turn = itertools.count()


def read_fresh(path: str, kind: FileSystem, *, locked: bool) -> bytes:
    """Reads a document of a mounted share as the server has it.

    Args:
        path: The document.
        kind: The file system that it is on.
        locked: This process holds the document's lock.

    Raises:
        FileNotFoundError: The server has none.
        OSError: From a system call.
        BackendUnavailable: A program on this machine has an old version open, and so the new one cannot be.
        StoreError: It is no file, or does not fit into memory.
    """
    return _fresh(path, kind, read_file, locked=locked)


def stat_fresh(path: str, kind: FileSystem, *, locked: bool) -> os.stat_result:
    """Asks for a document of a mounted share as the server has it; what a closed file was like is cached for seconds.

    Args:
        path: The document, or a folder.
        kind: The file system that it is on.
        locked: This process holds the document's lock.

    Raises:
        FileNotFoundError: The server has none.
        OSError: From a system call.
        BackendUnavailable: As for `read_fresh`.
    """
    return _fresh(path, kind, os.fstat, locked=locked)


def _fresh(path: str, kind: FileSystem, take: Callable[[int], T], *, locked: bool) -> T:
    opening = _OPENING.get(kind, _open_by_name)
    until = time.monotonic() + _PATIENCE
    opened = Descriptors()
    while True:
        try:
            opening(path, opened, locked)
            taken = take(opened[0])
            close_all(opened)
        except OSError as error:
            if error.errno not in _REPLACED or came_from_signal_handler(error) or time.monotonic() >= until:
                raise
        else:
            return taken
        finally:
            discard_all(opened)
        time.sleep(_PAUSE)


def look_again(path: str, kind: FileSystem) -> None:
    """Has this machine's kernel ask the server whether there is a file, where it believes that there is none.

    Args:
        path: The file.
        kind: The file system that it would be on.
    """
    try:
        if kind is FileSystem.NFS:
            _enter(path.rpartition("/")[0] or "/")
        elif kind is FileSystem.SMB_MOUNT:
            _find_in_folder(path)
    except OSError as error:
        if came_from_signal_handler(error):
            raise


def ensure_stands(path: str, kind: FileSystem) -> None:
    """Has this machine's kernel ask the server for a file, where it may believe in one that is gone.

    Args:
        path: The file.
        kind: The file system that it is on.

    Raises:
        FileNotFoundError: A server of an SMB mount has none: the client believes for a second that it has.
    """
    if kind is not FileSystem.SMB_MOUNT:
        look_again(path, kind)
        return
    try:
        stands = any(_find_in_folder(path) for _ in range(_LOOKS))
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return  # whoever asks for the file itself says what is wrong
    if not stands:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _enter(folder: str) -> None:
    """Opens a folder; where there seems to be none, after the one above it, in which it may be known to be missing."""
    opened = Descriptors()
    try:
        try:
            open_into(opened, folder, _FOLDER)
        except FileNotFoundError as error:
            above = folder.rpartition("/")[0]
            if not above or came_from_signal_handler(error):
                raise
            _enter(above)
            open_into(opened, folder, _FOLDER)
    finally:
        discard_all(opened)


def _open_by_name(path: str, opened: list[int], _: bool) -> None:
    open_into(opened, path, READ)


def _open_on_nfs(path: str, opened: list[int], _: bool) -> None:
    look_again(path, FileSystem.NFS)
    open_into(opened, path, READ)


def _open_on_smb_mount(path: str, opened: list[int], locked: bool) -> None:
    flags = READ | (_LOCKED if locked else _PLAIN)[next(_turn) & 1]
    began = time.monotonic()
    missing = 0
    while True:
        try:
            open_into(opened, path, flags)
        except FileNotFoundError as error:
            if came_from_signal_handler(error):
                raise
            missing = 0 if _find_in_folder(path) else missing + 1
            if missing == _LOOKS or time.monotonic() - began >= _LONGEST_GAP:
                raise
        except OSError as error:
            if error.errno not in _OPENED_AS_ANOTHER or came_from_signal_handler(error):
                raise
            if stat.S_ISDIR(mode_at(path)):  # is not opened past the cache (EINVAL); whoever reads says what it is
                open_into(opened, path, READ)
                return
            if time.monotonic() - began >= _PATIENCE:
                raise BackendUnavailable(
                    "a program on this machine has an older version of the document open, and the mount opens no other",
                    errno=error.errno,
                    hint="End that program, or mount the share with `nolease`.",
                ) from error
            _find_in_folder(path)
        else:
            break
        time.sleep(_PAUSE)
    _close_at_once(opened[-1])


def _find_in_folder(path: str) -> bool:
    """Whether a document stands in its folder, or a temporary file that is to take its place.

    The client compares what it lists with what it has cached of it, and forgets that.
    """
    folder, _, name = path.rpartition("/")
    replaced = False
    if folder and not stat.S_ISDIR(mode_at(folder)) and not _find_in_folder(folder):
        return False
    with os.scandir(folder or "/") as entries:
        for entry in entries:
            if entry.name == name:
                return True
            replaced = replaced or (entry.name.startswith(f"{name}.tmp.") and is_temporary_name(entry.name))
    return replaced


if sys.platform == "linux":
    import fcntl

    _UNLOCK: Final = struct.pack("@hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 1, 0)

    def _close_at_once(descriptor: int) -> None:
        """Has the client close a file when it is closed: it keeps open what nobody has ever locked a byte of.

        The unlocking sends nothing, as nothing is locked (CIFS_INO_CLOSE_ON_LOCK).
        """
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _UNLOCK)
else:

    def _close_at_once(descriptor: int) -> None:
        """Nothing: no such client is known on other systems."""


_OPENING: Final[dict[FileSystem, Callable[[str, list[int], bool], None]]] = {
    FileSystem.NFS: _open_on_nfs,
    FileSystem.SMB_MOUNT: _open_on_smb_mount,
}
