"""A durable write, as the system calls show it: what must have reached the disk before it is acknowledged.

A test cannot cut the power of the machine it runs on. It can watch the writer through strace and require what
a power cut would otherwise undo: the fsync of every file before it is renamed, of every directory after a name in it
is new, and of the directory above every directory that was made.
"""
# ruff: noqa: D102, S101  # the names of the tests are their statements

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exlab_store.testing.conformance.clientele import Clientele
from exlab_store.testing.conformance.clients import start_client

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from exlab_store.guarantees import Guarantees
    from exlab_store.testing.conformance.harness import Harness

__all__ = ["Durability", "Step", "steps_of", "what_a_power_cut_could_undo"]

_TRACED = (
    "write,pwrite64,writev,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
    "mkdir,mkdirat,openat"
)
_CALL = re.compile(r"(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(?P<number>\d+)<(?P<path>[^>]*)>")
_AT = re.compile(r"(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, ")
_ANSWER = ', "\\200\\'  # how a pickle begins

ACKNOWLEDGED = "acknowledged"


class Step(NamedTuple):
    """A system call that succeeded.

    Attributes:
        call: ``write``, ``fsync``, ``rename``, ``unlink``, ``mkdir``, ``create``, or `ACKNOWLEDGED`.
        path: The file or directory; for ``rename`` the old name.
        to: For ``rename`` the new name.
    """

    call: str
    path: str
    to: str = ""


def steps_of(trace: str) -> list[Step]:
    """What strace saw, as far as it matters for durability.

    Args:
        trace: Its output, with ``-y``.
    """
    steps: list[Step] = []
    for line in trace.splitlines():
        found = _CALL.match(line)
        if found is None or int(found["result"]) < 0:
            continue
        name, arguments = found["name"], found["arguments"]
        descriptor = _DESCRIPTOR.match(arguments)
        names = [
            text.encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
            for text in _QUOTED.findall(arguments)
        ]
        if name in {"write", "pwrite64", "writev"} and descriptor is not None:
            answer = descriptor["path"].startswith("pipe:") and _ANSWER in arguments
            steps.append(Step(ACKNOWLEDGED, "") if answer else Step("write", descriptor["path"]))
        elif name in {"fsync", "fdatasync"} and descriptor is not None:
            steps.append(Step("fsync", descriptor["path"]))
        elif name in {"rename", "renameat", "renameat2", "link", "linkat"}:
            steps.append(Step("rename", names[0], names[1]))
        elif name in {"unlink", "unlinkat"}:
            at = _AT.match(arguments)
            steps.append(Step("unlink", os.path.join(at["folder"], names[0]) if at is not None else names[0]))
        elif name in {"mkdir", "mkdirat"}:
            steps.append(Step("mkdir", names[0]))
        elif name == "openat" and "O_CREAT" in arguments:
            steps.append(Step("create", names[0]))
    return steps


def what_a_power_cut_could_undo(steps: list[Step], root: str, *, deletes: bool = False) -> list[str]:
    """What is missing before the last acknowledgement; empty if the change is durable.

    Args:
        steps: Of one client: its store is opened, which it acknowledges, then changes, each of which it acknowledges.
        root: The directory below which documents are kept.
        deletes: The last change is a deletion.
    """
    acknowledged = [place for place, step in enumerate(steps) if step.call == ACKNOWLEDGED]
    if len(acknowledged) < 2:
        return ["the change itself: it was not acknowledged"]
    begin = 0 if len(acknowledged) == 2 else acknowledged[-2]
    done = [step for step in steps[begin : acknowledged[-1]] if not _is_of_a_lock(step)]
    missing: list[str] = []
    synced = {place: step.path for place, step in enumerate(done) if step.call == "fsync"}

    def is_synced(path: str, after: int, before: int) -> bool:
        return any(after < place < before and each == path for place, each in synced.items())

    renamed = {step.path: place for place, step in enumerate(done) if step.call == "rename"}
    made = {step.to or step.path for step in done if step.call in {"create", "rename"}}
    for place, step in enumerate(done):
        later = done[place + 1 :]
        name = step.to or step.path
        if not _is_below(name, root):
            continue
        folder_is_synced = is_synced(os.path.dirname(name), place, len(done))
        if step.call == "write" and Step("write", step.path) not in later:
            if not is_synced(step.path, place, renamed.get(step.path, len(done))):
                missing.append("the fsync of the file after its last write and before its rename")
        elif step.call in {"rename", "mkdir", "create"} and not folder_is_synced:
            gone = step.call == "create" and (name in renamed or Step("unlink", name) in later)
            if not gone:
                missing.append(f"the fsync of the directory that holds the new {os.path.relpath(name, root)}")
        elif step.call == "unlink" and name not in made and not folder_is_synced:
            missing.append(f"the fsync of the directory that held {os.path.relpath(name, root)}")
    wanted = {"unlink", "rename", "write"} if deletes else {"write"}
    if not any(step.call in wanted and _is_below(step.path, root) for step in done):
        missing.append("a change of any file below local_root")
    return missing


