"""Told of changes by the kernel: the directories of a store, each with a watch, also those that are made meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from exlab_store import NotSupported, ProcessBound, came_from_signal_handler, is_key, keys_in
from exlab_store_posix.faults import root_is_gone, translated
from exlab_store_posix.inotify import CAME, FOLDER, GONE, LEFT, LOST_COUNT, ROOT_GONE, Inotify

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_posix.inotify import Notice
    from exlab_store_posix.mounts import FileSystem

__all__ = ["DirectorySource"]

_SLICE: Final = 0.05  # seconds from one question to the next whether the wait was cancelled
_ROOT_CHECK: Final = 1.0  # seconds from one look whether the store's directory is still the same to the next
_MOST: Final = 65536  # directories; the kernel takes 1 KiB for each
_NO_ROOM: Final = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_HINT: Final = "Raise fs.inotify.max_user_watches or max_user_instances, or watch a smaller folder."
_VANISHED: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class DirectorySource(ProcessBound):
    """What the kernel tells of a folder of a store, and of the folders below it.

    The folders above it are watched too, as they may be deleted and made anew. A directory is watched before it is
    listed: what is made in it meanwhile is in the list, or is told.

    Args:
        base: The store's directory, with a slash at its end.
        prefix: The folder's key, or empty text.
        ignores: Tells which names are ignored.
        kind_of: The kind of file system of a device (``st_dev``) and a path on it.

    Raises:
        NotSupported: The kernel has no room for more watches.
        StoreError: A directory may not be watched.
    """

    def __init__(
        self,
        base: str,
        prefix: str,
        ignores: Callable[[str], bool],
        kind_of: Callable[[int, str], FileSystem],
    ) -> None:
        self._base = base
        self._prefix = prefix
        self._ignores = ignores
        self._kind_of = kind_of
        self._folders: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self.complete = True
        """False where a document is a link, or a folder is on a share that others change."""
        try:
            self._inotify = Inotify()
        except OSError as error:
            raise self._refused(error) from error
        except AttributeError as error:
            raise NotSupported("the system does not tell of changes") from error
        try:
            self._root = self._watch_root()
            self._identity = self._root_identity()
            self._next_check = time.monotonic() + _ROOT_CHECK
            self._watch_all()
        except BaseException:
            self._inotify.close()
            raise

    def _watch_root(self) -> int:
        root = self._add("")
        if root is None:
            raise root_is_gone()
        return root

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        """Reads what the kernel has to say."""
        deadline = time.monotonic() + timeout
        while True:
            self._check_root()
            remaining = deadline - time.monotonic()
            try:
                notices = self._inotify.wait(max(0.0, min(remaining, _SLICE)))
            except OSError as error:
                raise translated(error, "be told of changes") from error
            names: dict[str, None] = {}
            for notice in notices:
                names |= dict.fromkeys(self._told(notice))
            if names or remaining <= 0 or cancelled():
                return list(names)

    def close(self) -> None:
        """Closes the descriptor; the kernel forgets the watches."""
        self._inotify.close()

    def _told(self, notice: Notice) -> list[str]:
        if notice.what & LOST_COUNT:
            self._watch_all()
            return [""]
        if notice.what & GONE:
            self._forget(notice.watch)
            return []
        folder = self._folders.get(notice.watch)
        if folder is None:  # of a directory that is elsewhere by now
            return []
        if notice.what & ROOT_GONE and not notice.name:
            if notice.watch == self._root:
                raise root_is_gone()
            return []  # its parent tells
        name = f"{folder}/{notice.name}" if folder else notice.name
        if not self._is_watched(folder, notice.name, name):
            return []
        if not notice.what & FOLDER:
            if not is_key(name) or not name.startswith(self._below):
                return []
            if self.complete and notice.what & CAME and _is_link(self._base + name):
                self.complete = False  # its target changes elsewhere
            return [name]
        if notice.what & LEFT:
            self._leave(name)
        elif name == self._prefix or name.startswith(self._below):
            self._walk(name)
        else:  # on the way to the prefix
            self._watch_all()
            return [self._prefix + "/"]
        return [name + "/"] if is_key(name) else []

    @property
    def _below(self) -> str:
        return f"{self._prefix}/" if self._prefix else ""

    def _is_watched(self, folder: str, last: str, name: str) -> bool:
        if f"{self._prefix}/".startswith(f"{name}/"):
            return True
        return (folder == self._prefix or folder.startswith(self._below)) and not self._ignores(last)

    def _watch_all(self) -> None:
        """Watches the way to the folder, and all that is below it."""
        segments = self._prefix.split("/") if self._prefix else []
        for depth in range(1, len(segments)):
            if self._add("/".join(segments[:depth])) is None:
                return  # told when it is made
        self._walk(self._prefix)

    def _walk(self, folder: str) -> None:
        waiting = [folder]
        while waiting:
            name = waiting.pop()
            if self._add(name) is None:
                continue
            folders: list[str] = []
            try:
                with os.scandir(self._base + name) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.name)
                        elif entry.is_symlink():
                            self.complete = False  # its target changes elsewhere
            except OSError as error:
                if error.errno not in _VANISHED or came_from_signal_handler(error):
                    raise translated(error, "list the folder") from error
            waiting += keys_in(name, [each for each in folders if not self._ignores(each)])

    def _add(self, folder: str) -> int | None:
        """Watches a directory; None if there is none of this name."""
        path = self._base + folder
        try:
            # The store's directory, and a folder that was asked for by its name, may be links, as for a list.
            watch = self._inotify.add(path, follow=f"{self._prefix}/".startswith(f"{folder}/") or not folder)
            device = os.stat(path).st_dev
        except OSError as error:
            if error.errno in _VANISHED and not came_from_signal_handler(error):
                return None
            raise self._refused(error) from error
        known = self._folders.get(watch)
        if known is not None and known != folder:
            self._watches.pop(known, None)
        self._folders[watch] = folder
        self._watches[folder] = watch
        if len(self._folders) > _MOST:
            raise NotSupported(f"there are more than {_MOST} folders to be told of", hint=_HINT)
        if not self._kind_of(device, f"{path}/.").is_of_this_machine:
            self.complete = False
        return watch

    def _leave(self, folder: str) -> None:
        """Forgets a directory that has another name now, or none, and those below it."""
        for name in [each for each in self._watches if each == folder or each.startswith(f"{folder}/")]:
            watch = self._watches[name]
            self._forget(watch)
            self._inotify.remove(watch)

    def _forget(self, watch: int) -> None:
        folder = self._folders.pop(watch, None)
        if folder is not None and self._watches.get(folder) == watch:
            del self._watches[folder]

    def _check_root(self) -> None:
        """A directory above may be renamed, or a share mounted over it, and the kernel tells nobody here."""
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + _ROOT_CHECK
            if self._root_identity() != self._identity:
                raise root_is_gone()

    def _root_identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._base)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            return None
        return status.st_dev, status.st_ino

    def _refused(self, error: OSError) -> Exception:
        if error.errno in _NO_ROOM and not came_from_signal_handler(error):
            return NotSupported(f"the kernel tells of no more folders: {error.strerror}", hint=_HINT)
        return translated(error, "watch the folder")


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return False  # it has gone again
