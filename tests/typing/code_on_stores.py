"""Code of a program that uses stores. A line that ends with "# refused" must not type-check; every other line must."""

from __future__ import annotations

import os
from pathlib import Path
from typing import assert_type

from exlab_store import (
    ABSENT,
    Guarantees,
    Snapshot,
    Stat,
    Store,
    StoreError,
    StoreLock,
    StorePath,
    Version,
    open_store,
)


def opens(path: Path) -> None:
    assert_type(open_store("smb://nas01/lab", username="svc", timeout=10), Store)
    open_store(path, require=Guarantees.at_least(durable=True, lock_scope="site"))
    open_store(os.environ["STORE"], observers=["log"], create=True)
    open_store(7)  # refused
    open_store(path, "another")  # refused
    open_store(path, require={"durable": True})  # refused
    Guarantees.at_least(lock_scope="galaxy")  # refused
    Guarantees.at_least(durably=True)  # refused


def reads(store: Store, known: Version | None) -> None:
    assert_type(store.read_snapshot("a.json"), Snapshot)
    assert_type(store.read_snapshot("a.json").data, bytes)
    assert_type(store.read_snapshot("a.json", unless=known), Snapshot | None)
    assert_type(store.stat("a.json"), Stat)
    assert_type(store.list_keys("folder"), list[str])
    for key, snapshot in store.read_many(["a.json", "b.json"], onerror=lambda error: assert_type(error, StoreError)):
        assert_type(key, str)
        assert_type(snapshot, Snapshot | None)
    store.read_snapshot("a.json", unless=known).data  # refused: it is None where nothing has changed
    store.read_snapshot(Path("a.json"))  # refused: a key is text
    store.read_snapshot()  # refused


def writes(store: Store, data: bytes, text: str) -> None:
    snapshot = store.read_snapshot("a.json")
    assert_type(store.atomic_write("a.json", data, expect=snapshot.version), Version)
    store.atomic_write("a.json", data, expect=ABSENT)
    store.atomic_write("a.json", text)  # refused
    store.atomic_write("a.json", data, expect=None)  # refused: whoever wants no condition says ANY
    store.atomic_write("a.json", data, expect="6f1ed002")  # refused: a version comes from a store
    store.atomic_write("a.json", data, ABSENT)  # refused: by keyword


def locks(store: Store, other: Store, data: bytes) -> None:
    with store.lock("a.json", timeout=5, purpose="repair") as held:
        assert_type(held, StoreLock)
        store.atomic_write("a.json", data, lock=held)
        store.delete("a.json", lock=held)
        store.atomic_write("a.json", data, lock=True)  # refused
        store.atomic_write("a.json", data, lock=other)  # refused
    store.lock("a.json", timeout=None)  # refused: no call waits for ever
    store.lock("a.json", 5)  # refused: by keyword


def updates(store: Store) -> None:
    assert_type(store.update("a.json", lambda current: current or b"{}"), Version)
    store.update("a.json", lambda current: current + b" ")  # refused: there may be no document
    store.update("a.json", lambda current: "{}")  # refused


def walks(store: Store) -> None:
    path = store / "folder" / "a.json"
    assert_type(path, StorePath)
    assert_type(path.read_snapshot(), Snapshot)
    assert_type(path.parent, StorePath)
    assert_type(path.store, Store)
    assert_type([child.name for child in path.parent.iterdir()], list[str])
    path.read_snapshot("a.json")  # refused: the path has its key
    path.write_text("{}")  # refused
    Path("/mnt/lab") / path  # refused: it is no path of the file system


async def awaits(store: Store, data: bytes) -> None:
    assert_type(await store.aio.read_snapshot("a.json"), Snapshot)
    assert_type(await store.aio.atomic_write("a.json", data), Version)
    async with store.aio.lock("a.json") as held:
        await (store / "a.json").aio.atomic_write(data, lock=held)
    store.aio.read_snapshot("a.json").data  # refused: it is to be awaited
    with store.aio.lock("a.json"):  # refused
        pass
