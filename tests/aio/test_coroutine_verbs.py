"""The verbs of a store as coroutines, on asyncio and trio, on one event loop after another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from task_work import one_more

from exlab_store import DocumentNotFound, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store
import gc
import weakref

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store


pytestmark = pytest.mark.anyio


async def test_the_verbs_are_the_same(store: Store) -> None:
    path = store.aio
    with pytest.raises(DocumentNotFound):
        await path.read_snapshot("a")
    version = await path.atomic_write("a", b"1")
    assert (await path.read_snapshot("a")).version == version
    await path.update("a", lambda _: b"2")
    assert await path.list_keys() == ["a"]
    await path.delete("a", expect=(await path.read_snapshot("a")).version)
    assert await path.list_keys() == []


async def test_a_path_has_them_too(store: Store) -> None:
    path = (store / "a").aio
    await path.atomic_write(b"1")
    async with path.lock() as held:
        await path.atomic_write(b"2", lock=held)
    await path.update(one_more)
    assert (await path.read_snapshot()).data == b"3"
    await path.delete()


def test_a_store_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for _ in range(3):
            anyio.run(store.aio.update, "n", one_more)
        assert store.read_snapshot("n").data == b"3"


def test_two_event_loops_at_once_lose_nothing(tmp_path: Path) -> None:
    async def many(store: Store) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(store.aio.update, "n", one_more)

    with open_store(tmp_path) as store:
        threads = [threading.Thread(target=anyio.run, args=(many, store)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.read_snapshot("n").data == b"100"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_loop_s_own_executor_is_left_alone(store: Store) -> None:
    await store.aio.update("a", one_more)
    async with store.aio.lock("b"):
        await store.aio.read_snapshot("a")
    assert asyncio.get_running_loop()._default_executor is None  # type: ignore[attr-defined]


async def test_a_change_sees_the_context_of_its_task(store: Store) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    def change(_: bytes | None) -> bytes:
        seen.append(request.get())
        request.set("changed")
        return b"1"

    request.set("number 7")
    await store.aio.update("a", change)
    assert seen == ["number 7"]
    assert request.get() == "number 7"


async def test_a_change_may_update_another_document(store: Store) -> None:
    def change(_: bytes | None) -> bytes:
        store.update("b", one_more)
        return b"1"

    await store.aio.update("a", change)
    assert store.read_snapshot("b").data == b"1"


def test_a_forked_child_has_threads_of_its_own(tmp_path: Path) -> None:
    program = """
import os, sys, anyio
from exlab_store import open_store
def update(store):
    anyio.run(store.aio.update, "n", lambda stored: str(int(stored or b"0") + 1).encode())
with open_store(sys.argv[1]) as store:
    update(store)
    child = os.fork()
    if not child:
        with open_store(sys.argv[1]) as own:
            update(own)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    update(store)
    assert store.read_snapshot("n").data == b"3"
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(tmp_path)], check=True, timeout=60)


def test_an_event_loop_that_has_ended_does_not_stay_in_memory(memory: Store) -> None:
    loops: list[weakref.ref[object]] = []

    async def use() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await memory.aio.update("a", one_more)

    async def be_cancelled_at_the_doorway() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(memory.aio.update, "a", one_more)
            await use()
            group.cancel_scope.cancel()

    asyncio.run(use())
    asyncio.run(be_cancelled_at_the_doorway())
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


async def test_who_looks_after_a_store_may_do_so_from_a_coroutine(posix: Store, tmp_path: Path) -> None:
    store = posix.aio
    await (store / "a" / "b").atomic_write(b"1")
    (tmp_path / "a" / "b.tmp.1.0123456789abcdef").write_bytes(b"half")
    (leftover,) = await store.list_leftovers("a")
    assert leftover.kind == "temporary"
    await store.remove_leftover(leftover)
    assert await store.list_leftovers() == []
    assert await (store / "a").list_keys() == ["a/b"]
