"""The folders of a store on its share: made when missing, and durable before a document in them is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exlab_store import InvalidKey, WriteOutcomeUnknown
from exlab_store_smb.session.share import root_is_gone
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import ACCESS_DENIED, DELETE_PENDING, MISSING, PATH_MISSING, not_created, translated

if TYPE_CHECKING:
    from exlab_store import StoreError, Version
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.room import Room
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply, SmbRequest

__all__ = ["ShareFolders", "not_durable"]


class ShareFolders:
    """The folders below a store's root.

    A folder's own name has to be durable before what is in it can be. Its maker may be another client that has not
    flushed it yet, so the first write into a folder flushes the ones above it too, in the same round trip.

    Args:
        root: The store's folder below the share, ``/``-separated; empty text for the share itself.
        room: What is known about the room on the share.
        create: The root may be missing; then it is made.
        flush: The server flushes directories.
    """

    def __init__(self, root: str, room: Room, *, create: bool, flush: bool) -> None:
        self._room = room
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

    def flushing(self, document: DocumentPath) -> list[SmbRequest]:
        """What flushes a folder, and asks for the room that is left: the end of each compound that changes it.

        Args:
            document: Where the changed document is.
        """
        if not self._flush:
            return []
        return [messages.open_directory(document.directory), messages.flush(), messages.query_room(), messages.close()]

    def ensure_flushed(
        self, link: Link, document: DocumentPath, replies: list[Reply], intended: Version | None, deadline: Deadline
    ) -> None:
        """Checks that a change has become durable; a flush that has failed is repeated once.

        Args:
            link: The connection.
            document: Where the document is.
            replies: The answers to `flushing`.
            intended: The document's new version; None for a deletion.
            deadline: Until when.

        Raises:
            WriteOutcomeUnknown: The folder could not be flushed.
            LinkLost: The connection has ended.
        """
        if not self._flush:
            return
        _, flushed, room, _ = replies
        if room.ok:
            self._room.note(messages.room_of(room))
        if not flushed.ok:
            _, flushed, *_ = link.run(self.flushing(document), deadline.half())
        if not flushed.ok:
            raise not_durable(flushed, intended)

    def confirm(self, link: Link, document: DocumentPath, deadline: Deadline) -> bool:
        """Makes a change durable that turned out to have happened, after the connection was lost.

        Args:
            link: The new connection.
            document: Where the document is, or was.
            deadline: Until when.

        Returns:
            Whether the server has flushed the file, if there is one, and its folder.

        Raises:
            LinkLost: The connection has ended.
        """
        compound = [messages.open_for_flush(document.path), messages.flush(), messages.close()]
        opened, flushed, _ = link.run(compound, deadline.half())
        if not flushed.ok and (opened.status not in MISSING or opened.status == DELETE_PENDING):
            return False
        return not self._flush or link.run(self.flushing(document), deadline.half())[1].ok

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
            raise root_is_gone()
        for level in levels:
            deadline.ensure_left("make the folder")
            made = link.run([messages.make_directory(link.path(level)), messages.close()], deadline.half())[0]
            if made.status in PATH_MISSING:
                raise self._impossible(link, deadline)
            if not made.ok:
                raise not_created(made.status, "make the folder")
            if self._flush:
                self._flush_parent(link, level, deadline)

    def note_removed(self, link: Link, folder: str, deadline: Deadline) -> None:
        """Makes the removal of a folder durable.

        Args:
            link: The connection.
            folder: ``/``-separated below the root.
            deadline: Until when.

        Raises:
            WriteOutcomeUnknown: The folder above could not be flushed.
            LinkLost: The connection has ended.
        """
        self._durable = {""}
        if self._flush:
            above = link.path(self._root, folder.rpartition("/")[0])
            compound = [messages.open_parent(above), messages.flush(), messages.close()]
            opened, flushed, _ = link.run(compound, deadline.half())
            if not flushed.ok and opened.status != ACCESS_DENIED:
                raise not_durable(flushed, None)

    def _impossible(self, link: Link, deadline: Deadline) -> StoreError:
        """Why a folder cannot be made although those above it were."""
        root, _ = link.run([messages.open_to_ask(link.path(self._root)), messages.close()], deadline.half())
        if root.ok:
            return InvalidKey("the server cannot hold a path as long as this", hint="Choose shorter names.")
        return root_is_gone()

    def _flush_parent(self, link: Link, level: str, deadline: Deadline) -> None:
        parent = level.rpartition("/")[0]
        opened, flushed, _ = link.run(
            [messages.open_parent(link.path(parent)), messages.flush(), messages.close()], deadline.half()
        )
        if not flushed.ok and opened.status != ACCESS_DENIED:
            raise translated(flushed.status, "flush the new folder")


def not_durable(failed: Reply, intended: Version | None) -> WriteOutcomeUnknown:
    """The error for a change that is made and that the server has not flushed.

    Args:
        failed: The server's answer to the flush.
        intended: The document's new version; None for a deletion.
    """
    cause = translated(failed.status, "flush the folder")
    return WriteOutcomeUnknown(
        f"the change is visible, and may not survive a power cut: {cause.message}", intended=intended
    )


def _levels(folder: str) -> list[str]:
    """``a/b/c`` as ``a``, ``a/b``, ``a/b/c``."""
    parts = [part for part in folder.split("/") if part]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _parents(folder: str) -> list[str]:
    """The folders above one, up to the root, which is the empty text."""
    return ["", *_levels(folder)[:-1]] if folder else []
