"""Which system calls an acknowledged write consists of, seen from outside with strace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
from conftest import lacking
from traced_lines import whole_calls

if TYPE_CHECKING:
    from pathlib import Path

WRITES = """
import sys
from exlab_store import open_store
with open_store(sys.argv[1], create=True) as store:
    for key in sys.argv[2:]:
        store.atomic_write(key, b"{}")
"""


def _traced(program: str, *arguments: str) -> list[str]:
    """The successful system calls that matter, one text each, with descriptors shown as paths."""
    if shutil.which("strace") is None:
        lacking("install strace to see system calls")
    calls = "openat,mkdir,fsync,fdatasync,rename,renameat2,unlink"
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as log:
        command = ["strace", "-f", "-y", "-o", log.name, "-e", f"trace={calls}"]
        subprocess.run([*command, sys.executable, "-c", program, *arguments], check=True)
        return [line for line in whole_calls(log) if " = -1 " not in line]


def _steps(calls: list[str], root: Path) -> list[str]:
    """``fsync x``, ``mkdir x``, ``rename x``: relative to the root, temporary names as ``TMP``."""
    steps: list[str] = []
    for call in calls:
        if match := re.search(r"fsync\(\d+<([^>]*)>", call):
            steps.append(f"fsync {match[1]}")
        elif match := re.search(r'mkdir\("([^"]*)"', call):
            steps.append(f"mkdir {match[1]}")
        elif match := re.search(r'rename\w*\(.*"[^"]*", .*"([^"]*)"', call):
            steps.append(f"rename {match[1]}")
    relative = [step.replace(f"{root}/", "").replace(str(root), "ROOT") for step in steps]
    return [re.sub(r"\S+\.tmp\.\S+", "TMP", step) for step in relative if "__pycache__" not in step]


def test_a_write_is_file_fsync_then_rename_then_directory_fsync(tmp_path: Path) -> None:
    steps = _steps(_traced(WRITES, str(tmp_path), "warm.json", "a.json"), tmp_path)
    assert steps[-3:] == ["fsync TMP", "rename a.json", "fsync ROOT"]


def test_the_first_write_into_new_folders_synchronises_each_and_the_one_above_them(tmp_path: Path) -> None:
    steps = _steps(_traced(WRITES, str(tmp_path), "x/y/a.json"), tmp_path)
    begin = steps.index("mkdir x")
    assert steps[begin : begin + 4] == ["mkdir x", "mkdir x/y", "fsync x", "fsync ROOT"]
    assert steps[-3:] == ["fsync TMP", "rename x/y/a.json", "fsync x/y"]


def test_a_new_root_is_synchronised_up_to_what_existed(tmp_path: Path) -> None:
    steps = _steps(_traced(WRITES, str(tmp_path / "new" / "place"), "a.json"), tmp_path)
    assert {"fsync new", "fsync ROOT"} <= set(steps[steps.index("mkdir new/place") : steps.index("fsync TMP")])
    assert steps[-1] == "fsync new/place"


def test_folders_that_another_process_has_made_are_synchronised_too(tmp_path: Path) -> None:
    """Its maker may not have done so yet, and what is in a folder is not durable before the folder is."""
    (tmp_path / "x" / "y").mkdir(parents=True)
    steps = _steps(_traced(WRITES, str(tmp_path), "x/y/a.json"), tmp_path)
    assert {"fsync x", "fsync ROOT"} <= set(steps[: steps.index("fsync TMP")])
    assert steps[-3:] == ["fsync TMP", "rename x/y/a.json", "fsync x/y"]


def test_the_second_write_into_a_folder_synchronises_only_that_folder(tmp_path: Path) -> None:
    steps = _steps(_traced(WRITES, str(tmp_path), "x/y/a.json", "x/y/b.json"), tmp_path)
    assert steps[-2:] == ["rename x/y/b.json", "fsync x/y"]


def test_a_deletion_synchronises_the_directory(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    program = "import sys; from exlab_store import open_store; open_store(sys.argv[1]).delete('a.json')"
    calls = _traced(program, str(tmp_path))
    assert any(f'unlink("{tmp_path}/a.json")' in call for call in calls)
    assert _steps(calls, tmp_path)[-1] == "fsync ROOT"


INJECTED = """
import sys
from exlab_store import StoreError, open_store
with open_store(sys.argv[1], retry=None) as store:
    try:
        store.atomic_write("a.json", b"new")
    except StoreError as error:
        print(error.code)
    else:
        print("written")
"""


def _with_fault(tmp_path: Path, fault: str, program: str = INJECTED) -> tuple[str, bytes, list[str]]:
    """The outcome, the stored bytes and the names in the directory after a write that meets a fault."""
    if shutil.which("strace") is None:
        lacking("install strace to inject faults into system calls")
    (tmp_path / "a.json").write_bytes(b"old")
    result = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", f"inject={fault}", sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    return result.stdout.strip(), (tmp_path / "a.json").read_bytes(), names


@pytest.mark.parametrize(
    ("fault", "code"),
    [("fsync:error=EIO:when=1", "backend_unavailable"), ("fsync:error=ENOSPC:when=1", "storage_full")]
    + [("rename:error=EACCES", "access_denied"), ("rename:error=ENOSPC", "storage_full")],
)
def test_a_fault_before_the_rename_leaves_the_old_document_and_no_temporary_file(
    tmp_path: Path, fault: str, code: str
) -> None:
    assert _with_fault(tmp_path, fault) == (code, b"old", ["a.json"])


def test_a_fault_of_the_directory_s_fsync_is_an_unknown_outcome(tmp_path: Path) -> None:
    assert _with_fault(tmp_path, "fsync:error=EIO:when=2") == ("write_outcome_unknown", b"new", ["a.json"])


@pytest.mark.parametrize(
    ("fault", "code"),
    [("fsync:error=EIO:when=1", "backend_unavailable"), ("fsync:error=ENOSPC:when=1", "storage_full")],
)
def test_a_folder_whose_name_cannot_be_made_durable_refuses_the_write_and_is_not_tried_twice(
    tmp_path: Path, fault: str, code: str
) -> None:
    """A kernel tells of a failure once: the next fsync would succeed and prove nothing."""
    (tmp_path / "x").mkdir()
    program = INJECTED.replace("retry=None", "retry=Retry(attempts=3, wait=0.001)").replace('"a.json"', '"x/a.json"')
    assert _with_fault(tmp_path, fault, program.replace("import StoreError", "import Retry, StoreError")) == (
        code,
        b"old",
        ["a.json", "x"],
    )
    assert list((tmp_path / "x").iterdir()) == []


def test_a_rename_whose_result_proves_nothing_is_an_unknown_outcome(tmp_path: Path) -> None:
    assert _with_fault(tmp_path, "rename:error=EIO") == ("write_outcome_unknown", b"old", ["a.json"])


def test_a_failed_fsync_is_not_repeated_on_the_same_file(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        lacking("install strace to inject faults into system calls")
    program = "import sys; from exlab_store import open_store; open_store(sys.argv[1]).atomic_write('a.json', b'new')"
    result = subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1", sys.executable, "-c"]
        + [program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    files = re.findall(r"fsync\(\d+<([^>]*\.tmp\.[^>]*)>", result.stderr)
    assert len(files) == len(set(files)) == 2
