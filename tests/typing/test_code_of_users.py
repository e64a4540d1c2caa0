"""The types that a user's code is checked against: what is right passes both checkers, what is wrong passes neither."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import lacking

pytestmark = pytest.mark.one_interpreter

ROOT = Path(__file__).parents[2]
FILES = sorted(Path(__file__).parent.glob("code_*.py"))


def _printed(*command: str) -> str:
    program = Path(sys.executable).with_name(command[0])
    if not program.exists():
        lacking(f"install {command[0]}, as tests/run.py does")
    result = subprocess.run(
        [str(program), *command[1:], *map(str, FILES)], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert result.returncode in {0, 1}, result.stderr
    return result.stdout


@cache
def _by_mypy() -> set[tuple[str, int]]:
    printed = _printed("mypy", "--no-pretty", "--no-error-summary", "--hide-error-context")
    return {(Path(file).name, int(line)) for file, line in re.findall(r"^(.+?):(\d+): error:", printed, re.MULTILINE)}


@cache
def _by_pyright() -> set[tuple[str, int]]:
    found = json.loads(_printed("pyright", "--pythonpath", sys.executable, "--outputjson"))["generalDiagnostics"]
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in found if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [_by_mypy, _by_pyright], ids=["mypy", "pyright"])
def test_the_lines_that_are_wrong_are_refused_and_no_others(checker: object) -> None:
    marked = {
        (file.name, number)
        for file in FILES
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if "  # refused" in line
    }
    assert callable(checker)
    assert checker() == marked
