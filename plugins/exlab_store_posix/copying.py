"""A copy of a document under a second name, with at most the document's permissions, and never through a link."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store import VersionConflict, WriteOutcomeUnknown, temporary_name, version_of
from exlab_store_posix.replacing import CREATE, make_durable, write_out

if TYPE_CHECKING:
    from exlab_store_posix.directories import Directories

__all__ = ["copy_file"]

_READ = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in the document's place must not hold up the writer
    | getattr(os, "O_BINARY", 0)
)
_ACL = "system.posix_acl_access"


def copy_file(document: str, copy: str, data: bytes, directories: Directories) -> bool:
    """Copies a document.

    The bytes and the permissions are those of one open file. With two looks at a name, somebody could have put another
    file there in between: one that all may read, in the place of one that they may not.

    Args:
        document: The path of the document.
        copy: The path of the copy; what stands there is replaced.
        data: What the document must hold.
        directories: The store's.

    Returns:
        False, and nothing was done, where the document is a link.

    Raises:
        VersionConflict: The document is gone, or holds something else.
        OSError: From a system call; there is no copy.
        WriteOutcomeUnknown: The copy is there, and may not survive a power cut.
    """
    try:
        source = os.open(document, _READ)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:  # the latter is FreeBSD's [open(2)]
            return False
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise VersionConflict(expected=version_of(data)) from error
        raise
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(data) or _content(source, len(data)) != data:
            raise VersionConflict(expected=version_of(data))
        mode = _mode_of(source, status)
    finally:
        os.close(source)
    folder, _, name = copy.rpartition("/")
    temporary = f"{folder}/{temporary_name(name)}"
    parent = directories.open(folder)
    renamed = False
    try:
        file = os.open(temporary, CREATE, 0o600)
        try:
            _give_access(file, status, mode)
            write_out(file, data)
            make_durable(file)
        finally:
            os.close(file)
        os.replace(temporary, copy)
        renamed = True
        directories.settle(parent)
    except OSError as error:
        if renamed:
            raise WriteOutcomeUnknown(
                f"the directory could not be synchronised: {error.strerror}", intended=version_of(data)
            ) from error
        raise
    finally:
        if not renamed:
            with suppress(OSError):
                os.unlink(temporary)
        if parent >= 0:
            os.close(parent)
    return True


def _content(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size >= 0 and (part := os.read(descriptor, size + 1)):  # one byte more shows that the file has grown
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _mode_of(descriptor: int, status: os.stat_result) -> int:
    """The document's mode; of one with an access control list, what its owner may do.

    The group bits of such a file are the list's mask: they would give the group what the list may deny it.
    """
    mode = status.st_mode & 0o777
    return mode & 0o700 if _has_list(descriptor) else mode


def _has_list(descriptor: int) -> bool:
    if not hasattr(os, "getxattr"):
        return False
    try:
        os.getxattr(descriptor, _ACL)
    except OSError as error:
        return error.errno not in {errno.ENODATA, errno.ENOTSUP}
    return True


def _give_access(descriptor: int, old: os.stat_result, mode: int) -> None:
    """Gives a new file of mode 0600 the document's owner, group and mode, as far as that grants nobody more."""
    if os.name == "nt":
        return
    if hasattr(os, "removexattr"):
        with suppress(OSError):  # from the folder's default list: whom that names, the document's mode may not
            os.removexattr(descriptor, _ACL)
    new = os.fstat(descriptor)
    if old.st_gid != new.st_gid:
        try:
            os.fchown(descriptor, -1, old.st_gid)
        except OSError:
            # Another group and the others: whoever is in either gets what both had.
            common = mode >> 3 & mode & 0o7
            mode = mode & 0o700 | common << 3 | common
    if old.st_uid != new.st_uid:
        with suppress(OSError):  # only root may give files away; this account has read the document
            os.fchown(descriptor, old.st_uid, -1)
    os.fchmod(descriptor, mode)
