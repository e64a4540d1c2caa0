"""The names that POSIX alone promises after a power cut, by the system calls of an operation.

Most file systems keep more than they have to: in a journal, the fsync of one file brings along whatever came
before it, new directories too. A program that relies on that passes a replay of power cuts on those file systems and
loses documents on others. So the calls are held against the words of the standard: a name is durable when its
directory was synchronised after the name was made, and data when its file was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from exlab_store.testing.crash.system_calls import Call

__all__ = ["not_promised"]

_PATH = r'(?:(?:AT_FDCWD|\d+)<(?P<{0}_at>[^>]*)>, )?"(?P<{0}>[^"]*)"'
_ONE = re.compile(r"\w+\(" + _PATH.format("first"))
_TWO = re.compile(r"\w+\(" + _PATH.format("first") + ", " + _PATH.format("second"))
_DESCRIPTOR = re.compile(r"\w+\(\d+<(?P<path>[^>]*)>")


def not_promised(calls: Iterable[Call], place: Path) -> list[str]:
    """What an operation leaves to the file system's goodwill when it returns.

    Args:
        calls: Of ``Stage.calls``.
        place: The directory the operation works in; what is outside does not count.

    Returns:
        ``name of lab/a.json``, ``data of lab/a.json``, relative to the place and in order; empty for a durable
        operation. Files whose name ends in ``.lock`` are left out: they need not survive.
    """
    names: set[str] = set()
    data: set[str] = set()
    for call in calls:
        if re.search(r" = -1 \w+", call.text):
            continue
        if call.name in {"fsync", "fdatasync"} and (match := _DESCRIPTOR.match(call.text)):
            synced = match["path"]
            data.discard(synced)
            names -= {name for name in names if name.rpartition("/")[0] == synced}
        elif call.name in {"write", "pwrite64", "writev", "ftruncate"} and (match := _DESCRIPTOR.match(call.text)):
            data.add(match["path"])
        elif call.name in {"mkdir", "mkdirat"} or (call.name in {"open", "openat"} and "O_CREAT" in call.text):
            if match := _ONE.match(call.text):
                names.add(_absolute(match["first_at"], match["first"]))
        elif call.name in {"unlink", "unlinkat", "rmdir"} and (match := _ONE.match(call.text)):
            names.add(_absolute(match["first_at"], match["first"]))
        elif call.name in {"rename", "renameat", "renameat2"} and (match := _TWO.match(call.text)):
            old = _absolute(match["first_at"], match["first"])
            new = _absolute(match["second_at"], match["second"])
            names.add(new)
            names.discard(old)  # that a temporary name may come back harms nobody
            if old in data:
                data.remove(old)
                data.add(new)
    inside = f"{place}/"
    found = [("name", name) for name in sorted(names)] + [("data", name) for name in sorted(data)]
    return [
        f"{what} of {path.removeprefix(inside)}"
        for what, path in found
        if path.startswith(inside) and not path.endswith(".lock")
    ]


def _absolute(directory: str | None, path: str) -> str:
    return path if path.startswith("/") or directory is None else f"{directory}/{path}"