def _is_of_a_lock(step: Step) -> bool:
    # A lock need not survive a power cut: its holder does not either.
    return (step.to or step.path).endswith(".lock")


def _is_below(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def _lacking(what: str) -> None:
    if os.environ.get("EXLAB_STORE_REQUIRE_ALL") == "1":
        pytest.fail(f"EXLAB_STORE_REQUIRE_ALL=1, and this machine lacks it: {what}")
    pytest.skip(what)


class Durability(Clientele):
    """``durable``, for a backend that keeps files and says where."""

    def test_a_durable_write_is_on_the_disk_when_it_is_acknowledged(
        self, harness: Harness, guarantees: Guarantees, tmp_path: Path
    ) -> None:
        if _can_be_watched(harness, guarantees):
            assert _undone(harness, tmp_path, "new/folders/document.json", "write") == []

    def test_a_durable_replacement_is_on_the_disk_when_it_is_acknowledged(
        self, harness: Harness, guarantees: Guarantees, tmp_path: Path
    ) -> None:
        if _can_be_watched(harness, guarantees):
            assert _undone(harness, tmp_path, "document.json", "write", "write") == []

    def test_a_durable_update_is_on_the_disk_when_it_is_acknowledged(
        self, harness: Harness, guarantees: Guarantees, tmp_path: Path
    ) -> None:
        if _can_be_watched(harness, guarantees) and guarantees.lock_scope != "none":
            assert _undone(harness, tmp_path, "document.json", "write", "update") == []

    def test_a_durable_deletion_is_on_the_disk_when_it_is_acknowledged(
        self, harness: Harness, guarantees: Guarantees, tmp_path: Path
    ) -> None:
        if _can_be_watched(harness, guarantees) and guarantees.deletes:
            assert _undone(harness, tmp_path, "document.json", "write", "delete") == []


def _can_be_watched(harness: Harness, guarantees: Guarantees) -> bool:
    return guarantees.durable and harness.local_root is not None and harness.location is not None


def _undone(harness: Harness, folder: Path, key: str, *changes: str) -> list[str]:
    """What a power cut could undo of the last of some changes, each of them made by a client and acknowledged."""
    steps = steps_of(_trace(harness, key, changes, folder / "conformance.strace"))
    return what_a_power_cut_could_undo(
        steps, os.path.realpath(str(harness.local_root)), deletes=changes[-1] == "delete"
    )


def _trace(harness: Harness, key: str, changes: Iterable[str], log: Path) -> str:
    if not sys.platform.startswith("linux"):
        _lacking("the system calls of a write can be watched on Linux only")
    strace = shutil.which("strace")
    if strace is None:
        _lacking("install strace to watch the system calls of a write: apt-get install strace")
        raise AssertionError
    if subprocess.run([strace, "-o", str(log), "true"], capture_output=True, check=False).returncode:  # noqa: S603
        _lacking("strace may not trace here: run the tests where ptrace is permitted")
    under = [strace, "-f", "-y", "-s", "400", "-o", str(log), "-e", f"trace={_TRACED}"]
    client = start_client(harness, under=under)
    try:
        for number, change in enumerate(changes):
            client.ask(change, key=key, **({} if change == "delete" else {"data": f"durable {number}".encode()}))
    finally:
        client.end()
    return log.read_text(encoding="utf-8", errors="surrogateescape")
