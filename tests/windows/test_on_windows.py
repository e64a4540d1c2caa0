"""The tests of this folder that run in Windows, each module in one interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest
from lacking_in_wine import LACKING
from test_kit_on_windows import passed
from windows_python import ROOT, WindowsPython

pytestmark = pytest.mark.one_interpreter

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in HERE.glob("*_on_windows.py") if not path.stem.startswith("test_"))


@pytest.mark.parametrize("module", MODULES)
def test_in_windows(windows: WindowsPython, module: str) -> None:
    path = HERE / f"{module}.py"
    lacking = [f"--deselect={path.relative_to(ROOT)}::{name}" for name in LACKING]
    assert passed(windows.pytest(windows.path(path), "-m", "not slow", *lacking, deadline=400)) > 0


@pytest.mark.slow
def test_what_takes_long_in_windows(windows: WindowsPython) -> None:
    assert passed(windows.pytest(*(windows.path(HERE / f"{each}.py") for each in MODULES), "-m", "slow", deadline=1800))
