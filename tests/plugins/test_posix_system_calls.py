"""What a mount needs costs nothing on a local disk: each read and each lock makes these system calls and no others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import lacking

pytestmark = [pytest.mark.one_interpreter, pytest.mark.skipif(sys.platform != "linux", reason="strace is for Linux")]

_PROGRAM = """
import os, sys
from exlab_store import open_store
with open_store(sys.argv[1]) as store:
    store.update("d", lambda data: b"1")
    store.update("d", lambda data: b"12")
    os.getppid()
    store.read_snapshot("d")
    os.getppid()
    store.lock("d").release()
    os.getppid()
"""


def _calls(folder: Path) -> list[list[str]]:
    """The system calls between the marks, without memory and locks of threads."""
    if shutil.which("strace") is None:
        lacking("install strace to see system calls")
    trace = folder / "trace"
    command = ["strace", "-o", str(trace), sys.executable, "-c", _PROGRAM, str(folder / "store")]
    (folder / "store").mkdir()
    subprocess.run(command, check=True, timeout=120)
    parts = trace.read_text(encoding="utf-8", errors="replace").split("getppid()")[1:-1]
    return [re.findall(r"^(?!futex|brk|mmap|munmap|getpid|madvise)(\w+)\(", part, re.MULTILINE) for part in parts]


def test_a_read_and_a_lock_on_a_local_disk_make_no_call_that_only_a_mount_needs(tmp_path: Path) -> None:
    read, lock = _calls(tmp_path)
    assert read == ["openat", "pread64", "pread64", "close"]
    # The look at the locked file tells whether it has a name still: who deletes a folder unlinks the lock files in it.
    taken = ["openat", "flock", "fcntl", "newfstatat", "pwrite64"]
    assert lock == [*taken, "pwrite64", "fcntl", "flock", "close"]
