"""``exlab-store equipment``, in a process of its own and outside a terminal."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from command_line import done, done_json, refused, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store

INSTRUMENT = ("--id", "CONFOCAL_01", "--label", "Confocal 1", "--local-root", "/data/lab", "--nas-root", "//nas01/lab")


def test_an_instrument_that_is_registered_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "CONFOCAL_01" / ".exlab-wizard" / "equipment.json"
    registered = done("equipment", "register", path, *INSTRUMENT)
    assert done("equipment", "show", path) == registered
    for text in ("CONFOCAL_01", "Confocal 1", "/data/lab", "//nas01/lab"):
        assert text in registered


def test_json_is_the_document(tmp_path: Path) -> None:
    registered = done_json("equipment", "register", "e.json", *INSTRUMENT, cwd=tmp_path)
    assert registered == done_json("equipment", "show", "e.json", cwd=tmp_path)
    assert registered == json.loads((tmp_path / "e.json").read_bytes())
    assert registered["first_seen_at"] == registered["last_modified_at"]


def test_registering_again_keeps_unknown_fields(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    done("equipment", "register", path, *INSTRUMENT)
    stored = json.loads(path.read_bytes())
    path.write_text(json.dumps(stored | {"first_seen_at": "2020-01-01T00:00:00Z", "newer": {"a": 1}}))
    done("equipment", "register", path, *INSTRUMENT)
    assert json.loads(path.read_bytes()).items() >= {"first_seen_at": "2020-01-01T00:00:00Z", "newer": {"a": 1}}.items()


def test_a_label_cannot_drive_the_terminal(tmp_path: Path) -> None:
    done("equipment", "register", tmp_path / "e.json", *INSTRUMENT, "--label", "[blink]\x1b]0;x\x07\nA")
    assert "[blink]\\x1b]0;x\\x07 A" in done("equipment", "show", tmp_path / "e.json")


def test_a_missing_document_is_not_found(tmp_path: Path) -> None:
    assert "there is no such document" in refused(3, "equipment", "show", tmp_path / "e.json")


def test_another_major_version_is_a_conflict_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text('{"schema_version":"2.0"}')
    for command in (("show", path), ("register", path, *INSTRUMENT)):
        assert "schema_version is '2.0'" in refused(4, "equipment", *command)
    assert path.read_text() == '{"schema_version":"2.0"}'
    error = json.loads(refused(4, "equipment", "show", path, "--json"))["error"]
    assert (error["code"], error["details"]) == ("schema_major_mismatch", {"expected_major": 1, "found": "2.0"})


def test_a_corrupt_document_is_kept_aside_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_bytes(b"{half")
    assert "is not valid" in refused(1, "equipment", "show", path)
    result = run_command("equipment", "register", path, *INSTRUMENT)
    assert result.returncode == 0
    assert result.stderr.startswith("Warning: kept the corrupt document ")
    assert [copy.read_bytes() for copy in tmp_path.glob("e.json.corrupt-*")] == [b"{half"]


def test_a_document_that_is_locked_says_by_whom(tmp_path: Path, posix: Store) -> None:
    with posix.lock("e.json", purpose="a long re-sync"):
        said = refused(
            5, "equipment", "register", tmp_path / "e.json", *INSTRUMENT, "--lock-timeout", "0.05", process=True
        )
    assert f"on {socket.gethostname()}" in said
    assert "'a long re-sync'" in said
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", "the location is empty"),
        ("folder", "names a folder"),
        ("x.lock", "a name that stores keep for themselves"),
        ("ftp://nas01/lab/e.json", "no installed backend serves 'ftp'"),
        ("file:e.json", "the URL's path is relative"),
        ("@lab/e.json", "there is no configuration of stores"),
    ],
)
def test_a_location_that_cannot_be_used_is_wrong_usage(tmp_path: Path, location: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    said = refused(2, "equipment", "show", location, cwd=tmp_path)
    assert message in said
    assert "\nHint: " in said


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="typer parses with pydantic, whose core Python 3.13 cannot import in such a place",
)
def test_a_working_directory_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    # Only a shell can get there: Python refuses to start a process in a directory that does not exist.
    program = (
        "import os, sys; os.rmdir(os.getcwd()); sys.argv[1:] = ['equipment', 'show', 'e.json'];"
        "from exlab_store.cli import main; main()"
    )
    result = _python(program, gone)
    assert result == (2, "Error: e.json: the path is relative, and the working directory is gone.")


def _python(program: str, cwd: Path) -> tuple[int, str]:
    import subprocess
    import sys

    result = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stderr.split("\n")[0]
