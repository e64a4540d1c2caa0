"""The command in a real terminal of 80 columns."""

from __future__ import annotations

import re
import signal
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from command_line import ANSWER, COMMAND, ENDPOINT, environment

pexpect = pytest.importorskip("pexpect", reason="install pexpect to run the command in a terminal")

if TYPE_CHECKING:
    from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _in_terminal(*arguments: str | Path) -> Any:
    return pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], *map(str, arguments)],
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
        env=environment(),
    )


def _ended(child: Any) -> tuple[int, str]:
    child.expect(pexpect.EOF)
    child.close()
    # 128 + n, as a shell would say it.
    return child.exitstatus if child.signalstatus is None else 128 + child.signalstatus, child.before


def _width(line: str) -> int:
    """How many columns a line takes: characters of eastern scripts take two."""
    marks = {"Mn", "Me", "Cf"}
    return sum(
        0 if unicodedata.category(character) in marks else 1 + (unicodedata.east_asian_width(character) in {"W", "F"})
        for character in line
    )


def _fits(text: str) -> bool:
    # The part of a line that a later one overwrites is a line of its own.
    return max(map(_width, re.split(r"[\r\n]+", _ESCAPES.sub("", text)))) <= 80


@pytest.mark.one_interpreter
def test_a_catalogue_fits_and_is_in_colour(tmp_path: Path) -> None:
    code, said = _ended(_in_terminal("catalogue", "publish", ANSWER, tmp_path / "c.json", "--endpoint", ENDPOINT))
    assert (code, "Published 500 projects" in said) == (0, True)
    code, said = _ended(_in_terminal("catalogue", "show", tmp_path / "c.json", "--endpoint", ENDPOINT))
    assert code == 0
    assert said.count("PROJ-") == 500
    assert "田中" in said
    assert "\x1b[" in said
    assert _fits(said)


@pytest.mark.one_interpreter
@pytest.mark.parametrize("command", [("plugins",), ("--help",)])
def test_what_is_printed_fits(command: tuple[str, ...]) -> None:
    code, said = _ended(_in_terminal(*command))
    assert code == 0
    assert _fits(said)


def test_an_error_wraps_between_words(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text('{"schema_version":"2.0"}')
    code, said = _ended(_in_terminal("equipment", "show", tmp_path / "e.json"))
    assert code == 4
    assert " ".join(said.split()).endswith("Use a program of the same major version; the document was left as it is.")
    assert "Traceback" not in said
    assert max(len(line) for line in said.splitlines() if str(tmp_path) not in line) <= 80


def test_an_answer_may_be_typed_in(tmp_path: Path) -> None:
    child = _in_terminal("catalogue", "publish", "-", tmp_path / "c.json", "--endpoint", ENDPOINT)
    child.expect_exact("end it with Ctrl-D.")
    child.sendline('{"data": []}')
    child.sendeof()
    code, said = _ended(child)
    assert (code, "Published 0 projects" in said) == (0, True)


@pytest.mark.one_interpreter
def test_the_demo_shows_that_it_is_at_work_and_fits() -> None:
    child = _in_terminal("demo", "--seconds", "1", "--writers", "2", "--readers", "1")
    child.expect_exact("2 writers and 1 reader at work")
    code, said = _ended(child)
    assert code == 0
    assert "Nothing was torn, and nothing was lost." in said
    assert _fits(said)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_demo_leaves_nothing_behind(tmp_path: Path, sign: signal.Signals) -> None:
    child = _in_terminal("demo", "--at", tmp_path, "--seconds", "60", "--writers", "2", "--readers", "1")
    child.expect_exact("at work")
    if sign is signal.SIGINT:
        child.sendintr()
    else:
        child.kill(sign)
    code, said = _ended(child)
    assert code == 128 + sign
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
