"""What an acknowledged write owes to POSIX alone, whatever the file system adds of its own goodwill."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import lacking
from crash_programs import OLD

from exlab_store.testing.crash import CannotTest, Program, Stage, not_promised

FILE = Path(__file__).with_name("crash_programs.py")


def _owed(tmp_path: Path, operation: str) -> list[str]:
    (tmp_path / "a.json").write_bytes(OLD)
    try:
        with Stage(Program(FILE, operation)) as stage:
            return not_promised(stage.calls(tmp_path), tmp_path)
    except CannotTest as reason:
        lacking(str(reason))
        raise


@pytest.mark.parametrize("operation", ["update", "atomic_write", "first_write", "first_update", "delete"])
def test_an_acknowledged_operation_counts_on_no_goodwill(tmp_path: Path, operation: str) -> None:
    assert _owed(tmp_path, operation) == []


@pytest.mark.parametrize(
    ("operation", "owed"),
    [
        (
            "first_write_without_the_new_directories_fsync",
            ["name of lab", "name of lab/rack", "name of lab/rack/shelf"],
        ),
        ("write_without_the_directory_s_fsync", ["name of a.json"]),
        ("write_without_the_file_s_fsync", ["data of a.json"]),
        ("delete_without_the_directory_s_fsync", ["name of a.json"]),
    ],
)
def test_a_writer_that_counts_on_goodwill_is_found_out(tmp_path: Path, operation: str, owed: list[str]) -> None:
    assert _owed(tmp_path, operation) == owed
