"""A command that is given a password in a URL shows it neither in its output nor in a frame of an error."""

from __future__ import annotations

import io
import sys

import pytest
import typer
from frames_of_errors import failure_of, shown_by_frames
from vault import FAILURES, MARK, Vault, urls

from exlab_store.cli.app import app

pytestmark = pytest.mark.usefixtures("vault")

_COMMANDS = [
    ["get"],
    ["put", "-"],
    ["init"],
    ["ls"],
    ["stat"],
    ["rm"],
    ["rm", "-r"],
    ["watch", "--timeout=0"],
    ["locks"],
    ["sweep"],
    pytest.param(["doctor"], marks=pytest.mark.slow),
    pytest.param(["bench"], marks=pytest.mark.slow),
]


@pytest.mark.parametrize("number", [2, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", _COMMANDS, ids=lambda command: command[0])
def test_a_command_shows_no_password_of_its_location(
    command: list[str], number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_line = typer.main.get_command(app)
    shown: list[str] = []
    for seed, Vault.failing in enumerate(FAILURES):
        for url in urls(number, seed):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
            arguments = [command[0], url, *command[1:]]
            error = failure_of(lambda: command_line.main(arguments, standalone_mode=False))  # noqa: B023
            if error is not None:
                shown.append(shown_by_frames(error))
            shown += capsys.readouterr()
    assert any(shown)
    assert [line for text in shown for line in text.splitlines() if MARK in line] == []
