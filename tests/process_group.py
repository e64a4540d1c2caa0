"""The processes of a process group: a program that a test has started, with all that this one has started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal


def signal_group(group: int, number: signal.Signals) -> None:
    """Sends a signal to each process of a group that still exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def members(group: int) -> list[int]:
    """The processes of a process group that still run; one that waits to be reaped does not."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            # The name of the program, in parentheses, may hold anything.
            state, _parent, owner = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(owner) == group and state not in "ZX":
            found.append(int(name))
    return sorted(found)
