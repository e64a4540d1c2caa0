"""The documents and folders in a folder and below it, without lock files, temporary files and ignored names.

Links to folders are not followed, as they may form a circle; a link to a file is a document.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncssh

from exlab_store import FolderItem, keys_in
from exlab_store.backend import not_ignored
from exlab_store_sftp.protocol import FOLDER, LINK, REGULAR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from exlab_store import KeyPattern

__all__ = ["FolderLister", "ListedEntry"]

_AT_ONCE: Final = 8  # folders, each with one request after the other


class ListedEntry(NamedTuple):
    """What is in a folder.

    Attributes:
        name: Its name.
        kind: ``file`` also for a link to one; ``folder``; ``other``.
        size: Bytes.
        modified: Seconds since 1970 by the server's clock.
        is_link: It is a symbolic link.
    """

    name: str
    kind: str
    size: int
    modified: float | None
    is_link: bool = False


class FolderLister:
    """The folders of one store, over one SFTP session.

    Args:
        files: The session.
        base: The store's folder, with a slash at its end.
        ignores: Tells which names are ignored.
    """

    def __init__(self, files: asyncssh.SFTPClient, base: str, ignores: Callable[[str], bool]) -> None:
        self._files = files
        self._base = base
        self._ignores = ignores

    async def entries(self, folder: str) -> list[ListedEntry]:
        """All that is in a folder.

        Args:
            folder: Its key, or empty text.

        Raises:
            asyncssh.Error: As the server says.
        """
        path = (self._base + folder).rstrip("/") or "/"
        found = await self._files.readdir(path)
        entries = [_entry(str(each.filename), each.attrs) for each in found]
        entries = [entry for entry in entries if entry.name not in {"", ".", ".."} and "/" not in entry.name]
        links = [entry for entry in entries if entry.is_link]
        if not links:
            return entries
        above = path.rstrip("/")
        behind = await asyncio.gather(
            *(self._files.stat(f"{above}/{entry.name}") for entry in links), return_exceptions=True
        )
        for entry, attributes in zip(links, behind, strict=True):
            if isinstance(attributes, asyncssh.SFTPAttrs) and attributes.type == REGULAR:
                file = _entry(entry.name, attributes)._replace(is_link=True)
                entries[entries.index(entry)] = file
        return entries

    async def walk(
        self, prefix: str, entered: Callable[[str, list[str]], Iterable[str]] | None = None
    ) -> AsyncIterator[tuple[str, list[ListedEntry]]]:
        """A folder and those below it, each with what is in it; ignored names are left out.

        Args:
            prefix: The folder's key, or empty text.
            entered: Of the folders in a folder, those that are entered; None for all.

        Raises:
            asyncssh.Error: As the server says. A folder that has gone meanwhile is left out, but for the first.
        """
        waiting = [prefix]
        while waiting:
            some, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            answers = await asyncio.gather(*map(self.entries, some), return_exceptions=True)
            for folder, answer in zip(some, answers, strict=True):
                if isinstance(answer, BaseException):
                    if folder != prefix and isinstance(answer, (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)):
                        continue
                    raise answer
                wanted = set(not_ignored([entry.name for entry in answer], self._ignores))
                entries = [entry for entry in answer if entry.name in wanted]
                yield folder, entries
                names = [entry.name for entry in entries if entry.kind == "folder"]
                waiting += keys_in(folder, names if entered is None else list(entered(folder, names)))

    async def keys(self, prefix: str) -> list[str]:
        """The documents below a folder, at any depth.

        Args:
            prefix: The folder's key, or empty text.
        """
        keys: list[str] = []
        async for folder, entries in self.walk(prefix):
            keys += keys_in(folder, [entry.name for entry in entries if entry.kind == "file"])
        return keys

    async def items(self, folder: str) -> list[FolderItem]:
        """The documents and folders directly in a folder, in the order of their names.

        Args:
            folder: The folder's key, or empty text.
        """
        entries = await self.entries(folder)
        named = {entry.name: entry for entry in entries if entry.kind != "other"}
        above = len(folder) + 1 if folder else 0
        items: list[FolderItem] = []
        for key in keys_in(folder, sorted(not_ignored([*named], self._ignores))):
            entry = named[key[above:]]
            if entry.kind == "folder":
                items.append(FolderItem(key, "folder"))
            else:
                items.append(FolderItem(key, "document", entry.size, entry.modified))
        return items

    async def matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """The documents and folders below a folder that fit a pattern; no folder is entered in which none can.

        Args:
            prefix: The folder's key, or empty text.
            pattern: What they must fit.
        """
        positions = {prefix: pattern.start}

        def entered(folder: str, names: list[str]) -> list[str]:
            reached = {name: pattern.below(positions[folder], name) for name in names}
            inner = [name for name in names if reached[name]]
            positions.update({f"{folder}/{name}" if folder else name: reached[name] for name in inner})
            return inner

        found: list[FolderItem] = []
        async for folder, entries in self.walk(prefix, entered):
            position = positions[folder]
            files = pattern.select(position, [entry.name for entry in entries if entry.kind == "file"])
            folders = pattern.select(position, [entry.name for entry in entries if entry.kind == "folder"])
            found += [FolderItem(key) for key in keys_in(folder, files)]
            found += [FolderItem(key, "folder") for key in keys_in(folder, folders)]
        return found


def _entry(name: str, attributes: asyncssh.SFTPAttrs) -> ListedEntry:
    kinds = {REGULAR: "file", FOLDER: "folder"}
    modified = None if attributes.mtime is None else float(attributes.mtime)
    return ListedEntry(
        name,
        kinds.get(attributes.type, "other"),
        attributes.size or 0,
        modified,
        attributes.type == LINK,
    )
