"""The benchmarks run, with whatever peers are installed, and what they write can be read. Nothing is judged here."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import lacking

HERE = Path(__file__).parent
BRIEFLY = ("--seconds", "0.02")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there are no bare system calls to compare with"),
    pytest.mark.one_interpreter,
]


def _run(program: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_comparison_runs_and_says_who_is_left_out_and_whose_writes_survive(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        lacking("install strace to see which writes survive a power cut: apt-get install strace")
    sections = [
        word for name in ("evidence", "writes", "alone", "reads", "locks", "updates") for word in ("--only", name)
    ]
    said = _run("peers.py", *BRIEFLY, *sections, "--page", tmp_path / "docs", "--save", tmp_path / "r.json", tmp_path)
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "left out, as atomicwrites is not installed" in " ".join(page.split()) or "| atomicwrites |" in page
    row = next(line for line in page.splitlines() if line.startswith("| **exlab_store** | "))
    assert "| 0 of " in row
    assert "| **no** |" in next(line for line in page.splitlines() if line.startswith("| open().write() |"))
    assert "| durable write, 2 KiB, the two in turns | at most 1.05 x raw |" in said
    assert str(tmp_path) not in page
    assert not re.search(rf"\b{re.escape(platform.node())}\b", page)
    charts = sorted((tmp_path / "docs" / "benchmarks").iterdir())
    assert [chart.name for chart in charts] == ["write-1-mib.svg", "write-2-kib.svg"]
    for chart in charts:
        assert ET.parse(chart).getroot().tag.endswith("svg")
        assert f"](benchmarks/{chart.name})" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "r.json"]
    assert _run("peers.py", "--load", tmp_path / "r.json") == said


def test_a_crowd_takes_turns(tmp_path: Path) -> None:
    program = (
        "import sys, lockers; names = (lockers.OURS, lockers.FLOCK)\n"
        "found = lockers.crowds(sys.argv[1], 2, hold=0, think=0, seconds=0.02, rounds=1, only=names)\n"
        "assert all(crowd.per_second > 0 and crowd.fairness >= 0.5 for crowd in found.values()), found"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=HERE)


@pytest.mark.slow
def test_every_section_of_the_comparison_runs(tmp_path: Path) -> None:
    said = _run("peers.py", *BRIEFLY, tmp_path)
    assert "| SMB, write, 10 ms, as fast | at least 5 x fsspec |" in said
    assert "## Import" in said


@pytest.mark.slow
def test_the_limits_are_judged(tmp_path: Path) -> None:
    assert "limits kept" in _run("run.py", tmp_path)
