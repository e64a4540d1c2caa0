"""The folder in which is measured: its name is nobody else's, and it is gone afterwards."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.benching.bare import AVAILABLE, BareFiles
from exlab_store.configuration import named_store
from exlab_store.doctor.bypass import find_bypass
from exlab_store.errors import DocumentNotFound, StoreError
from exlab_store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, Self

    from exlab_store.store import Store

__all__ = ["Folder"]

_DOCUMENTS = ("2048.json", "65536.json", "1048576.json", "update.json")


class Folder:
    """A folder of a store that is open as long as the context.

    Args:
        location: As `open_store` takes it.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.store: Store = open_store(location)
        self._name = f"exlab-store-bench-{secrets.token_hex(8)}"
        self._options: Mapping[str, Any] = {}
        try:
            if location.startswith("@"):
                self._options = named_store(location)[0].options
        except BaseException:
            self.store.close()
            raise
        self.remains: str | None = None

    @property
    def shown(self) -> str:
        """Its location, without secrets."""
        return f"{str(self.store.location).rstrip('/')}/{self._name}"

    def key(self, name: str) -> str:
        """The key of a document in it.

        Args:
            name: The document's.
        """
        return f"{self._name}/{name}"

    def bare(self) -> BareFiles | None:
        """A directory beside the documents for the bare system calls, or None where the place is no directory."""
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
        """Removes the folder; what stays is in ``remains`` afterwards.

        Raises:
            StoreError: The documents cannot be deleted.
        """
        store = self.store
        if not store.guarantees.deletes:
            self.remains = f"the backend does not delete: the folder {self._name} stays"
            return
        keys = store.list_keys(self._name) if store.guarantees.lists else [self.key(name) for name in _DOCUMENTS]
        for key in keys:
            with suppress(DocumentNotFound):
                store.delete(key)
        self.remains = self._remove_files()

    def _remove_files(self) -> str | None:
        """Removes lock files and the folder itself, which a store leaves in place, past the store."""
        location = self.store.location
        if location is None or self.store.guarantees.lock_scope == "process":
            return None  # in memory: there are no files
        way = find_bypass(location, self._options, self._name)
        if isinstance(way, str):
            return f"lock files may stay in the folder {self._name}: {way}"
        try:
            way.remove(self._name)
        except Exception as error:  # of any kind: each filesystem has its own; the text may show what it was given
            return f"lock files stay in the folder {self._name} ({type(error).__name__})"
        return None

    def _path(self) -> str | None:
        location = self.store.location
        if location is None or location.scheme != "file":
            return None
        path = os.path.join(location.path, self._name)
        return path if os.path.isdir(path) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc_type is None:
                self.remove()
            else:
                # What went wrong first is what is reported.
                with suppress(StoreError):
                    self.remove()
        finally:
            self.store.close()
