"""Tasks that use documents whose stores are not open yet: a folder is a store to open, on a worker thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from exlab_store import ConfigError
from exlab_store.documents import coroutines
from exlab_store.opening.locations import as_document
from exlab_store.threads import THREADS_PER_SHARE

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store, StorePath
    from exlab_store.opening.locations import DocumentLocation

pytestmark = pytest.mark.anyio


class Meeting:
    """Sees whether two threads open stores at the same time: each waits a moment for another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.met = False
        self.opened = 0
        self._barrier = threading.Barrier(2)
        monkeypatch.setattr(coroutines, "as_document", self._open)

    def _open(self, location: DocumentLocation) -> StorePath:
        self.opened += 1
        try:
            self._barrier.wait(0 if self.met else 0.05)
            self.met = True
        except threading.BrokenBarrierError:
            self._barrier.reset()
        return as_document(location)


async def _open_all(locations: list[str]) -> None:
    opened: set[Store] = set()

    async def open_one(location: str) -> None:
        opened.add((await coroutines.opened_document(location)).store)

    async with anyio.create_task_group() as group:
        for location in locations:
            group.start_soon(open_one, location)
    for store in opened:
        store.close()  # otherwise they, and their threads, stay as long as the process


async def test_folders_of_this_machine_are_opened_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening is Python, and several threads of it keep the event loop from running."""
    meeting = Meeting(monkeypatch)
    await _open_all([f"{tmp_path}/E{number}/equipment.json" for number in range(6)])
    assert meeting.opened == 6
    assert not meeting.met


async def test_folders_of_a_server_are_opened_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time is spent on waiting for the server."""
    meeting = Meeting(monkeypatch)
    await _open_all([f"memory://server-{time.monotonic_ns()}/E{number}/equipment.json" for number in range(6)])
    assert meeting.met


async def test_a_folder_that_many_tasks_want_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = Meeting(monkeypatch)
    await _open_all([f"{tmp_path}/E1/equipment.json"] * 6)
    assert meeting.opened == 1


async def test_many_folders_of_a_server_are_opened_by_no_more_threads_than_a_share_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(threading.enumerate())
    mine: list[threading.Thread] = []
    go_on = threading.Event()

    def opened(location: DocumentLocation) -> StorePath:
        assert go_on.wait(10)
        return as_document(location)

    monkeypatch.setattr(coroutines, "as_document", opened)
    server = f"memory://server-{time.monotonic_ns()}"
    async with anyio.create_task_group() as group:
        group.start_soon(_open_all, [f"{server}/lab/nas/E{number}/equipment.json" for number in range(32)])
        for _ in range(50):  # until all of them have asked for a thread
            await anyio.lowlevel.checkpoint()
        mine += [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("exlab-store")]
        go_on.set()
    assert len(mine) == THREADS_PER_SHARE


async def test_the_threads_that_open_stores_end(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def failing(location: DocumentLocation) -> StorePath:
        threads.append(threading.current_thread())
        raise ConfigError("there is no such store")

    monkeypatch.setattr(coroutines, "as_document", failing)
    with pytest.raises(ConfigError):
        await coroutines.opened_document("@nowhere/equipment.json")
    (thread,) = threads
    thread.join(5)
    assert not thread.is_alive()
