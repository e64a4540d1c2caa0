"""A copy of a document under a second name, with at most the document's permissions, and never through a link."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

from exlab_store import (
    VersionConflict,
    WriteOutcomeUnknown,
    came_from_signal_handler,
    suppress_unless_signalled,
    temporary_name,
    version_of,
)
from exlab_store_posix.descriptors import Descriptors, close_all, close_first, discard_all, open_into
from exlab_store_posix.flushing import make_durable
from exlab_store_posix.replacing import CREATE, rename_over, write_out
from exlab_store_posix.system import calls

if sys.platform == "win32":
    from exlab_store_posix.windows.access import PRIVATE, give_mode, keep_access
else:
    from exlab_store_posix.access import PRIVATE, give_mode, keep_access

if TYPE_CHECKING:
    from exlab_store_posix.directories import Directories
    from exlab_store_posix.mounts import FileSystem

__all__ = ["copy_file"]

_READ = (
    os.O_RDONLY
    | getattr(calls, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in the document's place must not hold up the writer
    | getattr(os, "O_BINARY", 0)
)


def copy_file(
    document: str, copy: str, data: bytes, directories: Directories, kind: FileSystem, mode: int | None = None
) -> bool:
    """Copies a document.

    The bytes and the permissions are those of one open file. With two looks at a name, somebody could have put another
    file there in between: one that all may read, in the place of one that they may not.

    Args:
        document: The path of the document.
        copy: The path of the copy; what stands there is replaced.
        data: What the document must hold.
        directories: The store's.
        kind: The file system of the copy.
        mode: Of private documents: the most that the copy may have.

    Returns:
        False, and nothing was done, where the document is a link.

    Raises:
        VersionConflict: The document is gone, or holds something else.
        OSError: From a system call; there is no copy.
        WriteOutcomeUnknown: The copy is there, and may not survive a power cut.
    """
    opened = Descriptors()
    try:
        try:
            source = open_into(opened, document, _READ)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            if error.errno in {errno.ELOOP, errno.EMLINK}:  # the latter is FreeBSD's [open(2)]
                return False
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                raise VersionConflict(expected=version_of(data)) from error
            raise
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(data) or _content(source, len(data)) != data:
            raise VersionConflict(expected=version_of(data))
        _write(copy, source, status, data, directories, kind, mode)
        close_all(opened)
    finally:
        discard_all(opened)
    return True


def _write(
    copy: str,
    source: int,
    status: os.stat_result,
    data: bytes,
    directories: Directories,
    kind: FileSystem,
    mode: int | None,
) -> None:
    folder, _, name = copy.rpartition(os.sep)
    temporary = f"{folder}{os.sep}{temporary_name(name)}"
    opened = Descriptors()
    renamed = in_the_way = False
    try:
        file = open_into(opened, temporary, CREATE, PRIVATE)
        if mode is not None:
            give_mode(file, status, mode & status.st_mode)
        else:
            keep_access(file, source, status)
        write_out(file, data)
        parent = directories.open(folder)
        if parent >= 0:
            opened.append(parent)
        make_durable(file)
        close_first(opened)
        rename_over(temporary, copy, kind, version_of(data))
        renamed = True
        directories.settle(parent)
        close_all(opened)
    except OSError as error:
        # What stood at the temporary file's name before is not ours to remove.
        in_the_way = isinstance(error, FileExistsError) and error.filename == temporary
        if renamed and not came_from_signal_handler(error):
            raise WriteOutcomeUnknown(
                f"the directory could not be synchronised: {error.strerror}", intended=version_of(data)
            ) from error
        raise
    finally:
        discard_all(opened)
        if not renamed and not in_the_way:
            with suppress_unless_signalled(OSError):
                os.unlink(temporary)


def _content(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size >= 0 and (part := os.read(descriptor, size + 1)):  # one byte more shows that the file has grown
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
