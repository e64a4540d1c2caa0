"""Directories in which ``A.json`` and ``a.json`` are one name: APFS as macOS makes it, casefold, vfat and exfat.

Two keys are two documents, and there the second would be taken for the first. So it is refused, and finds nothing, as
on Windows. A store in another directory pays nothing for this: what its directory does is asked when it is opened.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

from exlab_store import (
    DocumentNotFound,
    Expectation,
    FolderItem,
    HeldLock,
    KeyPattern,
    Leftover,
    LockOwner,
    Snapshot,
    Stat,
    came_from_signal_handler,
    hookimpl,
)
from exlab_store.backend import import_whole
from exlab_store_posix.backend import PosixBackend
from exlab_store_posix.descriptors import Descriptors, discard_all, open_into
from exlab_store_posix.entries import entries_of
from exlab_store_posix.faults import spelt_otherwise, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store_posix.mounts import MountedFileSystem

__all__ = ["CaseFoldingBackend", "folds_case"]

_TELLS_CASE_APART: Final = 11  # _PC_CASE_SENSITIVE [sys/unistd.h of macOS]
_GET_FLAGS: Final = 0x8000_6601 | struct.calcsize("l") << 16  # FS_IOC_GETFLAGS [linux/fs.h]
_FOLDS: Final = 0x4000_0000  # FS_CASEFOLD_FL [linux/fs.h]
_LONGEST_PATH: Final = 1024  # MAXPATHLEN of macOS, which is what F_GETPATH fills at most

_LOOK: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def folds_case(directory: str, mount: MountedFileSystem) -> bool:
    """Whether a directory does not tell upper case from lower case, as far as this system can say.

    An SMB mount is as its server is, and is not asked: see `guarantees.md`. On Windows, each call on a document asks.

    Args:
        directory: It exists.
        mount: What holds it.
    """
    if sys.platform == "win32" or mount.kind.is_remote:
        return False
    if mount.folds_case:
        return True
    try:
        if sys.platform == "darwin":
            return os.pathconf(directory, _TELLS_CASE_APART) == 0
        return sys.platform == "linux" and bool(_flags_of(directory) & _FOLDS)
    except OSError as error:  # a file system that has no such answer
        if came_from_signal_handler(error):
            raise
        return False


def _flags_of(directory: str) -> int:
    """The attributes of a directory, as lsattr(1) shows them; casefold is one of them [ioctl_iflags(2)]."""
    if sys.platform == "win32":
        raise OSError
    import_whole("fcntl")  # which is not there on Windows
    import fcntl

    opened = Descriptors()
    try:
        answer = fcntl.ioctl(open_into(opened, directory, _LOOK), _GET_FLAGS, bytes(struct.calcsize("l")))
    finally:
        discard_all(opened)
    return int(struct.unpack_from("i", answer)[0]) & 0xFFFF_FFFF


class CaseFoldingBackend(PosixBackend):
    """The hooks for a directory that folds case: a key finds what is spelt as it is, and nothing else."""

    folds_case = True

    def _check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        self._ensure_free(key)
        super()._check(key, expect, lock)

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """Reads what is spelt as the key is."""
        self._ensure_found(key)
        return super().read_snapshot(key)

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """Looks at what is spelt as the key is."""
        self._ensure_found(key)
        return super().stat_document(key)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Locks, unless the key leads to another name: its lock file would stand in a folder of that."""
        self._ensure_free(key)
        return super().lock(key, owner, timeout, cancelled)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Deletes what is spelt as the key is."""
        self._ensure_found(key)
        super().delete(key, expect, lock)

    @hookimpl
    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Copies, unless the copy's name leads to another."""
        self._ensure_free(copy)
        return super().keep_copy(key, copy, data)

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """Removes what is spelt as the key is."""
        self._ensure_found(key, "there is no such folder")
        super().remove_folder(key)

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """Lists a folder that is spelt so."""
        return super().list_keys(prefix) if self._is_spelt(prefix) else []

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> Iterator[FolderItem]:
        """Lists a folder that is spelt so."""
        if self._is_spelt(key):
            yield from super().list_folder(key, stat)

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Lists what fits below a folder that is spelt so."""
        return super().list_matching(prefix, pattern) if self._is_spelt(prefix) else []

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Lists below a folder that is spelt so."""
        return super().list_leftovers(prefix) if self._is_spelt(prefix) else []

    def _is_spelt(self, key: str) -> bool:
        return not key or self._other(key) is None

    def _ensure_found(self, key: str, missing: str = "there is no such document") -> None:
        if not self._is_spelt(key):
            raise DocumentNotFound(missing)

    def _ensure_free(self, key: str) -> None:
        if (found := self._other(key)) is not None:
            raise spelt_otherwise(*found, "this directory")

    def _other(self, key: str) -> tuple[str, str] | None:
        """The first name of a key that finds another one, and that one; None where each finds itself, or nothing."""
        if _has_path(self._base + key, key):
            return None
        folder = self._base
        for name in key.split("/"):
            try:
                if (other := _found_instead(folder, name)) is not None:
                    return name, other
            except (FileNotFoundError, NotADirectoryError) as error:
                if came_from_signal_handler(error):
                    raise
                return None  # whoever goes on finds nothing of any spelling
            except OSError as error:
                raise translated(error, "look at the names in the folder") from error
            folder += f"{name}{os.sep}"
        return None


def _found_instead(folder: str, name: str) -> str | None:
    """What a name finds in a folder that has none of that spelling; None where it has one, or finds nothing."""
    names = {entry.name for entry in entries_of(folder)}
    if name in names:
        return None
    number = os.lstat(folder + name).st_ino
    if name in (entries := {entry.name: entry for entry in entries_of(folder)}):
        return None  # it was made in between
    for other, entry in entries.items():
        if _folded(other) == _folded(name) or os.lstat(folder + entry.name).st_ino == number:
            return other
    return "another name"  # which is gone again, or an alias of it that no list shows


def _folded(name: str) -> str:
    return normalize("NFC", name).casefold()


if sys.platform == "darwin":
    import fcntl

    def _has_path(path: str, key: str) -> bool:
        """Whether the system calls what a path leads to by the names of the key; with links on the way, it does not.

        F_GETPATH gives the names that stand in the directories, whatever they were asked for by [fcntl(2)].
        """
        opened = Descriptors()
        try:
            found = fcntl.fcntl(open_into(opened, path, _LOOK), fcntl.F_GETPATH, bytes(_LONGEST_PATH))
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return False
        finally:
            discard_all(opened)
        return normalize("NFC", os.fsdecode(found.partition(b"\0")[0])).endswith(f"/{key}")
else:

    def _has_path(path: str, key: str) -> bool:  # noqa: ARG001
        """No: Linux tells by which name a file was looked up (/proc/self/fd), and not that in the directory."""
        return False
