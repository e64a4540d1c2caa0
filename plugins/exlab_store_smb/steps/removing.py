"""A folder removed, with the lock files and temporary files in it.

A lock file is opened so that nobody else may have it open, neither a holder nor anybody who waits. Byte 0 is locked, as
a program on the server may hold it. Only then the file is removed. Whoever opens it next makes a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exlab_store import DocumentNotFound, FolderNotEmpty, InvalidKey, LockTimeout
from exlab_store.backend import removal_order
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.steps.listing import ListingBudget
from exlab_store_smb.steps.walking import NoFurther, walk
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import DIRECTORY_NOT_EMPTY, LOCKED, MISSING, SHARING_VIOLATION, translated

if TYPE_CHECKING:
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.steps.folders import ShareFolders
    from exlab_store_smb.steps.lock_requests import Locks
    from exlab_store_smb.steps.looking import Looker
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["FolderRemover"]

_LOCK: Final = ".lock"
_REMOVE: Final = "remove the folder"
# A release is on its way for a moment, and a reader of the record has the file open for one.
_PATIENCE: Final = 0.25


class FolderRemover:
    """Removes folders of one store.

    Args:
        share: The store's folder.
        looker: Of the store.
        locks: Of the store.
        folders: Of the store.
    """

    def __init__(self, share: Share, looker: Looker, locks: Locks, folders: ShareFolders) -> None:
        self._share = share
        self._looker = looker
        self._locks = locks
        self._folders = folders

    def remove(self, link: Link, key: str, deadline: Deadline) -> None:
        """Removes a folder.

        Args:
            link: The connection.
            key: The folder's key.
            deadline: Until when.

        Raises:
            DocumentNotFound: There is no such folder.
            FolderNotEmpty: There is something in it that does not go along.
            LockTimeout: A lock in it is held.
            InvalidKey: It is a document.
            WriteOutcomeUnknown: It is removed, and the folder above could not be flushed.
            StoreError: The server refuses.
            LinkLost: The connection has ended.
        """
        if self._looker.stat(link, key, deadline).kind != "folder":
            raise InvalidKey("the key names a document, not a folder", hint="Delete the document.")
        for name in self._names(link, key, deadline):
            if name.endswith(_LOCK):
                self._remove_lock_file(link, f"{key}/{name}", deadline)
            else:
                self._discard(link, f"{key}/{name}", deadline)
        opening = messages.open_directory_to_remove(self._share.document_path(link, key).path)
        compound = [opening, messages.remove(), messages.close()]
        opened, removed, closed = link.run(compound, deadline.half())
        backoff = Backoff(deadline)
        while not opened.ok and backoff.asks_again(opened.status):
            opened, removed, closed = link.run(compound, deadline.half())
        if DIRECTORY_NOT_EMPTY in {opened.status, removed.status}:
            raise FolderNotEmpty("somebody has made something in the folder meanwhile")
        for reply in (opened, removed, closed):
            if not reply.ok and reply.status not in MISSING:
                raise translated(reply.status, _REMOVE)
        self._folders.note_removed(link, key, deadline)

    def _names(self, link: Link, key: str, deadline: Deadline) -> list[str]:
        """See `removal_order`."""
        try:
            found = list(walk(link, self._share.root, key, ListingBudget(deadline), lambda _: False, NoFurther()))
        except FileNotFoundError as error:
            raise DocumentNotFound("there is no such folder") from error
        return removal_order({entry.name: entry.kind == "file" for _, entries in found for entry in entries})

    def _discard(self, link: Link, name: str, deadline: Deadline) -> None:
        path = self._share.document_path(link, name).path
        opened, closed = link.run([messages.open_to_discard(path), messages.close()], deadline.half())
        if opened.status == SHARING_VIOLATION:
            raise FolderNotEmpty("a program has a file in the folder open", left=[name.rpartition("/")[2]])
        if opened.status not in MISSING and not (opened.ok and closed.ok):
            raise translated(closed.status if opened.ok else opened.status, _REMOVE)

    def _remove_lock_file(self, link: Link, name: str, deadline: Deadline) -> None:
        lock_file = self._share.document_path(link, name)
        compound = [messages.open_lock_file_to_remove(lock_file.path), messages.lock_byte_0(wait=False)]
        opened, locked = link.run(compound, deadline.half())
        backoff = Backoff(deadline.within(_PATIENCE))
        while not opened.ok and backoff.asks_again(opened.status):
            opened, locked = link.run(compound, deadline.half())
        if opened.status in MISSING:
            return
        if opened.status == SHARING_VIOLATION:
            raise LockTimeout("the lock is held, or waited for", holder=self._locks.holder(link, lock_file, deadline))
        if not opened.ok:
            raise translated(opened.status, _REMOVE)
        file_id = messages.file_id_of(opened)
        if not locked.ok:
            link.run([messages.close(file_id)], deadline.half())
            if locked.status in LOCKED:
                holder = self._locks.holder(link, lock_file, deadline.half())
                raise LockTimeout("the lock is held by a program on the server", holder=holder)
            raise translated(locked.status, _REMOVE)
        removed, closed = link.run([messages.remove(file_id), messages.close(file_id)], deadline.half())
        if not removed.ok or not closed.ok:
            raise translated(closed.status if removed.ok else removed.status, _REMOVE)
