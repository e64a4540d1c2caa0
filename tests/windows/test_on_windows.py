"""The tests of this folder that run in Windows, all in one interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest
from lacking_in_wine import LACKING
from test_kit_on_windows import passed
from windows_python import ROOT, WindowsPython

pytestmark = pytest.mark.one_interpreter

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in HERE.glob("*_on_windows.py") if not path.stem.startswith("test_"))


def run(windows: WindowsPython, which: str, deadline: float) -> int:
    lacking = [f"--deselect={HERE.relative_to(ROOT)}/{module}.py::{name}" for module in MODULES for name in LACKING]
    paths = [windows.path(HERE / f"{module}.py") for module in MODULES]
    return passed(windows.pytest(*paths, "-m", which, *lacking, "--durations=5", deadline=deadline))


def test_replacing_locks_paths_and_accounts_keep_their_promises_in_windows(windows: WindowsPython) -> None:
    assert run(windows, "not slow", 600) > 50


@pytest.mark.slow
def test_what_takes_long_does_too(windows: WindowsPython) -> None:
    assert run(windows, "slow", 1800) > 0
