"""The folder in which is measured: its name is nobody else's, and it is gone afterwards."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.benching.bare import AVAILABLE, BareFiles
from exlab_store.doctor.bypass import NO_FOLDER, find_bypass
from exlab_store.errors import BackendUnavailable, DocumentNotFound, StoreError
from exlab_store.hidden_location import is_name
from exlab_store.opening.configuration import named_store
from exlab_store.opening.stores import open_store
from exlab_store.signal_handlers import mode_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, Self

    from exlab_store.store import Store

__all__ = ["PREFIX", "SIZES", "Folder"]

PREFIX = "exlab-store-bench-"
"""How its name begins."""

SIZES = (2048, 65536, 1048576)
"""Bytes of the documents that are written."""

_DOCUMENTS = (*(f"{size}.json" for size in SIZES), "update.json")


class Folder:
    """A folder of a store that is open as long as the context.

    Args:
        location: As `open_store` takes it.
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self.location = location
        self.store: Store = open_store(location)
        self._name = f"{PREFIX}{secrets.token_hex(8)}"
        self._options: Mapping[str, Any] = {}
        self._filled = False
        try:
            if is_name(location):
                self._options = named_store(os.fspath(location))[0].options
        except BaseException:
            self.store.close()
            raise
        self.remains: str | None = None

    @property
    def place(self) -> str:
        """Where it is made: the store's location, without secrets."""
        return str(self.store.location)

    def key(self, name: str) -> str:
        """The key of a document in it.

        Args:
            name: The document's.
        """
        return f"{self._name}/{name}"

    def fill(self) -> None:
        """Makes it, with a document of each size.

        Raises:
            StoreError: The place cannot be written.
        """
        for size in SIZES:
            self.store.atomic_write(self.key(f"{size}.json"), bytes(size))
            self._filled = True

    def bare(self) -> BareFiles | None:
        """A directory beside the documents for what is done by hand, or None where the place is no directory."""
        path = self._path()
        if path is None or not AVAILABLE:
            return None
        directory = os.path.join(path, "bare")
        os.makedirs(directory, exist_ok=True)
        return BareFiles(directory)

    def bare_lock_path(self) -> str:
        """The path of a file for the bare lock; empty text where the place is no directory."""
        path = self._path()
        return "" if path is None or not AVAILABLE else os.path.join(path, "contended.bare")

    def remove(self) -> None:
        """Removes the folder; what stays is in ``remains`` afterwards: that is no reason to lose what was measured."""
        if not self.store.guarantees.deletes:
            self.remains = f"the folder {self._shown} stays, as the backend does not delete"
            return
        try:
            self._remove_documents()
            refused = None
        except StoreError as error:
            refused = error
        if isinstance(refused, BackendUnavailable):  # and would be so once more, after the same time
            self.remains = f"the folder {self._shown} may stay: {refused.message}"
        else:
            self.remains = self._remove_files(refused)

    def _remove_documents(self) -> None:
        store = self.store
        keys = store.list_keys(self._name) if store.guarantees.lists else [self.key(name) for name in _DOCUMENTS]
        for key in keys:
            with suppress(DocumentNotFound):
                store.delete(key)

    def _remove_files(self, refused: StoreError | None) -> str | None:
        """Removes lock files and the folder itself, which a store leaves in place, past the store."""
        location = self.store.location
        if location is None or self.store.guarantees.lock_scope == "process":
            # In memory: there are no files.
            return None if refused is None else f"documents stay in the folder {self._shown}: {refused.message}"
        way = find_bypass(location, self._options, self._name)
        if way == NO_FOLDER:
            return None
        if isinstance(way, str):
            what = "lock files may" if refused is None else "documents"
            return f"{what} stay in the folder {self._shown}: {way if refused is None else refused.message}"
        why = ""
        try:
            way.remove(self._name)
            if not way.exists(self._name):
                return None
        except Exception as error:  # of any kind: each filesystem has its own; the text may show what it was given
            why = f" ({type(error).__name__})"
        if refused is not None:
            why = f": {refused.message}"
        return f"the folder {self._shown} stays, as something in it cannot be removed{why}"

    @property
    def _shown(self) -> str:
        return f"{self.place.removesuffix('/')}/{self._name}"

    def _path(self) -> str | None:
        location = self.store.location
        if location is None or location.scheme != "file":
            return None
        path = os.path.join(location.local_path, self._name)
        return path if stat.S_ISDIR(mode_at(path)) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.remove()
            if isinstance(exc, StoreError) and not self._filled:
                self.remains = None  # a place that could not be used: there is nothing
        except BaseException:
            self.remains = f"the folder {self._shown} stays, as its removal was interrupted"
            raise
        finally:
            self.store.close()
