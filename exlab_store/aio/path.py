"""A key in a store, with the verbs of the store as coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING, final, overload

from exlab_store.key_path import KeyPath
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.model import ANY

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from exlab_store.aio.store import AsyncStore
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Expectation, HeldLock, Snapshot, Version

__all__ = ["AsyncStorePath"]


@final
class AsyncStorePath(KeyPath):
    """A `StorePath` for coroutines. ``path.aio`` is one, and ``store.aio / "a" / "b.json"``.

    Args:
        store: The store, with coroutines.
        key: The document's key.
    """

    __slots__ = ("_store",)

    def __init__(self, store: AsyncStore, key: str) -> None:
        self._store = store
        self._key = key

    @property
    def store(self) -> AsyncStore:
        """The store, with coroutines."""
        return self._store

    @overload
    async def read_snapshot(self) -> Snapshot: ...
    @overload
    async def read_snapshot(self, *, unless: Version | None) -> Snapshot | None: ...
    async def read_snapshot(self, *, unless: Version | None = None) -> Snapshot | None:
        """As `Store.read_snapshot`."""
        return await self._store.read_snapshot(self._key, unless=unless)

    async def atomic_write(self, data: bytes, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> Version:
        """As `Store.atomic_write`."""
        return await self._store.atomic_write(self._key, data, expect=expect, lock=lock)

    async def update(
        self,
        change: Callable[[bytes | None], bytes],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
        lock: HeldLock | None = None,
    ) -> Version:
        """As `Store.update`."""
        return await self._store.update(self._key, change, timeout=timeout, purpose=purpose, lock=lock)

    def lock(
        self, *, timeout: float = DEFAULT_LOCK_TIMEOUT, purpose: str = ""
    ) -> AbstractAsyncContextManager[StoreLock]:
        """As `AsyncStore.lock`."""
        return self._store.lock(self._key, timeout=timeout, purpose=purpose)

    async def list_keys(self) -> list[str]:
        """As `Store.list_keys`, for this folder."""
        return await self._store.list_keys(self._key)

    async def delete(self, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""
        await self._store.delete(self._key, expect=expect, lock=lock)

    def _at(self, key: str) -> AsyncStorePath:
        return self._store / key

    def _root(self) -> AsyncStorePath:
        return self._store.root

    def _is_beside(self, other: KeyPath) -> bool:
        return isinstance(other, AsyncStorePath) and self._store is other.store

    def __repr__(self) -> str:
        return f"AsyncStorePath({self._key!r})"
