"""Ctrl-C while a command ends: the process ends at once, and Python says nothing of it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from command_line import environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals end no process in order there")

# The last that Python code sees of a process, so Ctrl-C comes as late as it can.
AT_THE_END = """
import atexit, signal, sys
from exlab_store.cli import bench, main

def interrupted(*_, **__):
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, signal.default_int_handler if sys.argv.pop() == "heard" else signal.SIG_IGN)
atexit.register(signal.raise_signal, signal.SIGINT)
bench.measure = interrupted
main()
"""


def ended(*arguments: str) -> tuple[int, bytes]:
    """How a command ends to which Ctrl-C comes at its end, and what it says on standard error."""
    command = [sys.executable, "-c", AT_THE_END, *arguments]
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(), timeout=60)
    return ran.returncode, ran.stderr


def test_a_second_interrupt_ends_an_interrupted_command_without_a_word() -> None:
    assert ended("bench", ".", "heard") == (-signal.SIGINT, b"")


def test_an_interrupt_ends_a_command_that_is_done_without_a_word() -> None:
    assert ended("plugins", "heard") == (-signal.SIGINT, b"")


def test_an_interrupt_that_is_ignored_stays_so_at_the_end() -> None:
    assert ended("plugins", "ignored") == (0, b"")
