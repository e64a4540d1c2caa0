"""Tests of the core and of the documents that need no Unix, on CPython for Windows under wine."""

from __future__ import annotations

import pytest
from lacking_in_wine import TASKS
from test_kit_on_windows import passed
from windows_python import ROOT, WindowsPython

pytestmark = pytest.mark.one_interpreter

CHEAP = (
    *("core/test_keys", "core/test_updating", "core/test_new_folders"),
    *("documents/test_newer_minors", "documents/test_schema_versions"),
)
LONG = ("core/test_store", "documents/test_unknown_fields", "documents/test_equipment_cache_writer")


def run(windows: WindowsPython, modules: tuple[str, ...], deadline: float) -> int:
    paths = [windows.path(ROOT / "tests" / f"{module}.py") for module in modules]
    return passed(windows.pytest(*paths, "-k", f"not {TASKS}", deadline=deadline))


def test_stores_and_documents_do_the_same_in_windows(windows: WindowsPython) -> None:
    assert run(windows, CHEAP, 400) > 100


@pytest.mark.slow
def test_many_writers_of_documents_do_too(windows: WindowsPython) -> None:
    assert run(windows, LONG, 900) > 50
