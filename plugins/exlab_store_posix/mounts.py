"""The kind of the file system that holds a directory, and its mount options; the guarantees depend on both."""

from __future__ import annotations

import enum
import os
import re
import stat
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store import came_from_signal_handler
from exlab_store.backend import mode_at

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FileSystem", "MountedFileSystem", "mount_of", "nearest_directory"]


class FileSystem(enum.Enum):
    """What a file system is, as far as promises go."""

    LOCAL = "local"
    """On a disk of this machine: fsync reaches it, and the kernel's locks last as long as their holder."""

    VOLATILE = "volatile"
    """In memory: nothing survives a power cut."""

    NETWORK = "network"
    """On a server that has made a name durable when it answers; locks may be lost with the connection."""

    NFS = "NFS"
    """The same, through the kernel's NFS client, which believes a name for as long as it caches the folder."""

    SMB_MOUNT = "SMB mount"
    """On an SMB server, through the kernel: its fsync of a directory sends nothing (cifs_dir_fsync)."""

    WINDOWS_SHARE = "Windows share"
    """On an SMB server, through the client of Windows: nothing was measured, so little is promised."""

    UNKNOWN = "unknown"
    """Nothing is known, so nothing is promised that depends on it."""

    def __init__(self, label: str) -> None:
        # Attributes and no properties, as every lock asks.
        self.is_of_this_machine = label in {"local", "volatile"}
        """Whether all who use it do so through this kernel, or through a server that runs on it."""
        self.is_remote = label in {"network", "NFS", "SMB mount"}
        """Whether every look at a lock is a round trip."""
        self.locks_byte_0 = label in {"local", "volatile", "SMB mount"} and sys.platform == "linux"
        """Whether a lock is, or is too, an open file description lock on byte 0 of its file."""
        self.locks_whole_file = label != "SMB mount"
        """Whether a lock is flock's. On an SMB mount that would keep others from reading who has it."""


# Names as /proc/self/mountinfo gives them. What is in none of these sets is unknown: FUSE, where the name tells
# nothing, and vfat and exfat, whose rename can lose both documents in a power cut.
_NAMES = {
    FileSystem.LOCAL: frozenset("bcachefs btrfs ext2 ext3 ext4 f2fs jfs ntfs3 overlay xfs zfs".split()),
    FileSystem.VOLATILE: frozenset({"tmpfs", "ramfs"}),
    FileSystem.NETWORK: frozenset("ceph gfs2 lustre ocfs2".split()),
    FileSystem.NFS: frozenset({"nfs", "nfs4"}),
    FileSystem.SMB_MOUNT: frozenset("cifs smb2 smb3 smbfs".split()),
}

_FOLD_CASE: Final = frozenset({"exfat", "msdos", "vfat"})  # the latter two not with check=s [Documentation/filesystems]

if sys.platform == "win32":
    from exlab_store_posix.windows.volumes import volume_kind

    _ON_WINDOWS: Final = {
        "disk": FileSystem.LOCAL,
        "memory": FileSystem.VOLATILE,
        "share": FileSystem.WINDOWS_SHARE,
    }

_OCTAL = re.compile(r"\\([0-7]{3})")


class MountedFileSystem(NamedTuple):
    """A mounted file system.

    Attributes:
        kind: Of the file system.
        options: As /proc/self/mountinfo shows them, with those of the file system; a flag has an empty value.
        folds_case: It is one that never tells upper case from lower case.
    """

    kind: FileSystem
    options: Mapping[str, str] = MappingProxyType({})
    folds_case: bool = False


_NOTHING_KNOWN: Final = MountedFileSystem(FileSystem.UNKNOWN)


def mount_of(directory: str) -> MountedFileSystem:
    """The mounted file system that holds a directory.

    Args:
        directory: An absolute path that exists.

    Returns:
        The mount; one of the kind `FileSystem.UNKNOWN` on systems other than Linux and Windows.
    """
    if sys.platform == "win32":
        return MountedFileSystem(_ON_WINDOWS.get(volume_kind(directory), FileSystem.UNKNOWN))
    if not sys.platform.startswith("linux"):
        return _NOTHING_KNOWN
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return _mount_above(os.path.realpath(directory, strict=True), file.read())
    except OSError as error:  # a container without /proc: nothing is known, and the guarantees say so
        if came_from_signal_handler(error):
            raise
        return _NOTHING_KNOWN


def _mount_above(path: str, mountinfo: str) -> MountedFileSystem:
    """The mount with the longest point above the path; of equal ones the last, which hides the others."""
    best, name, shown = -1, "", ""
    for line in mountinfo.splitlines():
        # 36 35 98:0 /root /mount/point options shared:1 - ext4 /dev/sda1 rw       (proc(5))
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        above = point.rstrip("/") + "/"
        if (path + "/").startswith(above) and len(above) >= best:
            best, (name, _, super_options) = len(above), after.split(" ")[:3]
            shown = f"{fields[5]},{super_options}"
    kind = next((kind for kind, names in _NAMES.items() if name in names), FileSystem.UNKNOWN)
    parts = (option.partition("=") for option in shown.split(","))
    options = {option: value for option, _, value in parts}
    return MountedFileSystem(kind, options, name in _FOLD_CASE and options.get("check") != "s")


def nearest_directory(path: str) -> str:
    """A directory, or the first above it that exists.

    Args:
        path: Absolute.
    """
    while not stat.S_ISDIR(mode_at(path)) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path
