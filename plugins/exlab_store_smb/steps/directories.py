"""The folders of a store on its share: made when missing, and durable before a document in them is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exlab_store import BackendUnavailable, InvalidKey
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import ACCESS_DENIED, MISSING, PATH_MISSING, not_created, translated

if TYPE_CHECKING:
    from exlab_store import StoreError
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["Directories"]


class Directories:
    """The folders below a store's root.

    A folder's own name has to be durable before what is in it can be. Its maker may be another client that has not
    flushed it yet, so the first write into a folder flushes the ones above it too, in the same round trip.

    Args:
        root: The store's folder below the share, ``/``-separated; empty text for the share itself.
        create: The root may be missing; then it is made.
        flush: The server flushes directories.
    """

    def __init__(self, root: str, *, create: bool, flush: bool) -> None:
        self._root = root
        self._create = create
        self._flush = flush
        self._durable: set[str] = {""}

    def start_settling(self, link: Link, folder: str, deadline: Deadline) -> list[list[Any]]:
        """Asks for the folders above one to be flushed, where this client has not done so yet.

        Args:
            link: The connection.
            folder: The folder of a document, ``/``-separated below the root; empty text for the root.
            deadline: Until when to wait for credits.

        Returns:
            What to give to `settle`.
        """
        if not self._flush or folder in self._durable:
            return []
        requests: list[list[Any]] = []
        for parent in _parents(folder):
            compound = [messages.open_parent(link.path(self._root, parent)), messages.flush(), messages.close()]
            requests.append(link.start(compound, deadline))
        return requests

    def settle(self, link: Link, folder: str, requests: list[list[Any]], deadline: Deadline) -> Reply | None:
        """Waits for the folders to be flushed.

        A folder in which this user may not write was not made by it, and stays as it is.

        Args:
            link: The connection.
            folder: As for `start_settling`.
            requests: What that has returned.
            deadline: Until when.

        Returns:
            The server's answer when it cannot flush one; otherwise None.
        """
        failed: Reply | None = None
        patience = deadline.half()
        for request in requests:
            opened, flushed, _ = [link.wait(part, patience) for part in request]
            # One that is missing is made later, and then flushed.
            if not flushed.ok and opened.status != ACCESS_DENIED and opened.status not in MISSING:
                failed = flushed
        if failed is None:
            self._durable.add(folder)
        return failed

    def make(self, link: Link, folder: str, deadline: Deadline) -> None:
        """Makes a folder and those above it that are missing, and flushes them.

        Args:
            link: The connection.
            folder: ``/``-separated below the root; empty text for the root.
            deadline: Until when.

        Raises:
            InvalidKey: A document stands where a folder should be.
            BackendUnavailable: The root is gone, or the server fails.
            AccessDenied: This user may not make a folder here.
        """
        self._durable = {""}  # something was removed, or is there for the first time
        levels = [*_levels(self._root)] if self._create else []
        levels += [f"{self._root}/{level}" for level in _levels(folder)]
        if not levels:
            raise _root_is_gone()
        for level in levels:
            deadline.ensure_left("make the folder")
            made = link.run([messages.make_directory(link.path(level)), messages.close()], deadline.half())[0]
            if made.status in PATH_MISSING:
                raise self._impossible(link, deadline)
            if not made.ok:
                raise not_created(made.status, "make the folder")
            if self._flush:
                self._flush_parent(link, level, deadline)

    def _impossible(self, link: Link, deadline: Deadline) -> StoreError:
        """Why a folder cannot be made although those above it were."""
        root, _ = link.run([messages.open_to_ask(link.path(self._root)), messages.close()], deadline.half())
        if root.ok:
            return InvalidKey("the server cannot hold a path as long as this", hint="Choose shorter names.")
        return _root_is_gone()

    def _flush_parent(self, link: Link, level: str, deadline: Deadline) -> None:
        parent = level.rpartition("/")[0]
        opened, flushed, _ = link.run(
            [messages.open_parent(link.path(parent)), messages.flush(), messages.close()], deadline.half()
        )
        if not flushed.ok and opened.status != ACCESS_DENIED:
            raise translated(flushed.status, "flush the new folder")


def _root_is_gone() -> BackendUnavailable:
    return BackendUnavailable("the store's folder is gone", hint="Restore it on the share, or find what removed it.")


def _levels(folder: str) -> list[str]:
    """``a/b/c`` as ``a``, ``a/b``, ``a/b/c``."""
    parts = [part for part in folder.split("/") if part]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _parents(folder: str) -> list[str]:
    """The folders above one, up to the root, which is the empty text."""
    return ["", *_levels(folder)[:-1]] if folder else []
