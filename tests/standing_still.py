"""Processes that stand still, as on a machine that hangs or sleeps."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["standing_still", "stands_still"]


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """Stops processes and all that they have started, and lets them go on afterwards.

    No thread of them runs any more when the block begins. kill(2) alone does not give that: it wakes one thread, which
    stops the others once it runs itself. Until then the others of a server answer, on a busy machine for a while.

    Args:
        pids: A process that is gone is left alone.
    """
    stopped: list[int] = []
    try:
        for pid in pids:
            _stop(pid, stopped)
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stop(pid: int, stopped: list[int]) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)
        eventually(lambda: stands_still(pid))
        # A process that stands still starts no further one.
        for child in _children(pid):
            _stop(child, stopped)


def stands_still(pid: int) -> bool:
    """Whether no thread of a process runs."""
    return all(_state(thread) in "TtZX" for thread in Path(f"/proc/{pid}/task").iterdir())


def _state(thread: Path) -> str:
    """A letter of proc(5)."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for thread in threads for word in (thread / "children").read_text().split()]
