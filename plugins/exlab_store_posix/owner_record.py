"""The owner's record in a lock file: where it stands, and how it is read without the lock."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from exlab_store import came_from_signal_handler
from exlab_store.backend import owner_in_record
from exlab_store_posix.descriptors import Descriptors, discard_all, open_into
from exlab_store_posix.freshness import OPEN_DIRECT
from exlab_store_posix.lock_file import OPEN

if TYPE_CHECKING:
    from exlab_store import LockOwner
    from exlab_store_posix.mounts import FileSystem

__all__ = ["RECORD_AT", "VOID", "flags_to_read", "read_owner", "read_record"]

# The record begins behind byte 0, the byte that SMB clients lock: a locked byte cannot be read by others.
RECORD_AT: Final = 1
VOID: Final = b"-"
_SIZE: Final = 4096

if sys.platform == "win32":
    from exlab_store_posix.windows.processes import may_be_alive
else:

    def may_be_alive(owner: LockOwner) -> bool:
        """Whether a holder has not certainly ended."""
        # A killed holder leaves its record; the one who has the lock now may be a program that writes none.
        if owner.host != os.uname().nodename:
            return True
        try:
            os.kill(owner.pid, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError) as error:
            if came_from_signal_handler(error):
                raise
            return True
        return True


def read_owner(path: str, kind: FileSystem) -> LockOwner | None:
    """Who holds the lock, if its file says so; other programs write nothing into it.

    Args:
        path: The lock file.
        kind: The file system that it is on.
    """
    try:
        owner = owner_in_record(read_record(path, kind))
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return None
    return owner if owner is not None and may_be_alive(owner) else None


def read_record(path: str, kind: FileSystem) -> bytes:
    """What stands where a record does.

    Args:
        path: The lock file.
        kind: The file system that it is on.

    Raises:
        OSError: From a system call.
    """
    flags = flags_to_read(kind)
    try:
        return _record_in(path, flags)
    except OSError as error:
        # A file system that this package does not know may read directly in whole blocks only, or not at all.
        if error.errno != errno.EINVAL or not flags & OPEN_DIRECT or came_from_signal_handler(error):
            raise
    return _record_in(path, flags & ~OPEN_DIRECT)


def _record_in(path: str, flags: int) -> bytes:
    opened = Descriptors()
    try:
        descriptor = open_into(opened, path, flags)
        os.lseek(descriptor, RECORD_AT, os.SEEK_SET)
        return os.read(descriptor, _SIZE).partition(b"\n")[0]
    finally:
        discard_all(opened)


def flags_to_read(kind: FileSystem) -> int:
    """How a lock file is opened for reading.

    Args:
        kind: The file system that it is on.
    """
    # An SMB mount reads whole pages, and the first one has the locked byte 0 in it, unless asked for bytes as they are.
    # An NFS mount reads what it had cached before its network was cut.
    return os.O_RDONLY | (OPEN & ~os.O_RDWR) | (OPEN_DIRECT if kind.is_remote else 0)
