"""The deletion of a folder that is stopped, and of one on a storage system that does not fence."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

from exlab_store import Expectation, FolderNotEmpty, HeldLock, LockLost, LockOwner, Store, hookimpl, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = [f"run/{number}.json" for number in range(5)]


class Watched(MemoryBackend):
    """In memory; somebody is told of each deletion."""

    deletes: Callable[[], object] = staticmethod(lambda: None)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        super().delete(key, expect, lock)
        self.deletes()


def _filled(backend: MemoryBackend) -> Store:
    store = open_store(backend=backend)
    for key in KEYS:
        store.atomic_write(key, b"1")
    return store


def test_a_deletion_that_is_cancelled_ends_before_the_next_document() -> None:
    backend, stopped = Watched(Memory()), threading.Event()
    backend.deletes = stopped.set
    with _filled(backend) as store:
        with pytest.raises(FolderNotEmpty, match="1 documents were deleted and 4 are left") as refused:
            store.delete_folder("run", cancelled=stopped.is_set)
        assert refused.value.left == tuple(KEYS[1:])
        assert store.list_keys() == KEYS[1:]


def test_a_task_that_is_cancelled_leaves_the_documents_that_are_not_deleted_yet() -> None:
    backend = Watched(Memory())

    async def main(store: Store) -> None:
        loop = asyncio.get_running_loop()
        deletion = asyncio.ensure_future(store.aio.delete_folder("run"))
        cancelled = threading.Event()

        def cancel() -> None:
            deletion.cancel()
            loop.call_soon(cancelled.set)  # when the task has heard of it

        def wait() -> None:
            loop.call_soon_threadsafe(cancel)
            assert cancelled.wait(20)

        backend.deletes = wait
        with pytest.raises(asyncio.CancelledError) as ended:
            await deletion
        assert isinstance(ended.value.__cause__, FolderNotEmpty)

    with _filled(backend) as store:
        asyncio.run(main(store))
        assert store.list_keys() == KEYS[1:]


class LosesLocks(MemoryBackend):
    """In memory, without fences; a lock is lost as soon as it is taken."""

    guarantees = msgspec.structs.replace(MemoryBackend.guarantees, fenced=False)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        held = super().lock(key, owner, timeout, cancelled)
        held.release()
        return held


def test_a_document_whose_lock_was_lost_is_not_deleted_where_nothing_fences() -> None:
    with _filled(LosesLocks(Memory())) as store:
        with pytest.raises(LockLost):
            store.delete_folder("run")
        assert store.list_keys() == KEYS
