"""Where the documents of a store are on the server."""

from __future__ import annotations

from typing import NamedTuple

from exlab_store import Location, LocationError, lock_key

__all__ = ["StoreFolder", "folder_of"]


class StoreFolder(NamedTuple):
    """The folder of a store.

    Attributes:
        root: An absolute path, without a slash at its end; ``/`` for the top.
        create: It may be missing; the first write makes it.
    """

    root: str
    create: bool

    @property
    def base(self) -> str:
        """The folder with a slash at its end."""
        return self.root.rstrip("/") + "/"

    def path(self, key: str) -> str:
        """Of a document or a folder."""
        return self.base + key if key else self.root

    def lock_file(self, key: str) -> str:
        """Of a document's lock."""
        return self.base + lock_key(key)

    def folder(self, key: str) -> str:
        """The folder that a document is in."""
        return self.path(key.rpartition("/")[0])

    def above(self, folder: str) -> list[str]:
        """The folders above one, whose names must be durable before what is in it can be; the nearest first.

        Args:
            folder: The store's folder, or one below it.
        """
        found: list[str] = []
        while folder != self.root:
            folder = folder.rpartition("/")[0] or "/"
            found.append(folder)
        while self.create and folder != "/":
            folder = folder.rpartition("/")[0] or "/"
            found.append(folder)
        return found

    def made(self, folder: str) -> list[str]:
        """The folders that may be made for one, from the top.

        Args:
            folder: The store's folder, or one below it.
        """
        chain = [folder, *self.above(folder)]
        return [path for path in reversed(chain) if path != "/" and (self.create or path != self.root)]


def folder_of(location: Location) -> StoreFolder:
    """The folder that a location names.

    Args:
        location: The location.

    Raises:
        LocationError: Its path is not one.
    """
    if {".", ".."} & set(location.path.split("/")):
        raise LocationError("the path has '.' or '..' in it", hint="Write it as it is seen from the server.")
    if any(ord(character) < 32 or ord(character) == 127 for character in location.path):
        raise LocationError("the path has a control character in it", hint="Give another folder.")
    return StoreFolder(location.path or "/", location.create)
