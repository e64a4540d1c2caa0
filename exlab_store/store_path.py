"""A key in a store, with the verbs of the store and the questions of `pathlib`."""

from __future__ import annotations

from typing import TYPE_CHECKING, final, overload

from exlab_store.errors import StoreError
from exlab_store.key_path import KeyPath
from exlab_store.keys import check_key
from exlab_store.location import url_of
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.model import ANY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.aio.path import AsyncStorePath
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Expectation, HeldLock, Snapshot, Version
    from exlab_store.store import Store

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

    def list_keys(self) -> list[str]:
        """As `Store.list_keys`, for this folder."""
        return self._store.list_keys(self._key)

    def delete(self, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""
        self._store.delete(self._key, expect=expect, lock=lock)

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
    path._store, path._key = store, ""  # noqa: SLF001  # past the check, which an empty key does not pass
    return path
