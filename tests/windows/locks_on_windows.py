"""Locks between processes of Windows: run by `test_on_windows`, in Windows."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock, Timeout

from exlab_store import LockTimeout, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exlab_store import Store

OURS = """
import sys
from exlab_store import open_store
with open_store(sys.argv[1]).lock("a.json", timeout=30, purpose="re-sync"):
    print("held", flush=True)
    sys.stdin.read()
"""
THEIRS = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1] + r"\\a.json.lock"):
    print("held", flush=True)
    sys.stdin.read()
"""
COUNT = """
import sys
from exlab_store import open_store
with open_store(sys.argv[1]) as store:
    for _ in range(int(sys.argv[2])):
        store.update("n", lambda found: str(int(found or b"0") + 1).encode(), timeout=300)
"""


@contextmanager
def holding(program: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def test_who_waits_is_told_who_holds_the_lock(store: Store, tmp_path: Path) -> None:
    with holding(OURS, tmp_path) as process:
        with pytest.raises(LockTimeout) as caught:
            store.lock("a.json", timeout=0.1)
        holder = caught.value.holder
        assert holder is not None
        assert (holder.pid, holder.purpose) == (process.pid, "re-sync")


def test_a_file_lock_of_another_process_keeps_ours_out(store: Store, tmp_path: Path) -> None:
    with holding(THEIRS, tmp_path) as process:
        with pytest.raises(LockTimeout):
            store.lock("a.json", timeout=0.1)
        process.communicate(b"")
        store.lock("a.json", timeout=30).release()


def test_our_lock_keeps_a_file_lock_of_another_process_out(tmp_path: Path) -> None:
    with holding(OURS, tmp_path) as process:
        theirs = FileLock(tmp_path / "a.json.lock")
        with pytest.raises(Timeout):
            theirs.acquire(timeout=0.1)
        process.communicate(b"")
        theirs.acquire(timeout=30)
        theirs.release()


def test_the_lock_of_a_killed_process_is_free_within_a_second(store: Store, tmp_path: Path) -> None:
    with holding(OURS, tmp_path) as process:
        process.kill()
        process.wait(30)
        began = time.monotonic()
        store.lock("a.json", timeout=30).release()
    assert time.monotonic() - began < 10  # a second, on a machine that is not busy


def test_nobody_takes_the_lock_file_away_while_the_lock_is_held(store: Store, tmp_path: Path) -> None:
    with store.lock("a.json") as held:
        for change in (
            lambda: (tmp_path / "a.json.lock").unlink(),
            lambda: (tmp_path / "a.json.lock").rename(tmp_path / "b"),
            lambda: (tmp_path / "a.json.lock").replace(tmp_path / "b"),
        ):
            with pytest.raises(PermissionError):
                change()
        held.ensure_held()
        store.atomic_write("a.json", b"1", lock=held)


@pytest.mark.parametrize(("processes", "updates"), [pytest.param(3, 20), pytest.param(8, 100, marks=pytest.mark.slow)])
def test_updates_of_processes_lose_nothing(store: Store, tmp_path: Path, processes: int, updates: int) -> None:
    command = [sys.executable, "-c", COUNT, str(tmp_path), str(updates)]
    started = [subprocess.Popen(command) for _ in range(processes)]
    assert [process.wait(600) for process in started] == [0] * processes
    assert store.read_snapshot("n").data == str(processes * updates).encode()
