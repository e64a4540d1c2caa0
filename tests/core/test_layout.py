"""What the design fixes about the tree, and what importing the package costs and brings in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import lacking

ROOT = Path(__file__).parents[2]


def _tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        lacking("run the tests in a git checkout to see which files are tracked")
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


def test_the_visible_top_level_is_exactly_the_six_entries() -> None:
    visible = {path.split("/")[0] for path in _tracked() if not path.startswith(".")}
    assert visible == {"pyproject.toml", "exlab_store", "plugins", "tests", "docs", "README.md"}


def test_the_packages_hold_code_and_no_data() -> None:
    shipped = [path for path in _tracked() if path.startswith(("exlab_store/", "plugins/"))]
    assert [path for path in shipped if not path.endswith((".py", "/py.typed"))] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = re.compile(r"(^|/)(utils?|helpers?|common|base|manager|misc)(\.py|/)")
    assert [path for path in _tracked() if empty.search(path)] == []


def _modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "absent",
    ["fsspec", "smbprotocol", "filelock", "exlab_store_posix", "exlab_store_memory", "typer", "rich"]
    + ["anyio", "asyncio", "stamina", "logging", "importlib.metadata", "urllib.parse", "pathlib", "tempfile"],
)
def test_importing_the_package_brings_in_nothing_that_it_does_not_need(absent: str) -> None:
    assert absent not in _modules_after("import exlab_store")


def test_opening_one_backend_imports_no_other() -> None:
    modules = _modules_after("import exlab_store; exlab_store.open_store('memory://')")
    assert "exlab_store_memory" in modules
    assert "exlab_store_posix" not in modules


def test_every_public_name_is_there() -> None:
    program = (
        "import exlab_store as e, exlab_store.documents as d\nfor m in (e, d):\n    [getattr(m, n) for n in m.__all__]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_and_the_posix_backend_import_where_linux_s_calls_are_missing() -> None:
    """Imports under the name of macOS, without the names of the standard library that it lacks."""
    lacking = "import fcntl; del fcntl.F_OFD_SETLK, fcntl.F_OFD_GETLK, fcntl.F_OFD_SETLKW; fcntl.F_FULLFSYNC = 51"
    # filelock asks for the platform itself, so it is imported as what it is here.
    program = (
        f"import filelock, anyio, platform, subprocess, random, sys; {lacking}; sys.platform = 'darwin'\n"
        "import exlab_store, exlab_store_posix, exlab_store.documents"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
