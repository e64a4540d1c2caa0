"""The example of a third party's backend, built, installed beside the wheel, and tested by its own tests.

Nothing of the checkout takes part but pytest's environment: both distributions are imported from where they were
installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_interpreter

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "exlab-store-sqlite"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "how-to" / "write-a-backend.md").read_text(encoding="utf-8")

_PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
_OFFLINE = ["--no-deps", "--no-index"]


def _called(command: list[str], site: Path | None = None, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PIP_"))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"} | ({"PYTHONPATH": str(site)} if site else {})
    done = subprocess.run(
        command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheels of the package and of the example are installed, and nothing else."""
    wheels = tmp_path_factory.mktemp("wheels")
    site = tmp_path_factory.mktemp("site")
    for project in (ROOT, EXAMPLE):
        _called([*_PIP, "wheel", *_OFFLINE, "--no-build-isolation", "--wheel-dir", str(wheels), str(project)])
    built = sorted(wheels.glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in built] == ["exlab_store", "exlab_store_sqlite"]
    _called([*_PIP, "install", *_OFFLINE, "--target", str(site), *map(str, built)])
    return site


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """The tests of the example and what configures them, away from the package that they test."""
    directory = tmp_path / "example"
    shutil.copytree(EXAMPLE / "tests", directory / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLE / "pyproject.toml", directory)
    return directory


def test_both_distributions_are_imported_from_where_they_were_installed(site: Path, tests: Path) -> None:
    program = "import exlab_store, exlab_store_sqlite as example; print(exlab_store.__file__, example.__file__)"
    for imported in _called([sys.executable, "-c", program], site, tests).split():
        assert Path(imported).is_relative_to(site)


def test_the_wheel_of_the_example_has_all_that_its_package_has(site: Path) -> None:
    def files(package: Path) -> set[str]:
        return {path.name for path in package.iterdir() if path.name != "__pycache__"}

    assert files(site / "exlab_store_sqlite") == files(EXAMPLE / "exlab_store_sqlite")


def test_the_example_passes_its_own_tests_and_the_kit(site: Path, tests: Path) -> None:
    own = ["--basetemp", str(tests / "temporary")]  # what pytests share, they clear away at the same time
    report = _called([sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *own], site, tests)
    assert re.fullmatch(r"\d+ passed in .*", report.splitlines()[-1]), report
    assert int(report.splitlines()[-1].split()[0]) > 100


def test_the_snippet_of_the_readme_makes_a_document(site: Path, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    _called([sys.executable, "-c", snippet.replace("/data/lab.db", f"{tmp_path}/lab.db")], site, tmp_path)
    listing = f"from exlab_store import open_store; print(open_store('sqlite://{tmp_path}/lab.db').list_keys())"
    assert _called([sys.executable, "-c", listing], site, tmp_path) == "['CONFOCAL_01/equipment.json']\n"


def test_the_commands_of_the_readme_are_those_that_ran_here() -> None:
    # But for the options that keep pip from asking for what is installed already.
    commands = re.findall(r"^\$ (.*)$", README, re.MULTILINE)
    assert commands == ["python -m pip install .", 'python -m pip install ".[test]"', "pytest"]
    assert "$ cd exlab-store-sqlite && pytest" in PAGE


@pytest.mark.parametrize("guarantee", ["atomic_replace", "durable", "conditional_write", "lock_scope", "lock_release"])
def test_the_readme_says_what_the_backend_guarantees(site: Path, guarantee: str) -> None:
    program = f"from exlab_store_sqlite import SqliteBackend; print(SqliteBackend.guarantees.{guarantee})"
    value = _called([sys.executable, "-c", program], site).strip().replace("True", "yes")
    assert re.search(rf"^\| `{guarantee}` \| {value}\b", README, re.MULTILINE)
