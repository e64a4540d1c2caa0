"""How the tests run the command: as a process of its own, as a shell would."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store.cli import main
from exlab_store.documents import OfflineCatalogue, now, projects_from_lims, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "exlab_store.cli"]
FAULTY = Path(__file__).parent / "faulty"
ANSWER = Path(__file__).parents[1] / "documents" / "lims_projects.json"
ENDPOINT = "https://lims.lab.example/api/v1"


def environment(*, with_faulty: bool = False, **extra: str) -> dict[str, str]:
    """A plain environment, with the faulty backends installed or not."""
    dropped = {"COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    path = {"PYTHONPATH": str(FAULTY)} if with_faulty else {}
    return kept | {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"} | path | extra


def published(path: Path, answer: bytes | None = None) -> Path:
    """A catalogue that is there already: without a process, for tests of what comes after."""
    projects = projects_from_lims(ANSWER.read_bytes() if answer is None else answer)
    write_catalogue(path, OfflineCatalogue("1.0", "STATION_1", now(), ENDPOINT, projects))
    return path


def run_command(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: bytes = b"",
    with_faulty: bool = False,
    **extra: str,
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, outside a terminal."""
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=60,
        env=environment(with_faulty=with_faulty, **extra),
    )
    assert b"Traceback" not in result.stderr, result.stderr.decode()
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode("utf-8"), result.stderr.decode("utf-8")
    )


def done(*arguments: str | Path, **options: Any) -> str:
    """What the command prints when all is well."""
    result = run_command(*arguments, **options)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def done_json(*arguments: str | Path, **options: Any) -> Any:
    """The same, as JSON."""
    return json.loads(done(*arguments, "--json", **options))


@contextlib.contextmanager
def interrupts_as_before() -> Iterator[None]:
    """For a command that runs in this process: Ctrl-C is the test run's again, when the command has ended."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run_here(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Runs the command in this process: a sixth of the time, which matters where there are many cases."""
    here = Path.cwd() if cwd is None else cwd
    streams = [io.TextIOWrapper(io.BytesIO(initial), encoding="utf-8") for initial in (stdin, b"", b"")]
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(here), interrupts_as_before():
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        patch.setattr(sys, "argv", ["exlab-store", *map(str, arguments)])
        patch.setattr(logging.getLogger(), "handlers", [])
        with pytest.raises(SystemExit) as ended:
            main()
    for stream in streams[1:]:
        stream.seek(0)
    return subprocess.CompletedProcess([], int(ended.value.code or 0), streams[1].read(), streams[2].read())


def refused(code: int, *arguments: str | Path, process: bool = False, **options: Any) -> str:
    """What the command says when it ends with this code; in a process of its own only where that matters."""
    result = run_command(*arguments, **options) if process else _run_here(*arguments, **options)
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    return result.stderr
