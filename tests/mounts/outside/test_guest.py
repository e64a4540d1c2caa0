"""What happens in the guest is reported outside, test by test, and nothing of the guest is left on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import lacking
from mounts.guest_kernel import HERE, Guest, what_is_lacking

pytestmark = pytest.mark.one_interpreter

_PATIENCE = 120.0  # seconds for what takes five on an idle machine


@pytest.fixture(autouse=True)
def needs_the_guest() -> None:
    if lack := what_is_lacking():
        lacking(lack)


@pytest.fixture(scope="module")
def report() -> str:
    """What pytest says about tests of which one powers its guest off."""
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "mounts/broken/ending_guests.py"]
    finished = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=600, check=False)
    return finished.stdout + finished.stderr


@pytest.mark.parametrize(
    "line",
    [
        "FAILED mounts/broken/ending_guests.py::test_before - ",
        "FAILED mounts/broken/ending_guests.py::test_that_powers_the_guest_off - ",
        "ERROR mounts/broken/ending_guests.py::test_of_a_fixture_that_fails - ",
        "PASSED mounts/broken/ending_guests.py::test_after",
        "2 failed, 1 passed, 1 skipped, 1 error",
    ],
)
def test_each_test_inside_is_a_test_outside(report: str, line: str) -> None:
    assert line in report


@pytest.mark.parametrize("words", ["E       AssertionError: assert 'server' == 'not the server'", "said inside"])
def test_a_failure_shows_what_it_shows_inside(report: str, words: str) -> None:
    assert words in report


def test_the_test_during_which_the_guest_ends_fails_and_shows_what_the_guest_said(report: str) -> None:
    assert "the guest ended before this test did; it said:" in report
    assert "reboot: Power down" in report


def _processes(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:  # it has ended
            continue
        if f"exchange={folder}".encode() in command:
            found.append(entry.parent.name)
    return found


def _said(guest: Guest, words: str) -> bool:
    over = time.monotonic() + _PATIENCE
    while words not in guest.said and guest.runs and time.monotonic() < over:
        time.sleep(0.02)
    return words in guest.said


def test_a_guest_that_is_closed_while_it_runs_leaves_no_process_and_no_file_and_has_written_none(
    tmp_path: Path,
) -> None:
    with Guest(f"echo x > {tmp_path}/x; echo busy; sleep 600") as guest:
        assert _said(guest, "busy"), guest.console
        assert "Read-only file system" in guest.said
        folder = guest.folder
    assert (_processes(folder), folder.exists(), (tmp_path / "x").exists()) == ([], False, False)


def test_a_guest_ends_with_the_process_that_started_it() -> None:
    program = f"import sys, time; sys.path.insert(0, {str(HERE.parent)!r}); from mounts.guest_kernel import Guest\n"
    program += "guest = Guest('echo busy; sleep 600'); print(guest.folder, flush=True)\n"
    program += "while 'busy' not in guest.said: time.sleep(0.02)\nprint('busy', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as starter:
        assert starter.stdout is not None
        folder = Path(starter.stdout.readline().strip())
        try:
            assert starter.stdout.readline() == "busy\n"
            started = _processes(folder)
            starter.kill()
            over = time.monotonic() + _PATIENCE
            while _processes(folder) and time.monotonic() < over:
                time.sleep(0.02)
            assert (bool(started), _processes(folder)) == (True, [])
        finally:
            starter.kill()
            for process in _processes(folder):
                os.kill(int(process), signal.SIGKILL)
            shutil.rmtree(folder)
