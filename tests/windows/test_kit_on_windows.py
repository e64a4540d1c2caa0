"""The conformance kit over the local backend, on CPython for Windows under wine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lacking_in_wine import LACKING
from windows_python import ROOT, WindowsPython

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.one_interpreter

KIT = ROOT / "tests" / "testing" / "test_conformance_posix.py"
# Each starts processes, which take seconds under wine, and does what one that is left does too.
LONG = (
    "test_processes_that_count_with_compare_and_swap_lose_nothing",
    "test_another_process_sees_a_write_at_once_and_is_seen",
    "test_hold_intervals_of_processes_never_overlap",
    "test_any_sequence_of_operations_does_what_a_dictionary_does",
    "test_one_of_many_processes_makes_a_document",
    "test_the_history_of_processes_has_an_order",
    "test_writers_on_two_hosts_with_the_same_process_id_do_not_disturb_each_other",
    "test_a_lock_of_this_process_keeps_another_out",
)


def run_kit(windows: WindowsPython, choice: str, deadline: float) -> subprocess.CompletedProcess[str]:
    lacking = [f"--deselect={KIT.relative_to(ROOT)}::TestPosix::{name}" for name in LACKING]
    return windows.pytest(windows.path(KIT), "-m", "not slow", "-k", choice, *lacking, deadline=deadline)


def passed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tests passed; none may fail, and none be skipped but those that watch system calls."""
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    skipped = re.findall(r"^SKIPPED .*?: (.*)$", done.stdout, re.MULTILINE)
    assert set(skipped) <= {"the system calls of a write can be watched on Linux only"}
    return int(re.findall(r"(\d+) passed", done.stdout)[-1])


def test_the_kit_passes_on_windows_but_for_what_takes_many_processes(windows: WindowsPython) -> None:
    assert passed(run_kit(windows, f"not ({' or '.join(LONG)})", 900)) > 250


@pytest.mark.slow
def test_the_whole_kit_passes_on_windows(windows: WindowsPython) -> None:
    assert passed(run_kit(windows, "test", 1800)) > 270


@pytest.mark.slow
def test_what_wine_lacks_is_lacking_still(windows: WindowsPython) -> None:
    words = " or ".join(name.partition("[")[2].rstrip("]") or name for name in LACKING)
    replacing = windows.path(ROOT / "tests" / "windows" / "replacing_on_windows.py")
    done = windows.pytest(windows.path(KIT), replacing, "-m", "not slow", "-k", words, deadline=600)
    assert f"{len(LACKING)} failed" in done.stdout, "these are to leave the list"
