"""Reading many documents, and reading one that may not have changed."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
import pytest
from waiting import falls_below, is_once_below

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    Snapshot,
    StoreError,
    hookimpl,
    open_store,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

    from exlab_store import Store


class Watched:
    """Sees who reads what, takes its time over it, and refuses some keys."""

    def __init__(self, seconds: float = 0.0, refused: frozenset[str] = frozenset()) -> None:
        self.seconds = seconds
        self.refused = refused
        self.begun: list[str] = []
        self.now = 0
        self.most = 0
        self._mutex = threading.Lock()

    @hookimpl(wrapper=True)
    def read_snapshot(self, key: str) -> Generator[None, Snapshot, Snapshot]:
        with self._mutex:
            self.begun.append(key)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            time.sleep(self.seconds)
            if key in self.refused:
                raise AccessDenied("this one is not for you")
            return (yield)
        finally:
            with self._mutex:
                self.now -= 1


def watched(watcher: Watched, documents: int) -> Store:
    store = open_store("memory://", observers=[watcher])
    for number in range(documents):
        store.atomic_write(f"a/{number}", b"%d" % number)
    return store


def keys(documents: int) -> list[str]:
    return [f"a/{number}" for number in range(documents)]


# ------------------------------------------------------------------------------------------------- synchronous


def test_every_document_comes_once_with_its_key(store: Store) -> None:
    for key in keys(100):
        store.atomic_write(key, key.encode())
    found = list(store.read_many(keys(100)))
    assert sorted(key for key, _ in found) == sorted(keys(100))
    assert all(snapshot is not None and snapshot.data == key.encode() for key, snapshot in found)


def test_a_missing_document_comes_as_none(store: Store) -> None:
    store.atomic_write("a", b"1")
    assert dict(store.read_many(["a", "b"])) == {"a": Snapshot(b"1"), "b": None}


def test_of_no_keys_nothing_comes(store: Store) -> None:
    assert list(store.read_many([])) == []


def test_a_repeated_key_is_read_again(store: Store) -> None:
    store.atomic_write("a", b"1")
    assert [key for key, _ in store.read_many(["a", "b", "a"])] == ["a", "b", "a"]


def test_keys_may_come_from_an_endless_generator(store: Store) -> None:
    def forever() -> Iterator[str]:
        while True:
            yield "a"

    for count, (key, snapshot) in enumerate(store.read_many(forever())):
        assert (key, snapshot) == ("a", None)
        if count == 50:
            break


@pytest.mark.parametrize("seconds", [0, 0.005])
def test_the_first_document_that_cannot_be_read_is_an_error(seconds: float) -> None:
    watcher = Watched(seconds, frozenset({"a/3"}))
    with watched(watcher, 10) as store, pytest.raises(AccessDenied) as caught:
        list(store.read_many(keys(10), concurrency=2))
    assert caught.value.key == "a/3"
    assert watcher.now == 0


@pytest.mark.parametrize("seconds", [0, 0.005])
def test_with_onerror_the_others_come_all_the_same(seconds: float) -> None:
    errors: list[StoreError] = []
    with watched(Watched(seconds, frozenset({"a/3", "a/7"})), 10) as store:
        found = dict(store.read_many([*keys(10), "absent"], onerror=errors.append))
    assert set(found) == {*keys(10), "absent"} - {"a/3", "a/7"}
    assert sorted(str(error.key) for error in errors) == ["a/3", "a/7"]


def test_a_key_that_is_none_is_an_error_like_any_other(store: Store) -> None:
    errors: list[StoreError] = []
    assert list(store.read_many(["a/../b", "c"], onerror=errors.append)) == [("c", None)]
    assert isinstance(errors[0], InvalidKey)


def test_what_onerror_raises_comes_out(store: Store) -> None:
    def fail(error: StoreError) -> None:
        raise RuntimeError("no more") from error

    with pytest.raises(RuntimeError, match="no more"):
        list(store.read_many([".."], onerror=fail))


def test_fewer_than_one_at_a_time_is_refused_at_once(store: Store) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        store.read_many(["a"], concurrency=0)
    with pytest.raises(ValueError, match="concurrency"):
        store.aio.read_many(["a"], concurrency=0)


def test_slow_documents_are_read_several_at_a_time_and_no_more_than_said() -> None:
    watcher = Watched(seconds=0.02)
    with watched(watcher, 40) as store:
        assert len(list(store.read_many(keys(40), concurrency=5))) == 40
    assert 2 <= watcher.most <= 5


def test_one_at_a_time_keeps_the_order() -> None:
    watcher = Watched(seconds=0.002)
    with watched(watcher, 10) as store:
        assert [key for key, _ in store.read_many(keys(10), concurrency=1)] == keys(10)
    assert watcher.begun == keys(10)


def test_quick_documents_are_read_in_the_thread_of_the_consumer(memory: Store) -> None:
    def threads_more() -> int:
        before = set(threading.enumerate())
        return max(len(set(threading.enumerate()) - before) for _ in memory.read_many(keys(50)))

    # On a machine that is busy otherwise, one of them may be slow.
    assert 0 in (threads_more() for _ in range(50))


def test_a_consumer_that_stops_early_leaves_no_work_behind() -> None:
    watcher = Watched(seconds=0.01)
    before = set(threading.enumerate())
    with watched(watcher, 500) as store:
        for count, _ in enumerate(store.read_many(keys(500), concurrency=4)):
            if count == 8:
                break
        gc.collect()
        assert watcher.now == 0
        begun = len(watcher.begun)
        assert begun <= 9 + 2 * 4
    assert set(threading.enumerate()) <= before


def test_reading_waits_for_a_consumer_that_takes_its_time() -> None:
    watcher = Watched(seconds=0.002)
    with watched(watcher, 100) as store:
        reading = store.read_many(keys(100), concurrency=4)
        for _ in range(5):
            next(reading)
        time.sleep(0.05)
        assert len(watcher.begun) <= 5 + 2 * 4
        reading.close()  # type: ignore[attr-defined]


def test_a_change_may_read_many_documents(store: Store) -> None:
    for key in keys(20):
        store.atomic_write(key, b"1")

    def total(_: bytes | None) -> bytes:
        return str(sum(int(snapshot.data) for _, snapshot in store.read_many(keys(20)) if snapshot)).encode()

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(store.aio.update(f"total/{number}", total))

    asyncio.run(main())
    assert store.read_snapshot("total/39").data == b"20"


# ------------------------------------------------------------------------------------------------ asynchronous


@pytest.mark.anyio
async def test_a_coroutine_gets_every_document_once(store: Store) -> None:
    for key in keys(200):
        store.atomic_write(key, key.encode())
    found = [pair async for pair in store.aio.read_many([*keys(200), "absent"])]
    assert sorted(key for key, _ in found) == sorted([*keys(200), "absent"])
    assert all(snapshot is None or snapshot.data == key.encode() for key, snapshot in found)
    assert dict(found)["absent"] is None


@pytest.mark.anyio
async def test_a_coroutine_reads_several_at_a_time_and_no_more_than_said() -> None:
    watcher = Watched(seconds=0.02)
    with watched(watcher, 40) as store:
        assert len([pair async for pair in store.aio.read_many(keys(40), concurrency=5)]) == 40
    assert 2 <= watcher.most <= 5


@pytest.mark.anyio
async def test_a_coroutine_is_told_of_errors_in_the_same_way() -> None:
    watcher = Watched(refused=frozenset({"a/3"}))
    with watched(watcher, 10) as store:
        with pytest.raises(AccessDenied) as caught:
            _ = [pair async for pair in store.aio.read_many(keys(10))]
        assert caught.value.key == "a/3"
        errors: list[StoreError] = []
        found = [key async for key, _ in store.aio.read_many(keys(10), onerror=errors.append)]
    assert sorted(found) == sorted(set(keys(10)) - {"a/3"})
    assert [error.key for error in errors] == ["a/3"]


@pytest.mark.anyio
async def test_a_coroutine_that_stops_early_leaves_no_work_behind() -> None:
    watcher = Watched(seconds=0.01)
    with watched(watcher, 500) as store:
        async with aclosing(store.aio.read_many(keys(500), concurrency=4)) as reading:
            count = 0
            async for _ in reading:
                count += 1
                if count == 8:
                    break
        assert watcher.now == 0
        assert len(watcher.begun) <= 8 + 2 * 4


@pytest.mark.anyio
async def test_a_coroutine_that_is_cancelled_leaves_no_work_behind() -> None:
    watcher = Watched(seconds=0.02)
    with watched(watcher, 500) as store:
        with anyio.move_on_after(0.1) as scope:
            async with aclosing(store.aio.read_many(keys(500), concurrency=4)) as reading:
                async for _ in reading:
                    pass
        assert scope.cancelled_caught
        assert watcher.now == 0
        begun = len(watcher.begun)
        await anyio.sleep(0.05)
        assert len(watcher.begun) == begun


def test_asyncio_s_own_cancellation_leaves_no_work_behind_either() -> None:
    watcher = Watched(seconds=0.02)

    async def read(store: Store) -> None:
        async with aclosing(store.aio.read_many(keys(500), concurrency=4)) as reading:
            async for _ in reading:
                pass

    async def main(store: Store) -> None:
        task = asyncio.create_task(read(store))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.001)
        task.cancel()  # and again, while it waits for what is under way
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert watcher.now == 0

    with watched(watcher, 500) as store:
        asyncio.run(main(store))


# -------------------------------------------------------------------------------------------------- over SMB


@pytest.mark.one_interpreter
def test_reads_over_smb_overlap_on_one_connection(samba: SambaServer, wire: WireProxy) -> None:
    with open_store(samba.url(port=wire.port), password=samba.password) as store:
        for key in keys(32):
            store.atomic_write(key, key.encode())
        wire.delay = 0.02  # 40 ms a round trip
        found: dict[str, Snapshot | None] = {}

        def measure() -> float:
            began = time.monotonic()
            found.update(store.read_many([*keys(32), "absent"]))
            return time.monotonic() - began

        assert is_once_below(33 * 0.04 / 2, measure)  # one after the other takes 33 round trips
        assert {key: snapshot and snapshot.data for key, snapshot in found.items()} == {
            **{key: key.encode() for key in keys(32)},
            "absent": None,
        }

        async def read() -> float:
            began = time.monotonic()
            assert len([key async for key, _ in store.aio.read_many(keys(32))]) == 32
            return time.monotonic() - began

        assert anyio.run(falls_below, 32 * 0.04 / 2, read)
        assert len(samba.client_pids()) == 1


@pytest.mark.one_interpreter
def test_reads_over_smb_say_when_the_server_has_gone(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password, timeout=1.0, retry=None) as store:
        store.atomic_write("a/1", b"1")
        samba.kill()
        errors: list[StoreError] = []
        assert list(store.read_many(keys(5), onerror=errors.append)) == []
    assert len(errors) == 5
    assert all(isinstance(error, BackendUnavailable) for error in errors)


# ------------------------------------------------------------------------------------------- unless=version


def test_a_document_that_has_not_changed_comes_as_none(store: Store) -> None:
    version = store.atomic_write("a", b"1")
    path = store / "a"
    assert store.read_snapshot("a", unless=version) is None
    assert path.read_snapshot(unless=version) is None
    store.atomic_write("a", b"2")
    assert store.read_snapshot("a", unless=version) == Snapshot(b"2")
    assert path.read_snapshot(unless=version) == Snapshot(b"2")
    store.atomic_write("a", b"1")
    assert store.read_snapshot("a", unless=version) is None  # the same document again


def test_who_has_no_version_yet_gets_the_document(store: Store) -> None:
    store.atomic_write("a", b"")
    assert store.read_snapshot("a", unless=None) == Snapshot(b"")


def test_a_missing_document_is_an_error_whatever_the_caller_has(store: Store) -> None:
    with pytest.raises(DocumentNotFound):
        store.read_snapshot("a", unless=version_of(b"1"))


@pytest.mark.anyio
async def test_a_coroutine_may_say_what_it_has_too(store: Store) -> None:
    version = store.atomic_write("a", b"1")
    assert await store.aio.read_snapshot("a", unless=version) is None
    assert await (store / "a").aio.read_snapshot(unless=version) is None
    assert await store.aio.read_snapshot("a", unless=None) == Snapshot(b"1")
