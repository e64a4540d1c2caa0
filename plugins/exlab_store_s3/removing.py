"""The removal of a folder: of the lock objects in it, as a folder itself is nothing.

A lock object is deleted on the condition that it is still the record of a free lock. Whoever has read that record
before cannot swap it any more, and makes a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exlab_store.backend import (
    ANY,
    DocumentNotFound,
    FolderNotEmpty,
    InvalidKey,
    LockTimeout,
    NotSupported,
    VersionConflict,
    removal_order,
    suppress_unless_signalled,
)
from exlab_store_s3.locking import owner_in

if TYPE_CHECKING:
    from exlab_store_s3.deleting import ObjectDeleter
    from exlab_store_s3.listing import BucketListing
    from exlab_store_s3.requests import OperationDeadline, Requests

__all__ = ["LockObjectRemover"]

_LOCK: Final = ".lock"


class LockObjectRemover:
    """Removes what is left of folders.

    Args:
        requests: The bucket.
        listing: Of the store.
        deleter: Of the bucket.
        conditional: Whether the server was shown to keep the condition of a deletion.
    """

    def __init__(
        self, requests: Requests, listing: BucketListing, deleter: ObjectDeleter, *, conditional: bool
    ) -> None:
        self._requests = requests
        self._listing = listing
        self._deleter = deleter
        self._conditional = conditional

    def remove(self, key: str, name: str) -> None:
        """Removes the lock objects and temporary objects below a folder, if there is nothing else.

        Args:
            key: The folder's key.
            name: The folder's name in the bucket.

        Raises:
            NotSupported: The server does not keep the condition of a deletion.
            DocumentNotFound: Nothing is below the key.
            InvalidKey: The key names a document.
            FolderNotEmpty: There is something else in it.
            LockTimeout: A lock in it is held.
        """
        if not self._conditional:
            raise NotSupported(
                "this server deletes whatever the condition is, so that no lock can be removed safely",
                hint="Delete the documents one by one; the lock objects stay.",
            )
        deadline = self._requests.deadline()
        by_folder = self._listing.everything_below(key)
        if not by_folder:
            if self._requests.head(name) is not None:
                raise InvalidKey("the key names a document, not a folder")
            raise DocumentNotFound("there is no such folder")
        going: list[str] = []
        for folder, names in by_folder.items():
            try:
                going += [f"{name}{folder[len(key) :]}/{each}" for each in removal_order(dict.fromkeys(names, True))]
            except FolderNotEmpty as error:
                error.key = folder
                raise
        for each in going:
            with suppress_unless_signalled(DocumentNotFound):  # somebody else has removed it
                self._remove(each, deadline)

    def _remove(self, name: str, deadline: OperationDeadline) -> None:
        deadline.ensure_room("remove the folder")
        if not name.endswith(_LOCK):
            self._deleter.delete(name, ANY, deadline)
            return
        found = self._requests.get(name, "look at the lock")
        if found is None:
            return
        owner = owner_in(found.data)
        if owner is not None:
            raise LockTimeout("a lock in the folder is held", holder=owner)
        try:
            self._deleter.delete(name, found.version, deadline)
        except VersionConflict as error:
            raise LockTimeout("a lock in the folder was just taken") from error
