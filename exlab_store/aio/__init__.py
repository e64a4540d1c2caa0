"""The verbs of a store as coroutines, for asyncio and trio."""

from __future__ import annotations

from exlab_store.aio.path import AsyncStorePath
from exlab_store.aio.store import AsyncStore
from exlab_store.aio.watching import AsyncChangeStream

__all__ = ["AsyncChangeStream", "AsyncStore", "AsyncStorePath"]
