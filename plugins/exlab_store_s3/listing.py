"""Folders, which S3 does not have: a listing shows them where names of objects have a slash in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exlab_store.backend import FolderItem, Leftover, is_key, is_temporary_name, keys_in
from exlab_store_s3.locking import owner_in
from exlab_store_s3.requests import modified_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store_s3.requests import Requests

__all__ = ["BucketListing"]

_ACTION = "list the folder"


class BucketListing:
    """What is below a folder of a bucket.

    Args:
        requests: The bucket.
        folder: Of the store: empty, or ends with ``/``.
        ignores: Tells which names are ignored.
    """

    def __init__(self, requests: Requests, folder: str, ignores: Callable[[str], bool]) -> None:
        self._requests = requests
        self._folder = folder
        self._ignores = ignores

    def keys(self, prefix: str) -> list[str]:
        """The keys of the documents below a folder.

        Args:
            prefix: The folder's key, or empty text.
        """
        by_folder: dict[str, list[str]] = {}
        for key, _ in self._below(prefix):
            folder, _, name = key.rpartition("/")
            by_folder.setdefault(folder, []).append(name)
        return [key for folder, names in by_folder.items() for key in keys_in(folder, names)]

    def items(self, key: str) -> list[FolderItem]:
        """The documents and folders directly in a folder, in the order of their names.

        Args:
            key: The folder's key, or empty text.
        """
        above = f"{key}/" if key else ""
        start = self._folder + above
        deadline = self._requests.deadline()
        client: Any = self._requests.client  # the types of its listings name pyarrow, which is not installed
        try:
            found = client.list_with_delimiter(start or None)
        except Exception as error:
            self._requests.ensure_missing(error, _ACTION)
            return []
        items = [
            FolderItem(above + name, size=meta["size"], modified=modified_of(meta))
            for meta in found["objects"]
            if (name := meta["path"][len(start) :]) and is_key(above + name) and not self._ignores(name)
        ]
        for path in found["common_prefixes"]:
            name = path[len(start) :].strip("/")
            deadline.ensure_room(_ACTION)
            # SeaweedFS shows a folder for a while after its last object has gone.
            if name and is_key(above + name) and not self._ignores(name) and self._requests.has_below(start + name):
                items.append(FolderItem(above + name, "folder"))
        return sorted(items, key=lambda item: item.name)

    def everything_below(self, key: str) -> dict[str, list[str]]:
        """The names of all objects below a folder, lock objects and ignored ones too, by the key of their folder.

        Args:
            key: The folder's key.
        """
        found: dict[str, list[str]] = {}
        for each, _ in self._below(key, lambda _: False):
            folder, _, name = each.rpartition("/")
            found.setdefault(folder, []).append(name)
        return found

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        """Lock objects, and what a proof at opening has left that was killed.

        Args:
            prefix: The folder's key, or empty text.
        """
        deadline = self._requests.deadline()
        for key, meta in self._below(prefix):
            name = key.rpartition("/")[2]
            if name.endswith(".lock"):
                deadline.ensure_room(_ACTION)
                found = self._requests.get(self._folder + key, "look at the lock")
                if found is not None:
                    owner = owner_in(found.data)
                    yield Leftover(
                        name=key,
                        kind="lock",
                        size=len(found.data),
                        modified=modified_of(meta),
                        held=False if owner is None else None,
                        owner=owner,
                    )
            elif is_temporary_name(name):
                yield Leftover(name=key, kind="temporary", size=meta["size"], modified=modified_of(meta))

    def _below(self, prefix: str, ignores: Callable[[str], bool] | None = None) -> Iterator[tuple[str, Any]]:
        """Every object below a folder that no ignored name leads to: its name in the store, and what is known of it."""
        ignores = ignores or self._ignores
        start = self._folder + (f"{prefix}/" if prefix else "")
        deadline = self._requests.deadline()
        for batch in self._batches(start):
            for meta in batch:
                path: str = meta["path"]
                if path.startswith(start) and not any(map(ignores, path[len(start) :].split("/"))):
                    yield path[len(self._folder) :], meta
            deadline.ensure_room(_ACTION)

    def _batches(self, start: str) -> Iterator[list[Any]]:
        client: Any = self._requests.client
        try:
            yield from client.list(start or None, chunk_size=1000)
        except Exception as error:
            self._requests.ensure_missing(error, _ACTION)
