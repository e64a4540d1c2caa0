"""A key in a store, with the verbs of the store as coroutines."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, final, overload

from exlab_store.errors import DocumentNotFound
from exlab_store.key_path import KeyPath
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.looking import no_folder
from exlab_store.model import ANY, Stat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from exlab_store.aio.store import AsyncStore
    from exlab_store.aio.watching import AsyncChangeStream
    from exlab_store.errors import StoreError
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Expectation, FolderItem, HeldLock, Snapshot, Version

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

    async def stat(self) -> Stat:
        """As `StorePath.stat`."""
        return await self._store.stat(self._key) if self._key else Stat(0, kind="folder")

    async def exists(self) -> bool:
        """As `Store.exists`."""
        return not self._key or await self._store.exists(self._key)

    async def is_file(self) -> bool:
        """Whether there is a document."""
        return await self._is("document")

    async def is_dir(self) -> bool:
        """Whether there is a folder."""
        return await self._is("folder")

    async def iterdir(self) -> AsyncGenerator[AsyncStorePath]:
        """As `StorePath.iterdir`."""
        empty = True
        async with aclosing(self.list_folder()) as found:
            async for entry in found:
                empty = False
                yield self._at(entry.key)
        if empty and (await self.stat()).kind == "document":
            raise no_folder(self._key).at(None, self._store.store.location)

    async def glob(self, pattern: str) -> AsyncGenerator[AsyncStorePath]:
        """As `StorePath.glob`."""
        for entry in await self._store.list_matching(self._key, pattern):
            yield self._at(entry.key)

    def rglob(self, pattern: str) -> AsyncGenerator[AsyncStorePath]:
        """As `StorePath.rglob`."""
        return self.glob(f"**/{pattern}")

    def list_folder(self, *, stat: bool = False) -> AsyncGenerator[FolderItem]:
        """As `Store.list_folder`, for this folder."""
        return self._store.list_folder(self._key, stat=stat)

    async def list_keys(self, *, pattern: str | None = None) -> list[str]:
        """As `Store.list_keys`, for this folder."""
        return await self._store.list_keys(self._key, pattern=pattern)

    def watch(
        self,
        *,
        pattern: str | None = None,
        since: Mapping[str, Version | None] | None = None,
        timeout: float | None = None,
        interval: float | None = None,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> AsyncChangeStream:
        """As `AsyncStore.watch`, for this folder."""
        return self._store.watch(
            self._key,
            pattern=pattern,
            since=since,
            timeout=timeout,
            interval=interval,
            onerror=onerror,
        )

    async def delete(self, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""
        await self._store.delete(self._key, expect=expect, lock=lock)

    async def delete_folder(self, *, expect_empty: bool = False) -> None:
        """As `Store.delete_folder`, for this folder."""
        await self._store.delete_folder(self._key, expect_empty=expect_empty)

    async def _is(self, kind: str) -> bool:
        try:
            return (await self.stat()).kind == kind
        except DocumentNotFound:
            return False

    def _at(self, key: str) -> AsyncStorePath:
        return self._store / key

    def _root(self) -> AsyncStorePath:
        return self._store.root

    def _is_beside(self, other: KeyPath) -> bool:
        return isinstance(other, AsyncStorePath) and self._store is other.store

    def __repr__(self) -> str:
        return f"AsyncStorePath({self._key!r})"
