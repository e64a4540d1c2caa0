"""What a program asks of the operating system, as strace sees it, and what is missing for a durable write."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conftest import lacking
from traced_lines import whole_calls

if TYPE_CHECKING:
    from pathlib import Path

_CALLS = "fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,write,pwrite64"
_LINE = re.compile(r"(?:\d+\s+)?(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(?P<number>\d+)<(?P<path>[^>]*)>")

ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True)
class Call:
    """One system call that succeeded: its name and the paths, or for a write the path, that it is about."""

    name: str
    paths: tuple[str, ...]


def calls_of(script: str, *arguments: str, log: Path) -> list[Call]:
    """Runs a Python script that prints `acknowledged` after each write that it was told had succeeded."""
    strace = shutil.which("strace")
    if strace is None:
        lacking("install strace to watch the system calls of a write: apt-get install strace")
        raise AssertionError
    if subprocess.run([strace, "-o", str(log), "true"], capture_output=True, check=False).returncode:
        lacking("strace may not trace here: run the tests where ptrace is permitted")
    command = [strace, "-f", "-y", "-s", "200", "-o", str(log), "-e", f"trace={_CALLS}"]
    subprocess.run([*command, sys.executable, "-c", script, *arguments], check=True, stdout=subprocess.DEVNULL)
    found = []
    for line in whole_calls(log.read_text().splitlines()):
        call = _LINE.match(line)
        if call is None or int(call["result"]) < 0:
            continue
        name, rest = call["name"], call["arguments"]
        descriptor = _DESCRIPTOR.match(rest)
        if name in {"write", "pwrite64"}:
            if descriptor is not None and descriptor["number"] == "1" and ACKNOWLEDGED in rest:
                found.append(Call(ACKNOWLEDGED, ()))
            elif descriptor is not None:
                found.append(Call("write", (descriptor["path"],)))
        elif name in {"fsync", "fdatasync"}:
            assert descriptor is not None
            found.append(Call("fsync", (descriptor["path"],)))
        else:
            found.append(Call(re.sub(r"at2?$", "", name), tuple(_QUOTED.findall(rest))))
    return found


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def missing_for_durability(calls: list[Call], target: str) -> list[str]:
    """What a power cut could undo of the acknowledged writes of a target; empty if nothing."""
    missing: list[str] = []
    for place, call in enumerate(calls):
        if call.name != ACKNOWLEDGED:
            continue
        before = calls[:place]
        renames = [number for number, was in enumerate(before) if was.name == "rename" and was.paths[1] == target]
        since = max((number for number, was in enumerate(before) if was.name == ACKNOWLEDGED), default=-1)
        if not renames or renames[-1] < since:
            missing.append("the rename over the target")
            continue
        renamed = renames[-1]
        temporary = before[renamed].paths[0]
        last_write = max(number for number, was in enumerate(before) if was == Call("write", (temporary,)))
        if Call("fsync", (temporary,)) not in before[last_write:renamed]:
            missing.append("the fsync of the file between its last write and the rename")
        if Call("fsync", (folder_of(target),)) not in before[renamed:]:
            missing.append("the fsync of the directory after the rename")
        for number, was in enumerate(before):
            if was.name == "mkdir" and Call("fsync", (folder_of(was.paths[0]),)) not in before[number:]:
                missing.append(f"the fsync of the directory that holds the new {was.paths[0]}")
    return missing
