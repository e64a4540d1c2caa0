"""The replacement of a document as a whole: temporary file, fsync, rename, fsync of the directory.

The purpose of each step (measured with power cuts on ext4 and xfs): without the fsync of the file, or without that of
the directory, about two of three cuts lose the last acknowledged write; writing in place shows readers torn data.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from exlab_store import BackendUnavailable, WriteOutcomeUnknown, came_from_signal_handler
from exlab_store.backend import mode_at
from exlab_store_posix.freshness import look_again
from exlab_store_posix.mounts import FileSystem
from exlab_store_posix.system import calls

if TYPE_CHECKING:
    from exlab_store import Version

__all__ = ["CREATE", "rename_over", "write_out"]

CREATE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(calls, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
"""For a new file. Whatever stands at its name, a symbolic link too, is refused."""

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
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # type: ignore[attr-defined, unused-ignore]
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
        BackendUnavailable: It did not happen: this machine does not tell the two apart.
        OSError: From rename.
    """
    if kind is not FileSystem.SMB_MOUNT:
        calls.replace(temporary, target)
        return
    _ensure_told_apart(temporary, target, kind)
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
            if mode_at(target):
                raise
            raise WriteOutcomeUnknown(
                "a program on this machine has the old document open, and the server has deleted that; "
                f"the new one is {os.path.basename(temporary)}",
                intended=version,
            ) from error
        else:
            return


def _ensure_told_apart(temporary: str, target: str, kind: FileSystem) -> None:
    """Has the client know that the document and the new one are two files.

    A server gives the number of a file that another client has replaced to the next new one. A client that has not
    heard of it takes the two names for links to one file, and then rename(2) does nothing and says that it is done
    (POSIX). Two clients that wrote in turn lost 18 of 600 documents so. Listing the folder tells it.
    """
    number = os.lstat(temporary).st_ino
    until = time.monotonic() + _PATIENCE
    while _number_of(target) == number:
        if time.monotonic() >= until:
            raise BackendUnavailable(
                "this machine takes the new document and the old one for one file",
                hint="Another client has just replaced the document: try again, or use `smb:` instead of the mount.",
            )
        look_again(target, kind)
        if _number_of(target) == number:
            time.sleep(_PAUSE)


def _number_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError as error:
        if came_from_signal_handler(error):
            raise
        return None
