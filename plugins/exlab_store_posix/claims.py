"""The guarantees of a file system, by its kind and its mount options."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from exlab_store import Guarantees
from exlab_store_posix.mounts import FileSystem

if TYPE_CHECKING:
    from exlab_store_posix.mounts import MountedFileSystem

__all__ = ["claims_of"]


def claims_of(mount: MountedFileSystem, *, flushes: bool = False) -> Guarantees:
    """The guarantees of a directory.

    Args:
        mount: The file system that holds it.
        flushes: Whether the system itself says that what is flushed there reaches a disk, as macOS does.
    """
    kind = mount.kind
    linux = sys.platform.startswith("linux")
    known = linux or sys.platform == "win32"
    reaches_the_site = _passes_locks_on(mount)
    return Guarantees(
        # An SMB mount deletes what this machine has open before it renames over it.
        atomic_replace=kind not in (FileSystem.SMB_MOUNT, FileSystem.WINDOWS_SHARE),
        # The fsyncs reach a disk: not in memory, not over an SMB mount, not through FUSE as far as anyone can tell. On
        # Windows, LOCAL is NTFS on a disk of the machine: FlushFileBuffers stores the file, and a rename that is
        # written through its name [FlushFileBuffers; MoveFileExW; CreateFileW, Caching Behavior]. A directory that was
        # made before is in front of it in the log [NTFS overview, Increased reliability].
        durable=kind in (FileSystem.LOCAL, FileSystem.NETWORK, FileSystem.NFS) or flushes,
        conditional_write="locked",
        lock_scope="site" if reaches_the_site else "host",
        lock_release="crash",
        # A network mount can lose a lock behind its holder's back; a local kernel cannot.
        # On Windows nobody can delete or rename a file that somebody has open as a lock file is.
        fenced=known and kind.is_of_this_machine,
        lists=True,
        deletes=True,
        fresh="always"
        if known and (kind.is_of_this_machine or (kind is FileSystem.NFS and reaches_the_site))
        else "locked"
        if kind is FileSystem.SMB_MOUNT and reaches_the_site
        else "none",
        # Of a share, the kernel tells only what this machine does.
        watch="pushed" if linux and kind.is_of_this_machine else "polled",
    )


def _passes_locks_on(mount: MountedFileSystem) -> bool:
    """Whether the server keeps the locks, so that they exclude its other clients.

    What a read under such a lock is asked for by name is asked for on the server too: see `freshness`.
    """
    options = mount.options
    if mount.kind is FileSystem.NFS:
        # With nocto, the opening of a folder or a file asks the server for nothing. NFS 3 has its locks from another
        # service, which need not run.
        return (
            options.get("vers", "").startswith("4") and options.get("local_lock") == "none" and "nocto" not in options
        )
    if mount.kind is FileSystem.SMB_MOUNT:
        return not options.get("vers", "1.0").startswith("1") and "nobrl" not in options
    return False
