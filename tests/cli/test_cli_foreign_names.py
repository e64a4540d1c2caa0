"""What a file system may have, and no document format: names that are not UTF-8, times in no year of four digits."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from command_line import _run_here, refused

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="about what Linux keeps")


def done(*arguments: str | Path) -> str:
    """What the command prints when all is well; in this process, for there are many."""
    result = _run_here(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def done_json(*arguments: str | Path) -> Any:
    return json.loads(done(*arguments, "--json"))


@pytest.mark.parametrize("seconds", [253402300800, -62135596801, 2**40])
def test_stat_shows_a_time_of_no_year_with_four_digits_as_seconds(seconds: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "a.json"
        path.write_bytes(b"1")
        os.utime(path, (0, seconds))
        assert f"Modified: @{seconds}\n" in done("stat", path)
        assert done_json("stat", path) == {"location": path.as_uri(), "kind": "document", "size": 1}


def test_stat_shows_the_date_of_what_was_before_1970(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    os.utime(tmp_path / "a.json", (0, -1.5))
    assert "Modified: 1969-12-31T23:59:58.500Z\n" in done("stat", tmp_path / "a.json")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = tmp_path / os.fsdecode(b"m\xfcller")
    folder.mkdir()
    (folder / "a.json").write_bytes(b"1")
    return folder


@pytest.mark.parametrize("command", ["ls", "locks", "sweep", "stat", "migrate"])
def test_a_folder_whose_name_is_not_utf8_is_shown_as_its_url(foreign: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "to").mkdir()
    to = [tmp_path / "to"] if command == "migrate" else []
    at = foreign / "a.json" if command == "stat" else foreign
    assert "/m%FCller" in json.dumps(done_json(command, at, *to))


def test_what_is_missing_in_a_folder_whose_name_is_not_utf8_is_not_found(foreign: Path) -> None:
    envelope = json.loads(refused(3, "stat", "--json", foreign / "none.json"))
    assert envelope["error"]["code"] == "document_not_found"
    assert "/m%FCller" in envelope["error"]["message"]
    assert done("get", f"file://{foreign.parent}/m%FCller/a.json") == "1"
