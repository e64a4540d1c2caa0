"""The permissions of a new version of a document: those of the version before it.

A new file is the owner's alone until it has the rights of the document that it replaces. Whoever opened it before
that would read the content that is written later: born with 0666 and narrowed afterwards, a document of mode 0600 was
read by another account in 2,272 of 7,556 rewrites.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

if sys.platform == "win32":
    raise ImportError("on Windows, `windows.access` stands for this module")

from typing import TYPE_CHECKING, Final

from exlab_store import (
    AccessDenied,
    LocationError,
    NotSupported,
    came_from_signal_handler,
    mode_at,
    suppress_unless_signalled,
)
from exlab_store_posix import acl
from exlab_store_posix.faults import NOTHING_THERE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PRIVATE", "checked_mode", "give_mode", "hand_over", "keep_access", "replaced_by"]

PRIVATE: Final = 0o600
"""What a new file is born with until it has its own rights."""

# fchown(2): the account may not give the file away (EPERM, EACCES of a server), one of the two owners has no number in
# this user namespace (EINVAL), or the file system keeps no owners.
_MAY_NOT: Final = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_LABEL: Final = "security.selinux"


def replaced_by(target: str) -> os.stat_result | None:
    """The document whose rights a new version gets.

    Args:
        target: Where the new version will stand. Behind a symbolic link there, it is the file that readers read.

    Returns:
        None if there is none, or no file: the rename will say what is wrong with that.

    Raises:
        AccessDenied: There may be one, behind a link that leads to where this account may not look: nobody knows how
            private that is.
        OSError: From stat.
    """
    try:
        old = os.stat(target)
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        if error.errno in NOTHING_THERE:
            return None
        if stat.S_ISLNK(mode_at(target, follow_symlinks=False)):
            raise AccessDenied(
                f"the document is a link, and where that leads cannot be looked at: {error.strerror}",
                errno=error.errno,
                hint="Remove the link, or let this account look at what it leads to.",
            ) from error
        raise
    return old if stat.S_ISREG(old.st_mode) else None


def keep_access(descriptor: int, document: str | int, old: os.stat_result) -> None:
    """Gives a new file owner, group, mode, access control list and attributes of a document, as far as is allowed.

    What cannot be kept never gives anybody more than before. If the group cannot be kept, the members of the old and
    of the new group have changed sides, and group and others get what both had.

    Args:
        descriptor: Of the new file, which is empty and private yet.
        document: Its path, or a descriptor.
        old: Its status, as from `replaced_by`.

    Raises:
        OSError: From fstat, fchown or fchmod.
    """
    new = os.fstat(descriptor)
    grouped = (old.st_gid == new.st_gid and old.st_uid == new.st_uid) or hand_over(descriptor, old, new)
    mode = old.st_mode & 0o777
    old_names: list[str] = []
    new_names: list[str] = []
    if sys.platform == "linux":
        try:
            old_names, new_names = os.listxattr(document), os.listxattr(descriptor)
        except OSError as error:  # one of them has none
            if came_from_signal_handler(error):
                raise
            old_names, new_names = acl.attributes_of(document), acl.attributes_of(descriptor)
    if acl.ATTRIBUTE in old_names:
        mode = _keep_list(descriptor, document, mode, grouped=grouped)
    else:
        if not grouped:
            both = mode >> 3 & mode & 0o7
            mode = mode & 0o700 | both << 3 | both
        if acl.ATTRIBUTE in new_names:  # from the directory's default list
            mode = _without_list(descriptor, mode)
    for name in old_names:
        if name.startswith("user.") or name == _LABEL:
            _keep_attribute(descriptor, document, name)
    if mode >= 0 and mode != stat.S_IMODE(new.st_mode):
        os.fchmod(descriptor, mode)


def checked_mode(mode: object) -> int | None:
    """The permission bits that an option gives to each document; None where it is not given.

    Args:
        mode: The option.

    Raises:
        LocationError: They are none, or do not let the owner read and write.
    """
    if mode is None:
        return None
    if type(mode) is not int or mode & ~0o777 or mode & PRIVATE != PRIVATE:
        raise LocationError(
            "`mode` must be permission bits that let the owner read and write",
            hint="Write it as an octal number: 0o600 for the owner alone, 0o640 for a group that reads.",
        )
    return mode


def give_mode(descriptor: int, old: os.stat_result | None, mode: int) -> None:
    """Gives a new file the mode that was asked for, and no access control list.

    Args:
        descriptor: Of the new file, which is empty yet.
        old: The document whose owner and group it keeps, if there is one.
        mode: Permission bits.

    Raises:
        NotSupported: The file system gives other accounts more than that.
        OSError: From fstat, fchown or fchmod.
    """
    if old is not None:
        hand_over(descriptor, old, os.fstat(descriptor))
    if acl.ATTRIBUTE in acl.attributes_of(descriptor):
        _without_list(descriptor, mode)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        with suppress_unless_signalled(PermissionError):  # vfat and others, which have one mode for all files
            os.fchmod(descriptor, mode)
    given = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if given & ~mode & 0o777:
        raise NotSupported(
            f"this file system gives every file the mode {given:#o}, and mode={mode:#o} was asked for",
            hint="Keep private documents on a file system that has permissions, or mount this one with others.",
        )


def hand_over(descriptor: int, old: os.stat_result, new: os.stat_result) -> bool:
    """Gives a new file the owner and the group of another, as far as is allowed.

    Args:
        descriptor: Of the new file.
        old: Of the other file.
        new: Of the new file.

    Returns:
        Whether it has that group now.

    Raises:
        OSError: From fchown.
    """
    # Only root may give files away, and others only to a group of theirs.
    grouped = old.st_gid == new.st_gid or _allowed(lambda: os.fchown(descriptor, -1, old.st_gid))
    if old.st_uid != new.st_uid:
        _allowed(lambda: os.fchown(descriptor, old.st_uid, -1))
    return grouped


def _allowed(change: Callable[[], None]) -> bool:
    try:
        change()
    except OSError as error:
        if error.errno not in _MAY_NOT or came_from_signal_handler(error):
            raise
        return False
    return True


if sys.platform == "linux":

    def _keep_list(descriptor: int, document: str | int, mode: int, *, grouped: bool) -> int:
        """Copies the access control list; the mode that is still to be set, or -1 if the list has set it."""
        try:
            entries = acl.parsed(os.getxattr(document, acl.ATTRIBUTE))
        except (OSError, ValueError) as error:
            if came_from_signal_handler(error):
                raise
            return _without_list(descriptor, mode & 0o700)  # nobody knows whom it let in
        if not grouped:
            entries = acl.narrowed(entries)
        try:
            os.setxattr(descriptor, acl.ATTRIBUTE, acl.packed(entries))
        except OSError as error:  # a name in it has no number in this user namespace, say
            if came_from_signal_handler(error):
                raise
            return _without_list(descriptor, acl.mode_without(entries))
        return -1

    def _without_list(descriptor: int, mode: int) -> int:
        """Takes a list away that the directory has given; the mode that is to be set."""
        try:
            os.removexattr(descriptor, acl.ATTRIBUTE)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            if error.errno not in {errno.ENODATA, errno.ENOTSUP}:
                return mode & 0o707  # the group bits are the most that anybody who is named gets
        return mode

    def _keep_attribute(descriptor: int, document: str | int, name: str) -> None:
        # A label that may not be set, or an attribute for which there is no room, must not keep a document from
        # being written: neither lets anybody in.
        with suppress_unless_signalled(OSError):
            os.setxattr(descriptor, name, os.getxattr(document, name))
else:

    def _keep_list(descriptor: int, document: str | int, mode: int, *, grouped: bool) -> int:  # noqa: ARG001
        return mode

    def _without_list(descriptor: int, mode: int) -> int:  # noqa: ARG001
        return mode

    def _keep_attribute(descriptor: int, document: str | int, name: str) -> None:
        """Nothing: they are kept on Linux only."""
