"""Looks at documents and folders without reading them: one by its name, those of a folder, those that fit a pattern."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from exlab_store import DocumentNotFound, FolderItem, Stat, keys_in
from exlab_store_smb.session.share import root_is_gone
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.steps.listing import ListingBudget
from exlab_store_smb.steps.reading import LOOKS
from exlab_store_smb.steps.walking import NoFurther, Route, walk
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.filetimes import seconds_since_1970
from exlab_store_smb.wire.statuses import MISSING, NAME_MISSING, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store import KeyPattern
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.steps.listing import FolderEntry
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["Looker", "entries_of"]

_AT_A_TIME: Final = 1024

# What a server may read otherwise than the pattern: its own signs, spellings of a letter beyond ASCII, and characters
# that it counts as two.
_LEFT_TO_US: Final = re.compile(r"\[!?\]?[^\]]*\]|[^ -~]|[?\[\]<>\"*]")


class Looker:
    """Looks into one store.

    Args:
        share: The store's folder.
        ignores: Tells which names are ignored.
    """

    def __init__(self, share: Share, ignores: Callable[[str], bool]) -> None:
        self._share = share
        self._ignores = ignores

    def stat(self, link: Link, key: str, deadline: Deadline) -> Stat:
        """One compound of CREATE and CLOSE, for which a reader's right is not needed.

        Args:
            link: The connection.
            key: The document's or folder's key.
            deadline: Until when.

        Raises:
            DocumentNotFound: There is none.
            StoreError: The server refuses, or the store's folder is gone.
            LinkLost: The connection has ended.
        """
        path = self._share.document_path(link, key).path
        opened, _ = link.run([messages.open_to_ask(path), messages.close()], deadline.half())
        backoff = Backoff(deadline)
        while not opened.ok and backoff.asks_again(opened.status):
            opened, _ = link.run([messages.open_to_ask(path), messages.close()], deadline.half())
        if opened.status == NAME_MISSING:  # Samba overlooks one that is just being replaced
            looks = link.run_all(
                [[messages.open_to_ask(path), messages.close()] for _ in range(LOOKS)], deadline.half()
            )
            opened = next((look[0] for look in looks if look[0].ok), opened)
        if opened.status in MISSING:
            self._share.ensure_only_missing(link, opened, deadline)
            raise DocumentNotFound("there is no such document")
        if not opened.ok:
            raise translated(opened.status, "look at the document")
        modified = seconds_since_1970(messages.written_at(opened))
        if messages.is_directory(opened):
            return Stat(0, modified, kind="folder")
        return Stat(messages.size_of(opened), modified)

    def entries(self, link: Link, folder: str, deadline: Deadline) -> list[FolderEntry]:
        """What is directly in a folder, in the order of the names; documents and folders only.

        Args:
            link: The connection.
            folder: The folder's key, or empty text.
            deadline: Until when.

        Raises:
            StoreError: As `walk` does.
            LinkLost: The connection has ended.
        """
        found = [entry for _, entries in self._walk(link, folder, deadline, NoFurther()) for entry in entries]
        return sorted((entry for entry in found if entry.kind != "link"), key=attrgetter("name"))

    def matching(self, link: Link, prefix: str, pattern: KeyPattern, deadline: Deadline) -> list[FolderItem]:
        """The documents and folders below a folder that fit a pattern; the server leaves out what it can.

        Args:
            link: The connection.
            prefix: The folder's key, or empty text.
            pattern: What they must fit.
            deadline: Until when.

        Raises:
            StoreError: As `walk` does.
            LinkLost: The connection has ended.
        """
        route = _PatternRoute(prefix, pattern)
        found: list[FolderItem] = []
        for folder, entries in self._walk(link, prefix, deadline, route):
            files = route.fitting(folder, [entry.name for entry in entries if entry.kind == "file"])
            folders = route.fitting(folder, [entry.name for entry in entries if entry.kind == "directory"])
            found += [FolderItem(key) for key in keys_in(folder, files)]
            found += [FolderItem(key, "folder") for key in keys_in(folder, folders)]
        return found

    def _walk(
        self, link: Link, folder: str, deadline: Deadline, route: Route
    ) -> Iterator[tuple[str, list[FolderEntry]]]:
        share = self._share
        try:
            yield from walk(link, share.root, folder, ListingBudget(deadline), self._ignores, route)
        except FileNotFoundError as error:
            if not folder and not share.create:
                raise root_is_gone() from error
            share.ensure_there(link, deadline)


def entries_of(folder: str, found: list[FolderEntry]) -> Iterator[FolderItem]:
    """What the core is told of entries; names that are no keys are left out.

    Args:
        folder: The key of the folder that they are in, or empty text.
        found: The entries, in the order of their names.
    """
    above = len(folder) + 1 if folder else 0
    for start in range(0, len(found), _AT_A_TIME):
        named = {entry.name: entry for entry in found[start : start + _AT_A_TIME]}
        for key in keys_in(folder, [*named]):
            entry = named[key[above:]]
            if entry.kind == "directory":
                yield FolderItem(key, "folder")
            else:
                yield FolderItem(key, "document", entry.size, entry.modified)


class _PatternRoute(Route):
    """The folders in which something may fit a pattern, and the names that are asked for in each."""

    def __init__(self, prefix: str, pattern: KeyPattern) -> None:
        self._pattern = pattern
        self._positions = {prefix: pattern.start}

    def names(self, folder: str) -> str:
        """The one pattern of the folder, with ``*`` for whatever a server may read otherwise."""
        segments = self._pattern.segments(self._positions[folder])
        if segments is None or len(segments) != 1:
            return "*"
        return re.sub(r"\*+", "*", _LEFT_TO_US.sub("*", segments[0]))

    def entered(self, folder: str, names: list[str]) -> list[str]:
        """Those in which something may fit."""
        above = f"{folder}/" if folder else ""
        position = self._positions[folder]
        reached = {name: self._pattern.below(position, name) for name in names}
        inner = [name for name in names if reached[name]]
        self._positions.update({above + name: reached[name] for name in inner})
        return inner

    def fitting(self, folder: str, names: list[str]) -> list[str]:
        """Those that fit themselves."""
        return self._pattern.select(self._positions[folder], names)
