"""POSIX access control lists, as Linux keeps them in an extended attribute [acl(5), linux/posix_acl_xattr.h].

A file with a list has more rules than its mode shows. Its group bits are then the *mask*, the most that any named
user and any group gets, and not what its own group gets.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ATTRIBUTE",
    "AclEntry",
    "Tag",
    "attributes_of",
    "entries_of",
    "mode_without",
    "narrowed",
    "packed",
    "parsed",
]

ATTRIBUTE: Final = "system.posix_acl_access"

_HEADER: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
_VERSION: Final = 2
_NO_ID: Final = 0xFFFFFFFF


class Tag(IntEnum):
    """Whom an entry is about."""

    OWNER = 0x01
    USER = 0x02
    OWNING_GROUP = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


class AclEntry(NamedTuple):
    """One rule of a list.

    Attributes:
        tag: Whom it is about.
        rights: 4 to read, 2 to write, 1 to execute, added up.
        number: The user or the group of a `USER` or a `GROUP`.
    """

    tag: Tag
    rights: int
    number: int = _NO_ID


def parsed(attribute: bytes) -> list[AclEntry]:
    """The entries of a list.

    Args:
        attribute: The value of the extended attribute.

    Raises:
        ValueError: It is of another version, or cut off.
    """
    if len(attribute) < _HEADER.size or _HEADER.unpack_from(attribute)[0] != _VERSION:
        raise ValueError("an access control list of an unknown version")
    if (len(attribute) - _HEADER.size) % _ENTRY.size:
        raise ValueError("an access control list that is cut off")
    return [AclEntry(Tag(tag), rights, number) for tag, rights, number in _ENTRY.iter_unpack(attribute[_HEADER.size :])]


def packed(entries: Iterable[AclEntry]) -> bytes:
    """The value of the extended attribute; the kernel wants the entries in the order of their tags.

    Args:
        entries: In any order.
    """
    ordered = sorted(entries, key=lambda entry: (entry.tag, entry.number))
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in ordered)


def narrowed(entries: Iterable[AclEntry]) -> list[AclEntry]:
    """The list for a file that could not be given the old file's group.

    Whoever is in one of the two groups counts as the other's stranger now. So both get only what both had.

    Args:
        entries: The list of the old file.
    """
    listed = list(entries)
    both = _of(listed, Tag.OWNING_GROUP) & _mask(listed) & _of(listed, Tag.OTHER)
    return [entry._replace(rights=both) if entry.tag in {Tag.OWNING_GROUP, Tag.OTHER} else entry for entry in listed]


def mode_without(entries: Iterable[AclEntry]) -> int:
    """The mode that gives nobody more than a list did, for a file that cannot have the list.

    Args:
        entries: The list.
    """
    listed = list(entries)
    mask = _mask(listed)
    # Who was named becomes a member of the group or a stranger: neither may get more than the least that was named.
    common = 0o7
    for entry in listed:
        if entry.tag in {Tag.USER, Tag.GROUP}:
            common &= entry.rights & mask
    group = _of(listed, Tag.OWNING_GROUP) & mask & common
    return _of(listed, Tag.OWNER) << 6 | group << 3 | _of(listed, Tag.OTHER) & common


def entries_of(path: str | int, mode: int) -> list[AclEntry]:
    """The rules of a file or a directory: its list, or the three of its mode.

    Args:
        path: Its path, or a descriptor.
        mode: Its mode.

    Raises:
        OSError: They cannot be read.
    """
    if sys.platform == "linux":
        try:
            return parsed(os.getxattr(path, ATTRIBUTE))
        except ValueError:
            pass
        except OSError as error:
            if error.errno not in {errno.ENODATA, errno.ENOTSUP, errno.ENOSYS} or came_from_signal_handler(error):
                raise
    return [
        AclEntry(Tag.OWNER, mode >> 6 & 7),
        AclEntry(Tag.OWNING_GROUP, mode >> 3 & 7),
        AclEntry(Tag.OTHER, mode & 7),
    ]


if sys.platform == "linux":

    def attributes_of(path: str | int) -> list[str]:
        """The names of a file's extended attributes; none where the file system has no such thing.

        Args:
            path: Its path, through a symbolic link, or a descriptor.
        """
        try:
            return os.listxattr(path)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return []
else:

    def attributes_of(path: str | int) -> list[str]:  # noqa: ARG001
        """None: they are kept on Linux only."""
        return []


def _of(entries: list[AclEntry], tag: Tag) -> int:
    return next((entry.rights for entry in entries if entry.tag is tag), 0)


def _mask(entries: list[AclEntry]) -> int:
    return next((entry.rights for entry in entries if entry.tag is Tag.MASK), 0o7)
