"""Hundreds of tasks on one store: the event loop goes on, few threads are taken, nothing is lost or left behind."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from async_load import many_updates, many_waiters
from waiting import is_once_below

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from async_load import Figures
    from samba_server import SambaServer

    from exlab_store import Store

# A loop that one waiter blocks stands still for as long as that waits. How much less than 20 ms it is, is measured by
# tests/benchmarks/event_loop.py: on a machine that runs other tests too, the loop itself has to wait.
_PAUSE = 2.0

_HOLDER = """
import sys
from exlab_store import open_store
with open_store(sys.argv[1]) as store:
    for line in sys.stdin:
        with store.lock(sys.argv[2], timeout=float(line)):
            print("held", flush=True)
            sys.stdin.readline()
        print("released", flush=True)
"""


class AnotherProcess:
    """Another process that takes one lock."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def take(self, timeout: float) -> None:
        assert self._answer(f"{timeout}\n") == "held\n"

    def release(self) -> None:
        assert self._answer("\n") == "released\n"

    def _answer(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def another_process(location: str, key: str, **environment: str) -> Iterator[AnotherProcess]:
    command = [sys.executable, "-c", _HOLDER, location, key]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        try:
            yield AnotherProcess(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Figures], None]:
    """Keeps the figures with the test, and checks what they have in common."""

    def check(figures: Figures) -> None:
        request.node.user_properties.append(("load", str(figures)))
        assert figures.threads <= 16
        assert figures.longest_pause < _PAUSE

    return check


def counted(store: Store, documents: int = 20) -> int:
    return sum(int(store.read_snapshot(f"load/{number}").data) for number in range(documents))


# ------------------------------------------------------------------------------------------------ many updates


def test_of_a_thousand_updates_over_twenty_documents_none_is_lost(
    store: Store, loop: str, keep: Callable[[Figures], None]
) -> None:
    keep(anyio.run(many_updates, store, backend=loop))
    assert counted(store) == 1000


@pytest.mark.one_interpreter
def test_of_two_hundred_updates_over_smb_none_is_lost(samba: SambaServer, keep: Callable[[Figures], None]) -> None:
    async def updates(store: Store) -> Figures:
        return await many_updates(store, updates=200)

    with open_store(samba.url(), password=samba.password) as store:
        keep(anyio.run(updates, store))
        assert counted(store) == 200


@pytest.mark.one_interpreter
@pytest.mark.slow
def test_of_a_thousand_updates_over_smb_none_is_lost(
    samba: SambaServer, loop: str, keep: Callable[[Figures], None]
) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        keep(anyio.run(many_updates, store, backend=loop))
        assert counted(store) == 1000


def test_the_threads_end_with_the_store(loop: str) -> None:
    before = set(threading.enumerate())
    # Not below pytest's own folder: stores of other tests may share their threads there.
    with tempfile.TemporaryDirectory() as place, open_store(place) as store:
        anyio.run(lambda: many_updates(store, updates=100), backend=loop)
        mine = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("exlab-store")]
        assert 0 < len(mine) <= 16
    for thread in mine:
        thread.join(5)
    assert not any(thread.is_alive() for thread in mine)


# ----------------------------------------------------------------------------------------- many waiters, one lock


def test_three_hundred_tasks_wait_for_a_task_and_half_of_them_are_cancelled(
    store: Store, loop: str, keep: Callable[[Figures], None]
) -> None:
    held = store.lock("a")
    keep(anyio.run(lambda: many_waiters(store, "a", held.release), backend=loop))
    assert store.read_snapshot("a").data == b"150"
    store.lock("a", timeout=0).release()


def test_three_hundred_tasks_wait_for_another_process_and_half_of_them_are_cancelled(
    tmp_path: Path, loop: str, keep: Callable[[Figures], None]
) -> None:
    with open_store(tmp_path) as store, another_process(str(tmp_path), "a") as other:
        other.take(10)
        keep(anyio.run(lambda: many_waiters(store, "a", other.release), backend=loop))
        assert store.read_snapshot("a").data == b"150"
        other.take(0)  # no lock is left behind
        other.release()


@pytest.mark.one_interpreter
def test_a_hundred_tasks_wait_for_another_process_over_smb_and_half_of_them_are_cancelled(
    samba: SambaServer, keep: Callable[[Figures], None]
) -> None:
    with (
        open_store(samba.url(), password=samba.password) as store,
        another_process(samba.url(), "a", FSSPEC_SMB_PASSWORD=samba.password) as other,
    ):
        other.take(10)
        keep(anyio.run(lambda: many_waiters(store, "a", other.release, waiters=100, cancelled=50)))
        assert store.read_snapshot("a").data == b"50"
        other.take(0)
        other.release()


@pytest.mark.one_interpreter
@pytest.mark.slow
def test_three_hundred_tasks_wait_for_another_process_over_smb_and_half_of_them_are_cancelled(
    samba: SambaServer, loop: str, keep: Callable[[Figures], None]
) -> None:
    with (
        open_store(samba.url(), password=samba.password) as store,
        another_process(samba.url(), "a", FSSPEC_SMB_PASSWORD=samba.password) as other,
    ):
        other.take(10)
        keep(anyio.run(lambda: many_waiters(store, "a", other.release), backend=loop))
        assert store.read_snapshot("a").data == b"150"
        other.take(0)
        other.release()


def test_all_waiters_are_cancelled_and_another_process_gets_the_lock(tmp_path: Path, loop: str) -> None:
    async def wait_and_give_up(store: Store) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(store.aio.update, "a", lambda _: b"never")
            await anyio.sleep(0.1)
            group.cancel_scope.cancel()

    with open_store(tmp_path) as store, another_process(str(tmp_path), "a") as other:
        other.take(10)
        anyio.run(wait_and_give_up, store, backend=loop)
        other.release()
        other.take(0)
        other.release()
        assert not (tmp_path / "a").exists()


def test_a_task_is_served_soon_after_another_process_has_released_the_lock(tmp_path: Path, loop: str) -> None:
    async def wait(store: Store, other: AnotherProcess) -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(store.aio.update, "a", lambda _: b"1")
            await anyio.sleep(0.5)
            await anyio.to_thread.run_sync(other.release)
            began = time.monotonic()
        return time.monotonic() - began

    with open_store(tmp_path) as store, another_process(str(tmp_path), "a") as other:

        def measure() -> float:
            seconds: list[float] = []
            for _ in range(3):
                other.take(10)
                seconds.append(anyio.run(wait, store, other, backend=loop))
            return statistics.median(seconds)

        assert is_once_below(0.5, measure)
