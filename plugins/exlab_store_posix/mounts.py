"""Which kind of file system holds a directory: what it can promise depends on that."""

from __future__ import annotations

import enum
import os
import re
import sys

from exlab_store import came_from_signal_handler

__all__ = ["FileSystem", "file_system_of"]


class FileSystem(enum.Enum):
    """What a file system is, as far as promises go."""

    LOCAL = "local"
    """On a disk of this machine: fsync reaches it, and the kernel's locks last as long as their holder."""

    VOLATILE = "volatile"
    """In memory: nothing survives a power cut."""

    NETWORK = "network"
    """On a server that has made a name durable when it answers; locks may be lost with the connection."""

    SMB_MOUNT = "SMB mount"
    """On an SMB server, through the kernel: its fsync of a directory sends nothing (cifs_dir_fsync)."""

    UNKNOWN = "unknown"
    """Nothing is known, so nothing is promised that depends on it."""

    def __init__(self, label: str) -> None:
        # Attributes and no properties, as every lock asks.
        self.is_of_this_machine = label in {"local", "volatile"}
        """Whether all who use it do so through this kernel, or through a server that runs on it."""
        self.is_remote = label in {"network", "SMB mount"}
        """Whether every look at a lock is a round trip."""


# Names as /proc/self/mountinfo gives them. What is in none of these sets is unknown: FUSE, where the name tells
# nothing, and vfat and exfat, whose rename can lose both documents in a power cut.
_NAMES = {
    FileSystem.LOCAL: frozenset("bcachefs btrfs ext2 ext3 ext4 f2fs jfs ntfs3 overlay xfs zfs".split()),
    FileSystem.VOLATILE: frozenset({"tmpfs", "ramfs"}),
    FileSystem.NETWORK: frozenset("ceph gfs2 lustre nfs nfs4 ocfs2".split()),
    FileSystem.SMB_MOUNT: frozenset("cifs smb2 smb3 smbfs".split()),
}

_OCTAL = re.compile(r"\\([0-7]{3})")


def file_system_of(directory: str) -> FileSystem:
    """The kind of file system that holds a directory.

    Args:
        directory: An absolute path that exists.

    Returns:
        The kind; `FileSystem.UNKNOWN` on systems other than Linux.
    """
    if not sys.platform.startswith("linux"):
        return FileSystem.UNKNOWN
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            name = _type_of(os.path.realpath(directory), file.read())
    except OSError as error:  # a container without /proc: nothing is known, and the guarantees say so
        if came_from_signal_handler(error):
            raise
        return FileSystem.UNKNOWN
    return next((kind for kind, names in _NAMES.items() if name in names), FileSystem.UNKNOWN)


def _type_of(path: str, mountinfo: str) -> str:
    """The type of the mount with the longest point above the path; of equal ones the last, which hides the others."""
    best, found = -1, ""
    for line in mountinfo.splitlines():
        # 36 35 98:0 /root /mount/point options shared:1 - ext4 /dev/sda1 rw       (proc(5))
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        above = point.rstrip("/") + "/"
        if (path + "/").startswith(above) and len(above) >= best:
            best, found = len(above), after.split(" ")[0]
    return found
