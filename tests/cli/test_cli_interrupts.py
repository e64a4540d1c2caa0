"""Ctrl-C while a command ends: the process ends at once, and Python says nothing of it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from command_line import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals end no process in order there")

# `bench` is interrupted at once. Then Ctrl-C comes as typer ends, or when Python code sees the last of the process.
PROGRAM = """
import atexit, signal, sys
from exlab_store.cli import bench, main

def interrupted(*_, **__):
    raise KeyboardInterrupt

returns = []

def interrupt(frame, event, _):
    if event == "return" and frame.f_code.co_name == "answering":
        returns.append(event)
        if len(returns) < 2:
            return  # it yields
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)

handled, when = sys.argv[-2:]
del sys.argv[-2:]
signal.signal(signal.SIGINT, signal.default_int_handler if handled == "heard" else signal.SIG_IGN)
if when == "soon":
    sys.setprofile(interrupt)
else:
    atexit.register(signal.raise_signal, signal.SIGINT)
bench.measure = interrupted
main()
"""


def ended(*arguments: str) -> tuple[int, bytes]:
    """How a command ends to which Ctrl-C comes at its end, and what it says on standard error."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(), timeout=60)
    return ran.returncode, ran.stderr


def test_a_second_interrupt_while_typer_ends_changes_nothing() -> None:
    assert ended("bench", ".", "heard", "soon") == (130, b"")


def test_a_second_interrupt_ends_an_interrupted_command_without_a_word() -> None:
    assert ended("bench", ".", "heard", "at exit") == (-signal.SIGINT, b"")


def test_an_interrupt_ends_a_command_that_is_done_without_a_word() -> None:
    assert ended("plugins", "heard", "at exit") == (-signal.SIGINT, b"")


def test_an_interrupt_that_is_ignored_stays_so_at_the_end() -> None:
    assert ended("plugins", "ignored", "at exit") == (0, b"")
