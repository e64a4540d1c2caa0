"""The hook for PyInstaller, beside distributions that PyInstaller cannot find by their names."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import lacking

pytestmark = pytest.mark.one_interpreter

HOOK = Path(__file__).parents[2] / "exlab_store" / "frozen" / "hooks" / "hook-exlab_store.py"

# Which modules a package has is PyInstaller's work, and takes it a process for each package.
PROGRAM = f"""
import runpy
from PyInstaller.utils import hooks
hooks.collect_submodules = lambda package, **_: [package]
run = runpy.run_path({str(HOOK)!r})
print(*sorted({{target for _, target in run["datas"]}}))
print(*sorted(set(run["hiddenimports"])))
"""


def test_a_distribution_that_pyinstaller_does_not_find_by_its_name_breaks_no_build(tmp_path: Path) -> None:
    if importlib.util.find_spec("PyInstaller") is None:
        lacking("install PyInstaller to build a frozen application: pip install pyinstaller")
    for name in ("foreign", "renamed"):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "entry_points.txt").write_text(f"[exlab_store.backends]\n{name} = {name}_toy:open_backend\n")
        (tmp_path / f"{name}_toy.py").touch()
    (tmp_path / "renamed-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    metadata, modules = (line.split() for line in result.stdout.splitlines())
    assert [each for each in metadata if not each.startswith("exlab_store-")] == ["foreign-1.0.dist-info"]
    assert {"exlab_store_posix", "foreign_toy"} <= set(modules)
