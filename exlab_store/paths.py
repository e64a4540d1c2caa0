"""`StorePath`: a key that knows its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, final, overload

from exlab_store.addresses import placed, url_of
from exlab_store.errors import StoreError
from exlab_store.keys import check_key
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.model import ANY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.aio.store import AsyncStorePath
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Expectation, HeldLock, Snapshot, Version
    from exlab_store.store import Store

__all__ = ["StorePath"]


@final
class StorePath:
    """A key in a store: the verbs of `Store` without the key argument. ``store / "a" / "b.json"`` makes one.

    Args:
        store: The store.
        key: The document's or folder's key.

    Raises:
        InvalidKey: The key is not portable.
    """

    __slots__ = ("_key", "_store")

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        try:
            self._key = check_key(key)
        except StoreError as error:
            raise placed(error, None, store.location) from None

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    @property
    def key(self) -> str:
        """The key."""
        return self._key

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self._key.rpartition("/")[2]

    @property
    def aio(self) -> AsyncStorePath:
        """The same verbs as coroutines."""
        from exlab_store.aio.store import AsyncStorePath

        return AsyncStorePath(self._store.aio, self._key)

    def with_name(self, name: str) -> StorePath:
        """The path of a sibling.

        Args:
            name: Its name: one segment or more.
        """
        folder, slash, _ = self._key.rpartition("/")
        return StorePath(self._store, folder + slash + name)

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

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self._store, f"{self._key}/{name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StorePath):
            return NotImplemented
        return self._store is other._store and self._key == other._key

    def __hash__(self) -> int:
        return hash((id(self._store), self._key))

    def __str__(self) -> str:
        return url_of(self._store.location, self._key)

    def __repr__(self) -> str:
        return f"StorePath({str(self)!r})"
