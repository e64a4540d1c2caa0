"""An application that PyInstaller builds, run as its users would: without any Python beside it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import lacking

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.one_interpreter

APPLICATION = """
import sys
from exlab_store import NotSupported, open_store
from exlab_store.doctor import examine
from exlab_store.documents import OfflineCatalogue, read_catalogue, write_catalogue

document = sys.argv[1] + "/catalogue.json"
write_catalogue(document, OfflineCatalogue("1.0", "A", "2026-05-05T14:23:00Z", "https://lims", []))
print(read_catalogue(document, expected_endpoint="https://lims").produced_by)
print(open_store(sys.argv[1]).guarantees.lock_scope)
try:
    examine([sys.argv[1]])
except NotSupported as error:
    print(error)
"""

# Tools of this environment, which an application's has not: hooks of theirs take most of a minute.
TOOLS = ("sphinx", "docutils", "babel", "jinja2", "pytest", "_pytest", "hypothesis", "mypy", "setuptools", "trio")


@pytest.mark.parametrize("kind", ["--onedir", pytest.param("--onefile", marks=pytest.mark.slow)])
def test_a_frozen_application_finds_its_backends_and_does_not_start_itself(tmp_path: Path, kind: str) -> None:
    if importlib.util.find_spec("PyInstaller") is None:
        lacking("install PyInstaller to build a frozen application: pip install pyinstaller")
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / "lab").mkdir()
    without = [f"--exclude-module={tool}" for tool in TOOLS]
    build = [sys.executable, "-m", "PyInstaller", kind, "--noconfirm", "--log-level", "ERROR", *without, "app.py"]
    made = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    program = tmp_path / "dist" / ("app/app" if kind == "--onedir" else "app")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(
        [program, tmp_path / "lab"], env=clean, capture_output=True, text=True, timeout=120, check=False
    )
    first, second, third = result.stdout.splitlines()
    assert (first, second) == ("A", "host"), result.stderr
    assert "a frozen application has no Python to start" in third
