"""All folders below one, several of them asked for at a time."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from smbprotocol.exceptions import SMBOSError

from exlab_store import keys_in
from exlab_store_smb.steps.listing import OpenFolder
from exlab_store_smb.wire.statuses import MISSING, NOT_A_DIRECTORY, PATH_NOT_COVERED, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.listing import FolderEntry, ListingBudget

__all__ = ["NoFurther", "Route", "walk"]

_log = logging.getLogger("exlab_store_smb")

# One after the other, 1,000 folders at 10 ms take longer than the 30 s that an operation has.
_AT_A_TIME: Final = 16


class Route:
    """The folders that a walk enters: all."""

    def names(self, folder: str) -> str:  # noqa: ARG002
        """Which names are asked for in a folder, with ``*`` for any part.

        Args:
            folder: Its key.
        """
        return "*"

    def entered(self, folder: str, names: list[str]) -> list[str]:  # noqa: ARG002
        """Which folders are entered.

        Args:
            folder: The key of the folder that they are in.
            names: The names of these folders.
        """
        return names


class NoFurther(Route):
    """The way to one folder alone."""

    def entered(self, folder: str, names: list[str]) -> list[str]:  # noqa: ARG002
        """None of them."""
        return []


def walk(
    link: Link,
    root: str,
    folder: str,
    listing: ListingBudget,
    ignores: Callable[[str], bool],
    route: Route | None = None,
) -> Iterator[tuple[str, list[FolderEntry]]]:
    """Lists a folder and those below it, at any depth. Links are not followed, as they may form a circle.

    Args:
        link: The connection.
        root: The store's folder below the share, ``/``-separated.
        folder: The folder's key, or empty text for the root.
        listing: What all of it may take.
        ignores: Tells which names are left out; such folders are not entered.
        route: Which folders are entered, and what is asked for in each; all, and everything, without it.

    Returns:
        The keys of folders, with the entries of each; a folder that is removed meanwhile is left out.

    Raises:
        FileNotFoundError: There is no such folder.
        AccessDenied: A folder may not be listed.
        BackendUnavailable: It takes too long, or does not come to an end; or the server fails.
        LinkLost: The connection has ended.
    """
    route = route or Route()
    waiting, under_way = deque([folder]), deque[tuple[str, OpenFolder]]()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < _AT_A_TIME:
                name = waiting.popleft()
                under_way.append((name, OpenFolder(link, link.path(root, name), listing, route.names(name))))
            name, opened = under_way.popleft()
            try:
                entries = [entry for entry in opened.entries() if not ignores(entry.name)]
            except SMBOSError as error:
                if error.ntstatus == PATH_NOT_COVERED and name != folder:
                    _log.warning("%s is a link of a DFS namespace, and is left out of the list", name)
                    continue
                if error.ntstatus not in MISSING and error.ntstatus != NOT_A_DIRECTORY:
                    refused = translated(error.ntstatus, "list the folder")
                    refused.key = name or None  # one among thousands is hard to find
                    raise refused from error
                if name == folder:
                    raise FileNotFoundError(name) from error
                continue
            listing.take(len(name) * len(entries))
            inner = route.entered(name, [entry.name for entry in entries if entry.kind == "directory"])
            waiting += keys_in(name, inner)
            yield name, entries
    finally:
        for _, opened in under_way:
            opened.abandon()
