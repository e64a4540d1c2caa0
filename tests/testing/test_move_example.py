"""The application of the page "Move an application" does the same before and after."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_interpreter

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "run-register"
TESTS = EXAMPLE / "tests" / "test_run_register.py"


@pytest.mark.parametrize("state", ["before", "after"])
def test_the_application_s_tests_pass(state: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    path = [str(EXAMPLE / state), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(TESTS)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout


def test_a_document_of_before_is_one_without_a_version_and_the_page_says_what_to_do() -> None:
    page = (EXAMPLE.parents[1] / "how-to" / "move-an-application.md").read_text(encoding="utf-8")
    assert "SchemaVersionMissing" in page
