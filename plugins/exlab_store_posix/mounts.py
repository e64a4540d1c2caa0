"""Which kind of file system holds a directory: what it can promise depends on that."""

from __future__ import annotations

import enum
import os
import re
import sys

__all__ = ["FileSystem", "file_system_of"]


class FileSystem(enum.Enum):
    """What a file system is, as far as promises go."""

    LOCAL = "local"
    """On a disk of this machine: fsync reaches it, and the kernel's locks last as long as their holder."""

    VOLATILE = "volatile"
    """In memory: nothing survives a power cut."""

    NETWORK = "network"
    """On a server: locks may be lost with the connection."""

    UNKNOWN = "unknown"
    """Nothing is known, so nothing is promised that depends on it."""


# Names as /proc/self/mountinfo gives them.
_LOCAL = frozenset(
    "bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs hfsplus jfs ntfs ntfs3 overlay udf ufs vfat xfs zfs".split()
)
_VOLATILE = frozenset({"tmpfs", "ramfs"})
_NETWORK = frozenset(
    "9p afs beegfs ceph cifs gfs2 glusterfs gpfs lustre nfs nfs4 ocfs2 smb2 smb3 smbfs virtiofs".split()
)

_OCTAL = re.compile(r"\\([0-7]{3})")


def file_system_of(directory: str) -> FileSystem:
    """The kind of file system that holds a directory.

    Args:
        directory: An absolute path that exists.

    Returns:
        The kind; `FileSystem.UNKNOWN` on systems other than Linux, and for FUSE, where the name tells nothing.
    """
    if not sys.platform.startswith("linux"):
        return FileSystem.UNKNOWN
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            name = _type_of(os.path.realpath(directory), file.read())
    except OSError:  # a container without /proc: nothing is known, and the guarantees say so
        return FileSystem.UNKNOWN
    for kind, names in (
        (FileSystem.LOCAL, _LOCAL),
        (FileSystem.VOLATILE, _VOLATILE),
        (FileSystem.NETWORK, _NETWORK),
    ):
        if name in names:
            return kind
    return FileSystem.UNKNOWN


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
