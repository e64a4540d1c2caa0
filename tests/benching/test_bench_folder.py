"""The folder of a measurement is gone afterwards, whatever comes in between; where it cannot go, that is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

import pytest

from exlab_store import AccessDenied, BackendUnavailable, Store, open_store
from exlab_store.benching import measure
from exlab_store.benching.contender import Job
from exlab_store.benching.contention import ContendingProcesses, contended_by_threads
from exlab_store.benching.folder import Folder
from exlab_store.doctor.bypass import LocalFiles

if TYPE_CHECKING:
    from pathlib import Path

BRIEFLY = 0.01


def _refused(*_: object) -> None:
    raise AccessDenied("deleting is not allowed")


def _nothing(*_: object) -> None: ...


@pytest.fixture
def _small_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer processes to start, where the test is not about them."""
    monkeypatch.setattr("exlab_store.benching.measuring.CROWDS", (1,))


@pytest.mark.usefixtures("_small_crowds")
def test_figures_are_shown_where_documents_cannot_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "delete", _refused)
    bench = measure("memory://", seconds=BRIEFLY)
    assert len(bench.operations) == 6
    assert bench.remains is not None
    assert bench.remains.startswith("documents stay in the folder memory://")
    assert bench.remains.endswith("deleting is not allowed")
    # In a directory, what the store may not delete goes with the folder.
    assert measure(str(tmp_path), seconds=BRIEFLY).remains is None
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("_small_crowds")
def test_a_folder_that_is_still_there_after_its_removal_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalFiles, "remove", _nothing)
    bench = measure(str(tmp_path), seconds=BRIEFLY)
    (name,) = os.listdir(tmp_path)
    assert bench.location == f"file://{tmp_path}"
    assert bench.remains == f"the folder {bench.location}/{name} stays, as something in it cannot be removed"


def test_a_place_that_cannot_be_used_has_no_folder_that_could_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise BackendUnavailable("nobody answers")

    monkeypatch.setattr(Store, "atomic_write", unreachable)
    monkeypatch.setattr(Store, "list_keys", unreachable)
    left: list[str] = []
    with pytest.raises(BackendUnavailable):
        measure(str(tmp_path), seconds=BRIEFLY, left=left.append)
    assert left == []


def _interrupting(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Presses Ctrl-C in the middle of the folder's removal."""
    remove = Folder.remove

    def interrupted(folder: Folder) -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        remove(folder)

    monkeypatch.setattr(Folder, "remove", interrupted)


def _press_at_read(_done: int, _total: int, what: str) -> None:
    if what == "read":
        signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_waits_until_the_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupting(monkeypatch, 3)  # the key is kept down
    left: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        measure(str(tmp_path), seconds=BRIEFLY, progress=_press_at_read, left=left.append)
    assert (os.listdir(tmp_path), left) == ([], [])


@pytest.mark.usefixtures("_small_crowds")
def test_ctrl_c_after_the_last_measurement_takes_effect_when_the_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    _interrupting(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        measure(str(tmp_path), seconds=BRIEFLY)
    assert os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_whoever_insists_is_told_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exlab_store.benching.interruptions.PATIENCE", 0.0)
    _interrupting(monkeypatch, 2)
    left: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        measure(str(tmp_path), seconds=BRIEFLY, progress=_press_at_read, left=left.append)
    (name,) = os.listdir(tmp_path)
    assert left == [f"the folder file://{tmp_path}/{name} stays, as its removal was interrupted"]


def test_no_contender_is_told_of_the_store_before_all_are_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that Ctrl-C keeps from being known would open the store later, and make the removed folder again."""
    happened: list[str] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            happened.append("started")
            super().__init__(*arguments, **options)
            if self.stdin is not None:
                self.stdin = _noted(self.stdin)

    def _noted(stream: IO[bytes]) -> IO[bytes]:
        write = stream.write

        class Told:
            def write(self, data: bytes) -> int:
                happened.append("told")
                return write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(stream, name)

        told: Any = Told()
        return told  # type: ignore[no-any-return]

    monkeypatch.setattr(subprocess, "Popen", Noted)
    measure(str(tmp_path), seconds=BRIEFLY)
    assert happened.index("told") == happened.count("started") == 8


def test_the_store_s_lock_and_the_bare_one_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[tuple[int, str]] = []
    contended = ContendingProcesses.contended

    def noted(processes: ContendingProcesses, number: int, job: Job) -> Any:
        jobs.append((number, "bare" if job.bare else "store"))
        return contended(processes, number, job)

    monkeypatch.setattr(ContendingProcesses, "contended", noted)
    measure(str(tmp_path), seconds=BRIEFLY)
    assert jobs == [(number, of) for number in (1, 4, 8) for of in ("store", "bare", "bare", "store")]


@pytest.mark.skipif(sys.platform == "win32", reason="a signal does not end the wait for a thread there")
def test_threads_that_want_a_lock_end_when_the_measurement_is_interrupted() -> None:
    running = set(threading.enumerate())
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    began = time.monotonic()
    with open_store("memory://") as store, pytest.raises(KeyboardInterrupt):
        # Begun within the block, should the signal come at once.
        (timer.start(), contended_by_threads(4, Job("", 60, 0, 0.001), store, "lock.json"))
    timer.join()
    assert time.monotonic() - began < 30
    while not set(threading.enumerate()) <= running:  # it may strike as a thread starts
        assert time.monotonic() - began < 30
        time.sleep(0.01)
