"""What the POSIX backend reads: every byte of a file, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import lacking
from exlab_store_posix.reading import AT_ONCE

from exlab_store import InvalidKey, Store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files in folders")


@pytest.mark.parametrize("size", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 5_000_000])
def test_a_document_of_any_size_is_read_to_its_last_byte(posix: Store, size: int) -> None:
    document = os.urandom(size)
    posix.atomic_write("a.json", document)
    assert posix.read_snapshot("a.json").data == document


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/ptmx"])
def test_a_device_is_no_document(posix: Store, tmp_path: Path, device: str) -> None:
    (tmp_path / "a.json").symlink_to(device)
    with pytest.raises(InvalidKey, match="names a device"):
        posix.read_snapshot("a.json")


def test_a_pipe_is_no_document_whoever_writes_into_it(posix: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    ends = os.open(tmp_path / "a.json", os.O_RDWR)
    os.write(ends, b"{}")
    try:
        with pytest.raises(InvalidKey, match="names a device, pipe or socket"):
            posix.read_snapshot("a.json")
    finally:
        os.close(ends)


def test_a_folder_is_no_document(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InvalidKey, match="names a folder"):
        posix.read_snapshot("a.json")


READ = """
import sys
from exlab_store import BackendUnavailable, open_store
with open_store(sys.argv[1], retry=None) as store:
    try:
        print(store.read_snapshot("a.json").data)
    except BackendUnavailable as error:
        print("unavailable:", error.errno)
"""


@pytest.mark.one_interpreter
def test_a_disk_that_fails_behind_the_first_bytes_is_an_error_and_no_short_document(
    posix: Store, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        lacking("install strace to have the disk fail")
    posix.atomic_write("a.json", b"{}")
    # A kernel gives what it has read before the fault, and says of the fault when it is asked for more.
    command = [
        "strace",
        "-f",
        "-o",
        os.devnull,
        "-P",
        str(tmp_path / "a.json"),
        "-e",
        "inject=pread64:error=EIO:when=2+",
    ]
    done = subprocess.run(
        [*command, sys.executable, "-c", READ, str(tmp_path)], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "unavailable: 5"
