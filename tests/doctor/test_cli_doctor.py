"""``exlab-store doctor``: what it prints, in a terminal and outside, the report, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from exlab_store.doctor.probes import OF_PLACES, PROBES

pytestmark = pytest.mark.one_interpreter

COMMAND = [sys.executable, "-m", "exlab_store.cli", "doctor"]
SHORT = ["--seconds", "0.05"]


def run_doctor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments), *SHORT], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_in_a_terminal_it_shows_how_far_it_is_and_fits_80_columns(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    store = tmp_path / "store"
    store.mkdir()
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], str(store), "--report", str(report), *SHORT],
        dimensions=(50, 80),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("/20")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before)
    assert "All is well: 20 probes passed" in said
    lines = re.split(r"[\r\n]+", said)
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(store.iterdir()) == []


def test_outside_a_terminal_the_answer_is_plain_and_nothing_else_is_said(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--only", "clock")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines()[2:])) <= 80
    assert "\nAll is well: 2 probes passed, and every claim that was tested held.\n" in done.stdout


def test_as_json_it_gives_findings_claims_and_latencies(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--only", "swap", "--json")
    answer = json.loads(done.stdout)
    assert answer.keys() == {"at", "host", "machines", "seconds", "sound", "counts", "places", "findings", "claims"}
    assert answer["counts"] == {"pass": 2, "warn": 0, "fail": 0, "not applicable": 0}
    [place] = answer["places"]
    assert place["location"] == f"file://{tmp_path}"
    assert place["remains"] is None
    assert {each["operation"] for each in place["latencies"]} == {"read", "write", "lock"}
    for each in place["latencies"]:
        assert 0 < each["median_ms"] <= each["p99_ms"]
    assert [each["probe"] for each in answer["findings"]] == ["reach", "swap"]
    seen = {each["guarantee"]: each["seen"] for each in answer["claims"]}
    assert (seen["conditional_write"], seen["lock_scope"]) == ("held", "not tested")


def test_a_probe_that_does_not_exist_is_wrong_usage_that_names_all(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--only", "sync")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no probe 'sync'" in done.stderr
    assert all(name in " ".join(done.stderr.split()) for name in PROBES)


def test_the_help_names_every_probe() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert all(re.search(rf"\b{name}\b", done.stdout) for name in PROBES if name != "same")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_page_about_the_doctor_has_every_probe_once() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "run-the-doctor.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == [probe.name for probe in OF_PLACES]


@pytest.mark.parametrize("name", ["nowhere/report.html", "."])
def test_a_report_that_cannot_be_written_is_said_before_the_work(tmp_path: Path, name: str) -> None:
    done = run_doctor(tmp_path, "--report", tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {tmp_path / name}: the report cannot be written")
    assert "Hint: " in done.stderr


def test_a_place_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    done = run_doctor(tmp_path / "nowhere", "--json", "--report", tmp_path / "report.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []
    assert json.loads(done.stderr)["error"]["code"] == "invalid_location"


@pytest.mark.slow
def test_several_places_that_are_one_by_relative_paths(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, ".", str(tmp_path), *SHORT, "--only", "lock"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"file://{tmp_path} and file://{tmp_path}" in said
    assert said.count(f"What file://{tmp_path} claims") == 2
