"""``exlab-store doctor --invite`` and ``--join``: two commands, each in a terminal of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from other_machine import COMMAND, OTHER, Joining, on_another_machine

from exlab_store.doctor.machines.codes import new_code
from exlab_store.doctor.machines.names import machine

pytestmark = pytest.mark.one_interpreter

_CODE = r"--join ([0-9A-Z]{4}(?:-[0-9A-Z]{4}){3})"
Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Runs a command in a terminal of 80 columns."""
    opened: list[pexpect.spawn[str]] = []

    def run(command: list[str]) -> pexpect.spawn[str]:
        # A test run in the background of a shell ignores SIGINT, and what it starts would ignore it too.
        child = pexpect.spawn(
            command[0],
            command[1:],
            dimensions=(50, 80),
            encoding="utf-8",
            timeout=90,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        opened.append(child)
        return child

    yield run
    for child in opened:
        child.close(force=True)


def _plain(said: str | None) -> str:
    assert said is not None
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).split())


def _invited(child: pexpect.spawn[str]) -> str:
    child.expect(_CODE)
    assert child.match is not None
    return str(child.match[1])


def _ended(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    child.expect(pexpect.EOF)
    said = _plain(child.before)
    child.close()
    return child.exitstatus, said


def test_two_terminals_examine_one_place(place: Path, tmp_path: Path, terminal: Terminal) -> None:
    report = tmp_path / "report.html"
    short = ["--seconds", "0.05", "--only", "crash", "--report", str(report)]
    one = terminal([*COMMAND, str(place), "--invite", *short])
    one.expect_exact("On the other machine, run this within 600 s")
    code = _invited(one)
    other = terminal(on_another_machine([*COMMAND, str(place), "--join", code.lower()]))
    status, said = _ended(other)
    assert status == 0
    assert f"Took part in the examination of file://{place} that {machine()} has made" in said
    status, said = _ended(one)
    assert status == 0
    assert f"file://{place} on {machine()} and file://{place} on {OTHER}" in said
    assert "crash (two machines)" in said
    assert f"Shown between {machine()} and {OTHER}: The holder of a lock is killed." in said
    page = report.read_text(encoding="utf-8")
    assert f"From {machine()} and {OTHER}, " in page
    assert "crash (two machines)" in page
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("who", ["the one that examines", "the other one"])
def test_ctrl_c_in_either_terminal_ends_both(place: Path, terminal: Terminal, who: str) -> None:
    one = terminal([*COMMAND, str(place), "--invite", "--seconds", "2", "--only", "replace"])
    other = terminal(on_another_machine([*COMMAND, str(place), "--join", _invited(one)]))
    other.expect_exact(" sealed")
    struck, told, name = (one, other, machine()) if who == "the one that examines" else (other, one, OTHER)
    struck.sendintr()
    assert _ended(struck)[0] == 130
    status, said = _ended(told)
    assert status == 1
    assert f"Error: the examination was ended on {name}: it was interrupted." in said
    assert list(place.iterdir()) == []


def test_a_machine_that_does_not_come_is_exit_code_6_and_leaves_nothing(place: Path) -> None:
    command = [*COMMAND, str(place), "--invite", "--wait", "1", "--seconds", "0.05", "--only", "crash"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (6, "")
    assert "Error: no other machine has joined within 1 s.\nHint: " in done.stderr
    assert list(place.iterdir()) == []


def test_as_json_the_invitation_is_a_line_and_the_answer_names_the_machines(place: Path) -> None:
    command = [*COMMAND, str(place), "--invite", "--seconds", "0.05", "--only", "crash", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        assert one.stderr is not None
        invitation = json.loads(one.stderr.readline())["invitation"]
        assert (invitation["location"], invitation["wait"]) == (str(place), 600.0)
        other = Joining(place, "--json")
        other(invitation["code"])
        said, complained = one.communicate(timeout=120)
    assert (one.returncode, complained) == (0, "")
    answer = json.loads(said)
    assert answer["machines"] == [machine(), OTHER]
    assert [each["machine"] for each in answer["places"]] == [machine(), OTHER]
    claims = [each for each in answer["claims"] if each["guarantee"] == "lock_release"]
    assert [each["between_machines"] for each in claims] == [["crash"], ["crash"]]
    part = json.loads(other.ended()[1])
    assert (part["machine"], part["other"], part["location"]) == (OTHER, machine(), f"file://{place}")


def test_a_code_that_is_not_of_an_examination_here_is_exit_code_3(place: Path) -> None:
    command = [*COMMAND, str(place), "--join", new_code().text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no examination with this code is under way here" in done.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--join", "7KQF-2MXD-9TRA-H4WX"], "it is mistyped"),
        (["--join", new_code().text, "--invite"], "--join stands alone"),
        (["--join", new_code().text, "--only", "lock"], "--join stands alone"),
        (["/data/lab", "--invite"], "two machines examine one location"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(place: Path, options: list[str], words: str) -> None:
    done = subprocess.run([*COMMAND, str(place), *options], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())
