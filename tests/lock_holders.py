"""Other processes that hold the lock of a document, each in its own way."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLDING = {
    "this package": "from exlab_store import open_store; held = open_store(folder).lock('a.json', purpose='re-sync')",
    "filelock": "import filelock; held = filelock.FileLock(folder + '/a.json.lock'); held.acquire()",
    "flock": "import fcntl; file = open(folder + '/a.json.lock', 'w'); fcntl.flock(file, fcntl.LOCK_EX)",
    "shared flock": "import fcntl; file = open(folder + '/a.json.lock', 'w'); fcntl.flock(file, fcntl.LOCK_SH)",
    "OFD": "import fcntl, struct, os; file = open(folder + '/a.json.lock', 'w');"
    "fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack('@hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))",
    "lockf": "import fcntl; file = open(folder + '/a.json.lock', 'w'); fcntl.lockf(file, fcntl.LOCK_EX)",
    "nothing": "file = open(folder + '/a.json.lock', 'w')",
}

LOCKING = [how for how in _HOLDING if how != "nothing"]


@contextmanager
def holder(how: str, folder: Path | str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of ``a.json``, in its own way, until it is told to end."""
    program = f"import sys; folder = sys.argv[1]; {_HOLDING[how]}; print('held', flush=True); sys.stdin.read()"
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
