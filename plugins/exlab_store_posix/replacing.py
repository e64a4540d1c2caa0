"""One document replaced as a whole: temporary file, fsync, rename, fsync of the directory.

What each step is for (measured with power cuts on ext4 and xfs): without the fsync of the file, or without that of
the directory, about two of three cuts lose the last acknowledged write; writing in place shows readers torn data.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from exlab_store import WriteOutcomeUnknown, came_from_signal_handler
from exlab_store_posix.freshness import look_again
from exlab_store_posix.mounts import FileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Version

__all__ = ["CREATE", "make_durable", "rename_over", "write_out"]

CREATE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
"""For a new file. Whatever stands at its name, a symbolic link too, is refused."""

if sys.platform == "darwin":
    import fcntl

    def make_durable(descriptor: int) -> None:
        """Waits until the disk has a file: fsync(2) on macOS leaves it in the drive's cache, F_FULLFSYNC does not."""
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
else:
    make_durable: Callable[[int], None] = os.fsync
    """Waits until the disk has a file."""

_ADVISES = hasattr(os, "posix_fadvise")

# After every wait for the disk, the processor's caches are cold, and then a Python function costs 3 us: so there are
# few of them on this path.


def write_out(descriptor: int, data: bytes) -> None:
    """Writes a document into a new file and has the disk begin to store it.

    Args:
        descriptor: Of the new file.
        data: The whole document.

    Raises:
        OSError: From write.
    """
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
    if _ADVISES:
        try:
            # What makes Linux begin to store at once. Pages that are not stored yet stay in its memory, so that
            # readers do not wait for the disk.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:  # advice: the fsync does it all
            if came_from_signal_handler(error):
                raise


# Whoever reads a document has it open for milliseconds.
_PATIENCE = 3.0
_PAUSE = 0.005


def rename_over(temporary: str, target: str, kind: FileSystem, version: Version) -> None:
    """Renames a new document over the old one.

    Args:
        temporary: The new document.
        target: Where it goes.
        kind: The file system.
        version: Of the new document.

    Raises:
        WriteOutcomeUnknown: The old document is gone, and the new one is still the temporary file.
        OSError: From rename.
    """
    if kind is not FileSystem.SMB_MOUNT:
        os.replace(temporary, target)
        return
    # A server lets nobody rename over a file that the same machine has open. The client then deletes that file and
    # tries again, and gives up with the old document gone (cifs_rename2; once in 92 writes beside a reader).
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            os.replace(temporary, target)
        except PermissionError as error:
            if came_from_signal_handler(error):
                raise
            if time.monotonic() < until:
                time.sleep(_PAUSE)
                continue
            look_again(target, kind)
            if os.path.exists(target):
                raise
            raise WriteOutcomeUnknown(
                "a program on this machine has the old document open, and the server has deleted that; "
                f"the new one is {os.path.basename(temporary)}",
                intended=version,
            ) from error
        else:
            return
