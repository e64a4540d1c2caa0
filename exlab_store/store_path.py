"""A key in a store, with the verbs of the store and the questions of `pathlib`."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, final, overload

from exlab_store.errors import DocumentNotFound, StoreError
from exlab_store.key_path import KeyPath
from exlab_store.keys import check_key
from exlab_store.location import url_of
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.looking import no_folder
from exlab_store.model import ANY, Stat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exlab_store.aio.path import AsyncStorePath
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Expectation, FolderItem, HeldLock, Snapshot, Version
    from exlab_store.store import Store
    from exlab_store.watching.stream import ChangeStream

__all__ = ["StorePath", "root_of"]


@final
class StorePath(KeyPath):
    """A key in a store: the verbs of `Store` without the key argument. ``store / "a" / "b.json"`` makes one.

    Args:
        store: The store.
        key: The document's or folder's key.

    Raises:
        InvalidKey: The key is not portable.
    """

    __slots__ = ("_store",)

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        try:
            self._key = check_key(key)
        except StoreError as error:
            raise error.at(None, store.location) from None

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    @property
    def aio(self) -> AsyncStorePath:
        """The same verbs as coroutines."""
        return self._store.aio / self._key if self._key else self._store.aio.root

    @overload
    def read_snapshot(self) -> Snapshot: ...
    @overload
    def read_snapshot(self, *, unless: Version | None) -> Snapshot | None: ...
    def read_snapshot(self, *, unless: Version | None = None) -> Snapshot | None:
        """As `Store.read_snapshot`."""
        return self._store.read_snapshot(self._key, unless=unless)

    def atomic_write(self, data: bytes, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> Version:
        """As `Store.atomic_write`."""
        return self._store.atomic_write(self._key, data, expect=expect, lock=lock)

    def lock(
        self,
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "",
        cancelled: Callable[[], bool] | None = None,
    ) -> StoreLock:
        """As `Store.lock`."""
        return self._store.lock(self._key, timeout=timeout, purpose=purpose, cancelled=cancelled)

    def update(
        self,
        change: Callable[[bytes | None], bytes],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
        lock: HeldLock | None = None,
    ) -> Version:
        """As `Store.update`."""
        return self._store.update(self._key, change, timeout=timeout, purpose=purpose, lock=lock)

    def stat(self) -> Stat:
        """As `Store.stat`; the store itself is a folder."""
        return self._store.stat(self._key) if self._key else Stat(0, kind="folder")

    def exists(self) -> bool:
        """As `Store.exists`."""
        return not self._key or self._store.exists(self._key)

    def is_file(self) -> bool:
        """Whether there is a document."""
        return self._is("document")

    def is_dir(self) -> bool:
        """Whether there is a folder."""
        return self._is("folder")

    def iterdir(self) -> Iterator[StorePath]:
        """The documents and folders directly in this folder, in the order of their names.

        Raises:
            DocumentNotFound: There is no such folder.
            InvalidKey: It is a document.
            StoreError: As `Store.list_folder` does.
        """
        entries = self._store.list_folder(self._key)
        first = next(entries, None)
        if first is None:
            if self.stat().kind == "document":
                raise no_folder(self._key).at(None, self._store.location)
            return iter(())
        return (StorePath(self._store, entry.key) for entry in chain([first], entries))

    def glob(self, pattern: str) -> Iterator[StorePath]:
        """The documents and folders below this folder that fit a pattern, in the order of their keys.

        Args:
            pattern: As for `Store.list_keys`.

        Raises:
            StoreError: As `Store.list_matching` does.
        """
        return (StorePath(self._store, entry.key) for entry in self._store.list_matching(self._key, pattern))

    def rglob(self, pattern: str) -> Iterator[StorePath]:
        """As `glob`, at any depth: ``**/`` stands before the pattern.

        Args:
            pattern: As for `Store.list_keys`.
        """
        return self.glob(f"**/{pattern}")

    def list_folder(self, *, stat: bool = False) -> Iterator[FolderItem]:
        """As `Store.list_folder`, for this folder."""
        return self._store.list_folder(self._key, stat=stat)

    def list_keys(self, *, pattern: str | None = None) -> list[str]:
        """As `Store.list_keys`, for this folder."""
        return self._store.list_keys(self._key, pattern=pattern)

    def watch(
        self,
        *,
        pattern: str | None = None,
        since: Mapping[str, Version | None] | None = None,
        timeout: float | None = None,
        cancelled: Callable[[], bool] | None = None,
        interval: float | None = None,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> ChangeStream:
        """As `Store.watch`, for this folder."""
        return self._store.watch(
            self._key,
            pattern=pattern,
            since=since,
            timeout=timeout,
            cancelled=cancelled,
            interval=interval,
            onerror=onerror,
        )

    def delete(self, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""
        self._store.delete(self._key, expect=expect, lock=lock)

    def delete_folder(self, *, expect_empty: bool = False) -> None:
        """As `Store.delete_folder`, for this folder."""
        self._store.delete_folder(self._key, expect_empty=expect_empty)

    def _is(self, kind: str) -> bool:
        try:
            return self.stat().kind == kind
        except DocumentNotFound:
            return False

    def _at(self, key: str) -> StorePath:
        return StorePath(self._store, key)

    def _root(self) -> StorePath:
        return root_of(self._store)

    def _is_beside(self, other: KeyPath) -> bool:
        return isinstance(other, StorePath) and self._store is other.store

    def __str__(self) -> str:
        location = self._store.location
        return url_of(location, self._key) if self._key or location is None else str(location)

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"


def root_of(store: Store) -> StorePath:
    """The path of a store itself.

    Args:
        store: The store.
    """
    path = StorePath.__new__(StorePath)
    path._store, path._key = store, ""  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # past the check
    return path
