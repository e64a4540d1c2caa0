"""Deletes a folder with all documents in it: each under its lock, and none while a lock below is held."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from exlab_store.errors import DocumentNotFound, LockTimeout, NotSupported, StoreError
from exlab_store.folder_errors import FolderNotEmpty
from exlab_store.keys import is_key, lock_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import FolderItem, HeldLock, Leftover

__all__ = ["DeletableStore", "FolderDeletion"]

_PURPOSE = "deletion of a folder"


class DeletableStore(Protocol):
    """What the deletion of a folder needs of a store."""

    @property
    def guarantees(self) -> Guarantees:
        """As `Store.guarantees`."""
        ...

    def list_keys(self, prefix: str) -> list[str]:
        """As `Store.list_keys`."""
        ...

    def list_matching(self, prefix: str, pattern: str) -> list[FolderItem]:
        """As `Store.list_matching`."""
        ...

    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """As `Store.list_leftovers`."""
        ...

    def lock(self, key: str, *, timeout: float, purpose: str) -> StoreLock:
        """As `Store.lock`."""
        ...

    def delete(self, key: str, *, lock: HeldLock | None) -> None:
        """As `Store.delete`."""
        ...


class FolderDeletion:
    """The deletion of one folder, and how far it has come.

    Args:
        store: The store.
        key: The folder's key.
        remove_folder: The hook of this name.
        cancelled: Asked before each document is deleted; True ends the deletion.
    """

    def __init__(
        self,
        store: DeletableStore,
        key: str,
        remove_folder: Callable[[str], None],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._store = store
        self._cancelled = cancelled
        self._key = key
        self._remove_folder = remove_folder
        self._deleted = 0
        self._left: list[str] = []

    def run(self, *, expect_empty: bool) -> None:
        """Deletes it.

        Args:
            expect_empty: Delete nothing if there is a document below.

        Raises:
            FolderNotEmpty: There is a document, and there was to be none; or something that the store does not delete;
                or it was cancelled.
            LockTimeout: A lock below is held.
            StoreError: As the verbs of a store do; the message says how far the deletion has come.
        """
        try:
            # The backend looks first: a folder that it cannot remove, or that is none, refuses before anything is gone.
            self._remove_folder(self._key)
        except FolderNotEmpty:
            pass
        else:
            return
        self._left = self._store.list_keys(self._key)
        if expect_empty and self._left:
            raise FolderNotEmpty("the folder has documents in it, and nothing was deleted", left=self._left)
        self._ensure_free()
        try:
            self._delete_documents()
            self._remove_folders()
        except StoreError as error:
            error.message = f"{error.message}; {self._progress}"
            raise
        except BaseException as interruption:
            interruption.add_note(f"The folder {self._key!r}: {self._progress}.")
            raise

    def _ensure_free(self) -> None:
        """Refuses while a lock below is held, as far as anybody can tell without taking it."""
        try:
            leftovers = self._store.list_leftovers(self._key)
        except NotSupported:  # then the locks of the documents tell, one by one
            return
        for leftover in leftovers:
            if leftover.kind != "lock" or leftover.held is False:
                continue
            key = leftover.name.removesuffix(".lock")
            if leftover.held:
                raise LockTimeout("the lock is held, and nothing was deleted", holder=leftover.owner, key=key)
            if is_key(key) and lock_key(key) == leftover.name:
                self._store.lock(key, timeout=0, purpose=_PURPOSE).release()

    def _delete_documents(self) -> None:
        claims = self._store.guarantees
        while self._left:
            if self._cancelled is not None and self._cancelled():
                raise FolderNotEmpty("the deletion was cancelled", left=self._left)
            key = self._left[0]
            locking = claims.lock_scope != "none"
            with self._store.lock(key, timeout=0, purpose=_PURPOSE) if locking else nullcontext() as held:
                try:
                    if held is not None and not claims.fenced:
                        held.ensure_held()
                    self._store.delete(key, lock=held if claims.fenced else None)
                except DocumentNotFound:
                    pass  # somebody else has deleted it
                else:
                    self._deleted += 1
            del self._left[0]

    def _remove_folders(self) -> None:
        folders = [item.key for item in self._store.list_matching(self._key, "**") if item.kind == "folder"]
        for folder in [*sorted(folders, reverse=True), self._key]:  # what is below a folder comes before it
            try:
                self._remove_folder(folder)
            except DocumentNotFound:
                continue  # there are no folders but those with documents, or somebody else has removed it
            except StoreError as error:
                raise error.at(folder, None) from error.__cause__

    @property
    def _progress(self) -> str:
        if not self._left:
            return f"all documents ({self._deleted}) are deleted, and folders are left"
        count = f"{self._deleted} documents were deleted" if self._deleted else "nothing was deleted"
        return f"{count} and {len(self._left)} are left, the first of them {self._left[0]!r}"
