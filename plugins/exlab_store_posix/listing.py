"""The documents and folders in a directory and below it, without lock files, temporary files and ignored names.

Links to directories are not followed, as they may form a circle; a link to a file is a document.
"""

from __future__ import annotations

import heapq
import os
import stat
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from exlab_store import FolderItem, came_from_signal_handler, is_key, keys_in
from exlab_store.backend import mode_at, not_ignored
from exlab_store_posix.entries import entries_of
from exlab_store_posix.faults import NOTHING_THERE
from exlab_store_posix.system import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exlab_store import KeyPattern
    from exlab_store_posix.entries import Entry

__all__ = ["Lister"]

# To sort 20,000 names takes 4 ms, to find the smallest of them 0.4: the first entries need not wait for the sort.
_FIRST: Final = 64
_AT_A_TIME: Final = 1024
_SHORT: Final = 250  # characters of a key that has fewer bytes than a key may have


class Lister:
    """The directories of one store.

    Args:
        base: The store's directory, with a slash at its end.
        ignores: Tells which names are ignored.
        ensure_root: Raises if the store's directory is gone.
    """

    def __init__(self, base: str, ignores: Callable[[str], bool], ensure_root: Callable[[], None]) -> None:
        self._base = base
        self._ignores = ignores
        self._ensure_root = ensure_root

    def keys(self, prefix: str) -> list[str]:
        """The documents below a folder, at any depth.

        Args:
            prefix: The folder's key, or empty text.

        Raises:
            OSError: A folder cannot be listed.
        """
        keys: list[str] = []
        waiting = [prefix]
        while waiting:
            folder = waiting.pop()
            files, folders = self._names(folder)
            keys += self._keys(folder, files)
            waiting += self._keys(folder, folders)
        return keys

    def entries(self, folder: str, *, with_stat: bool) -> Iterator[FolderItem]:
        """The documents and folders directly in a folder, in the order of their names.

        Args:
            folder: The folder's key, or empty text.
            with_stat: With sizes and times; each document is looked at when its turn has come.

        Raises:
            OSError: The folder cannot be listed, or a document not be looked at.
        """
        names, folders = self._names(folder)
        inner = frozenset(folders)
        names += folders
        yield from self._made(folder, heapq.nsmallest(_FIRST, names), inner, with_stat=with_stat)
        names.sort()
        for start in range(_FIRST, len(names), _AT_A_TIME):
            yield from self._made(folder, names[start : start + _AT_A_TIME], inner, with_stat=with_stat)

    def matching(self, prefix: str, pattern: KeyPattern) -> Iterator[FolderItem]:
        """The documents and folders below a folder that fit a pattern; no folder is entered in which none can.

        Args:
            prefix: The folder's key, or empty text.
            pattern: What they must fit.

        Raises:
            OSError: A folder cannot be listed.
        """
        waiting = [(prefix, pattern.start)]
        while waiting:
            folder, position = waiting.pop()
            way = pattern.way(position)
            if way is not None and way[0].isascii():  # of other names a file system may find another spelling
                for item in self._at(folder, way[0]):
                    if not way[1]:
                        yield item
                    elif item.kind == "folder":
                        waiting.append((item.key, way[1]))
                continue
            entries = self._entries(folder)
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            fitting = frozenset(pattern.select(position, names))
            for key in self._keys(folder, [name for name in names if name in fitting]):
                yield FolderItem(key, "folder")
            reached = {name: pattern.below(position, name) for name in names}
            above = len(folder) + 1 if folder else 0
            entered = self._keys(folder, [name for name in names if reached[name]])
            waiting += [(key, reached[key[above:]]) for key in entered]
            fitting = frozenset(pattern.select(position, [entry.name for entry in entries]))
            if fitting:
                files = [entry.name for entry in entries if entry.name in fitting and _is_file(entry)]
                for key in self._keys(folder, files):
                    yield FolderItem(key)

    def _keys(self, folder: str, names: Sequence[str]) -> list[str]:
        return keys_in(folder, not_ignored(names, self._ignores))

    def _entries(self, folder: str) -> Sequence[Entry]:
        """All that is in a folder; nothing for one that is not there."""
        try:
            return entries_of(self._base + folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            return []

    def _names(self, folder: str) -> tuple[list[str], list[str]]:
        """The files and the folders."""
        found = self._entries(folder)
        try:
            files = [entry.name for entry in found if entry.is_file()]
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            files = [entry.name for entry in found if _is_file(entry)]
        if len(files) == len(found):
            return files, []
        return files, [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]

    def _at(self, folder: str, way: str) -> Iterator[FolderItem]:
        """What stands at the end of a way from a folder: it need not be listed, though it may have 20,000 pictures."""
        key = f"{folder}/{way}" if folder else way
        path = self._base + key
        mode = _mode_of(path)
        if mode is None:
            self._ensure_root()
            return
        is_folder = stat.S_ISDIR(mode)
        if not is_folder and not stat.S_ISREG(mode) and not (stat.S_ISLNK(mode) and stat.S_ISREG(mode_at(path))):
            return
        names = way.split("/")
        if len(not_ignored(names, self._ignores)) < len(names) or not self._is_spelt(folder, way, key):
            return
        for count in range(1, len(names)):  # no folder on the way is entered over a link
            above = self._base + key[: len(key) - len(way)] + "/".join(names[:count])
            if stat.S_ISLNK(mode_at(above, follow_symlinks=False)):
                return
        if _is_way(way) and (len(key) < _SHORT or is_key(key)):
            yield FolderItem(key, "folder") if is_folder else FolderItem(key)

    def _is_spelt(self, folder: str, way: str, key: str) -> bool:
        """Whether names that were found are spelt in this way, and the file system does not only ignore case."""
        swapped = way.swapcase()
        if swapped == way:
            return True
        try:
            os.lstat(
                self._base + f"{key[: -len(way)]}{swapped}"
            )  # a mount may number one file differently under both spellings
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            return True
        for name in way.split("/"):
            if name not in os.listdir(self._base + folder):
                return False
            folder = f"{folder}/{name}" if folder else name
        return True

    def _made(
        self, folder: str, names: list[str], folders: frozenset[str], *, with_stat: bool
    ) -> Iterator[FolderItem] | list[FolderItem]:
        keys = self._keys(folder, names)
        if with_stat:
            return self._looked_at(folder, keys, folders)
        if not folders:
            return [*map(FolderItem, keys)]
        start = len(folder) + 1 if folder else 0
        return [FolderItem(key, "folder") if key[start:] in folders else FolderItem(key) for key in keys]

    def _looked_at(self, folder: str, keys: list[str], folders: frozenset[str]) -> Iterator[FolderItem]:
        start = len(folder) + 1 if folder else 0
        for key in keys:
            if key[start:] in folders:
                yield FolderItem(key, "folder")
                continue
            try:
                status = os.stat(self._base + key)
            except (FileNotFoundError, NotADirectoryError) as error:
                if came_from_signal_handler(error):
                    raise
                continue  # it went since it was listed
            if stat.S_ISREG(status.st_mode):
                yield FolderItem(key, "document", status.st_size, status.st_mtime)


@lru_cache(maxsize=64)
def _is_way(way: str) -> bool:
    return is_key(way)


def _is_file(entry: Entry) -> bool:
    try:
        return entry.is_file()
    except OSError as error:  # a link that leads to itself, or where this account may not look
        if came_from_signal_handler(error):
            raise
        return False


def _mode_of(path: str) -> int | None:
    try:
        return calls.lstat(path).st_mode
    except OSError as error:
        if error.errno not in NOTHING_THERE or came_from_signal_handler(error):
            raise
        return None
