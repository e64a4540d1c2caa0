"""What strace wrote of a program with several threads, one whole system call a line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UNFINISHED = re.compile(r"(?P<thread>\d+) +(?P<begin>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. \w+ resumed>(?P<end>.*)$")


def whole_calls(lines: Iterable[str]) -> Iterator[str]:
    """The lines of `strace -f -o FILE`, where a call that another thread interrupted stands in two halves.

    A call is given where it ended: what was asked for counts once the system has answered.
    """
    begun: dict[str, str] = {}
    for line in lines:
        if found := _UNFINISHED.match(line):
            begun[found["thread"]] = f"{found['thread']} {found['begin']}"
        elif (found := _RESUMED.match(line)) and found["thread"] in begun:
            yield begun.pop(found["thread"]) + found["end"]
        else:
            yield line
