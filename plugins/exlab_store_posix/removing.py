"""A directory removed, with the lock files and temporary files in it: the only case in which a lock file is unlinked.

It is unlinked while this process holds both of its locks. Who waits for them finds, when it gets them, that the file
has lost its name, and takes the lock of the file that has the name then.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from exlab_store import (
    FolderNotEmpty,
    InvalidKey,
    LockOwner,
    LockTimeout,
    NotSupported,
    WriteOutcomeUnknown,
    came_from_signal_handler,
)
from exlab_store.backend import removal_order
from exlab_store_posix.entries import entries_of
from exlab_store_posix.locking import take_lock
from exlab_store_posix.mounts import FileSystem
from exlab_store_posix.system import calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_posix.directories import Directories

__all__ = ["remove_directory"]

_LOCK: Final = ".lock"
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def remove_directory(
    base: str, key: str, directories: Directories, kind_of: Callable[[int, str], FileSystem], kind: FileSystem
) -> None:
    """Removes a directory in which there is nothing but lock files and temporary files.

    Args:
        base: The store's directory, with a slash at its end.
        key: The directory's key.
        directories: Of the store.
        kind_of: The kind of file system of a device (``st_dev``) and a path on it.
        kind: The kind of the store's directory.

    Raises:
        FolderNotEmpty: There is something else in it.
        LockTimeout: A lock in it is held.
        InvalidKey: It is no directory, or a link leads there.
        NotSupported: It is on a mounted share.
        WriteOutcomeUnknown: It is removed, and the directory above could not be synchronised.
        OSError: From a system call; the directory is still there.
    """
    path = base + key
    _ensure_directory(base, key)
    if _is_share(kind) or _is_share(kind_of(calls.lstat(path).st_dev, path)):
        # The client caches what stands at a name: two could find two files, and hold both locks.
        raise NotSupported(
            "a lock file on a mounted share is not removed, so its folder is not",
            hint="Delete the folder on the machine that stores it, or through smb:.",
        )
    found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries_of(path)}
    for name in removal_order(found):
        if name.endswith(_LOCK):
            _remove_lock_file(f"{path}{os.sep}{name}", f"{key}/{name.removesuffix(_LOCK)}", kind_of, kind)
        else:
            _unlink(f"{path}{os.sep}{name}")
    above = directories.open(path.rpartition(os.sep)[0])
    try:
        _remove(path)
        try:
            directories.settle(above)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            raise WriteOutcomeUnknown(
                f"the directory above could not be synchronised: {error.strerror}", intended=None
            ) from error
    finally:
        if above >= 0:
            os.close(above)


def _is_share(kind: FileSystem) -> bool:
    return kind.is_remote or kind is FileSystem.WINDOWS_SHARE


def _ensure_directory(base: str, key: str) -> None:
    segments = key.split("/")
    for count in range(len(segments)):
        mode = calls.lstat(base + "/".join(segments[: count + 1])).st_mode
        if stat.S_ISLNK(mode):
            raise InvalidKey("the key leads over a symbolic link", hint="Delete the folder where it really is.")
        if not stat.S_ISDIR(mode):
            if count + 1 < len(segments):
                raise FileNotFoundError(errno.ENOENT, "there is no such folder")
            raise InvalidKey("the key names a document, not a folder", hint="Delete the document.")


def _remove_lock_file(path: str, key: str, kind_of: Callable[[int, str], FileSystem], kind: FileSystem) -> None:
    owner = LockOwner("0" * 16, "", "", os.getpid(), "", "deletion of a folder")
    lock = take_lock(path, key, owner, 0.0, lambda: False, kind_of, kind)
    try:  # and no context manager: a signal handler may raise where it is entered, or where its release begins
        if lock.record == "none":
            left = [os.path.basename(path)]
            raise FolderNotEmpty("another program keeps a database in the folder", left=left)  # noqa: TRY301  # locked
        if os.name == "nt":  # nobody else has it open, or the system refuses
            lock.release()
        try:
            _unlink(path)
        except PermissionError as error:
            if os.name != "nt" or came_from_signal_handler(error):
                raise
            raise LockTimeout("somebody takes a lock in the folder", holder=None) from error
        lock.release()
    except BaseException:
        lock.release()
        raise


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError as error:
        if came_from_signal_handler(error):
            raise


def _remove(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in _NOT_EMPTY or came_from_signal_handler(error):
            raise
        raise FolderNotEmpty("somebody has made something in the folder meanwhile") from error
