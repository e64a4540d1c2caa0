"""The documents and folders in a directory and below it, without lock files, temporary files and ignored names.

Links to directories are not followed, as they may form a circle; a link to a file is a document.
"""

from __future__ import annotations

import heapq
import os
import stat
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

from exlab_store import FolderItem, came_from_signal_handler, keys_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exlab_store import KeyPattern

__all__ = ["Lister"]

# To sort 20,000 names takes 4 ms, to find the smallest of them 0.4: the first entries need not wait for the sort.
_FIRST: Final = 64
_AT_A_TIME: Final = 1024


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
            names = pattern.names(position)
            files, folders = self._names(folder) if names is None else self._named(folder, names)
            for key in self._keys(folder, pattern.select(position, files)):
                yield FolderItem(key)
            for key in self._keys(folder, pattern.select(position, folders)):
                yield FolderItem(key, "folder")
            inner = [(name, pattern.below(position, name)) for name in folders]
            for name, reached in inner:
                if reached:
                    waiting += [(key, reached) for key in self._keys(folder, [name])]

    def _keys(self, folder: str, names: Sequence[str]) -> list[str]:
        return keys_in(folder, [*filterfalse(self._ignores, names)])

    def _names(self, folder: str) -> tuple[list[str], list[str]]:
        """The files and the folders; none of a folder that is not there."""
        try:
            with os.scandir(self._base + folder) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            return [], []
        try:
            files = [entry.name for entry in found if entry.is_file()]
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            files = [entry.name for entry in found if _is_file(entry)]
        if len(files) == len(found):
            return files, []
        return files, [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]

    def _named(self, folder: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """As `_names`, of these names alone: a folder of 20,000 pictures need not be listed for one document."""
        if not all(map(str.isascii, names)):  # a file system may find another spelling of it
            listed, below = self._names(folder)
            return [name for name in names if name in listed], [name for name in names if name in below]
        files: list[str] = []
        folders: list[str] = []
        for name in names:
            path = f"{self._base}{folder}/{name}" if folder else self._base + name
            mode = _mode_of(path)
            if mode is None or not self._is_spelt(folder, name, path):
                continue
            if stat.S_ISDIR(mode):
                folders.append(name)
            elif stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and os.path.isfile(path)):
                files.append(name)
        if not files and not folders:
            self._ensure_root()
        return files, folders

    def _is_spelt(self, folder: str, name: str, path: str) -> bool:
        """Whether a name that was found is spelt in this way, and the file system does not only ignore case."""
        swapped = name.swapcase()
        if swapped == name:
            return True
        other = f"{path[: -len(name)]}{swapped}"
        try:
            if not os.path.samestat(os.lstat(path), os.lstat(other)):
                return True
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            return True
        return name in os.listdir(self._base + folder)

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


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:  # a link that leads to itself, or where this account may not look
        if came_from_signal_handler(error):
            raise
        return False


def _mode_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if came_from_signal_handler(error):
            raise
        return None
