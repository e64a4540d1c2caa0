"""A local folder on macOS: reviewed against its manual pages, and run on Linux with stand-ins for its system calls."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from macos_process import result_on_macos

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the stand-ins are for Linux"),
    pytest.mark.one_interpreter,
]

FOLDER = Path(__file__).parent
REFUSALS = [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY]


def seen(place: Path, program: str, refusal: int = 0) -> Any:
    """What a program gives as ``result``, of a store in a process that looks like one on macOS."""
    opening = "from exlab_store import StoreError, open_store\nstore = open_store(folder)\nas_macos.flushed.clear()\n"
    return result_on_macos(place, opening + program, REFUSAL=str(refusal))


def test_a_write_has_the_drive_store_the_file_and_then_its_folder(tmp_path: Path) -> None:
    file, folder = seen(tmp_path, "store.atomic_write('a.json', b'1'); result = as_macos.flushed")[-2:]
    assert file.startswith(f"{tmp_path}/a.json.tmp.")
    assert folder == str(tmp_path)


def test_a_new_folder_is_stored_by_the_drive_before_what_is_in_it(tmp_path: Path) -> None:
    flushed = seen(tmp_path, "store.atomic_write('x/a.json', b'1'); result = as_macos.flushed")
    assert flushed[0] == str(tmp_path)
    assert not any(name.startswith("cache of") for name in flushed)


def test_durable_is_claimed_where_the_drive_can_be_asked(tmp_path: Path) -> None:
    assert seen(tmp_path, "result = store.guarantees.durable") is True


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda number: errno.errorcode[number])
def test_durable_is_not_claimed_where_it_cannot_and_documents_are_written_all_the_same(
    tmp_path: Path, refusal: int
) -> None:
    program = "store.atomic_write('a.json', b'1'); result = store.guarantees.durable, as_macos.flushed[-1]"
    assert seen(tmp_path, program, refusal) == [False, f"cache of {tmp_path}"]
    assert (tmp_path / "a.json").read_bytes() == b"1"


def test_a_drive_that_fails_fails_the_write(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"before")
    program = (
        "try: store.atomic_write('a.json', b'1'); result = 'written'\n"
        "except StoreError as error: result = type(error).__name__"
    )
    assert seen(tmp_path, program, errno.EIO) == "BackendUnavailable"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"before"


def test_names_that_the_file_system_decomposes_are_listed_as_the_keys_they_were_written_with(tmp_path: Path) -> None:
    program = (
        "store.update('Büro/é.json', lambda old: b'1')\n"
        "listed = [[item.key for item in store.list_folder('Büro')], [item.key for item in store.list_folder('')]]\n"
        "matching = [item.key for item in store.list_matching('', 'B*/*.json')]\n"
        "result = [store.list_keys(), *listed, matching, [each.name for each in store.list_leftovers()]]"
    )
    key = "Büro/é.json"
    assert seen(tmp_path, program) == [[key], [key], ["Büro"], [key], [f"{key}.lock"]]


def test_a_folder_with_decomposed_names_is_deleted_with_its_lock_files(tmp_path: Path) -> None:
    program = (
        "store.update('Büro/é.json', lambda old: b'1'); store.delete('Büro/é.json'); store.delete_folder('Büro')\n"
        "result = []"
    )
    seen(tmp_path, program)
    assert list(tmp_path.iterdir()) == []


def test_what_needs_linux_is_not_claimed(tmp_path: Path) -> None:
    program = "g = store.guarantees; result = [g.lock_scope, g.lock_release, g.fenced, g.fresh, g.watch]"
    assert seen(tmp_path, program) == ["host", "crash", False, "none", "polled"]


def test_a_lock_excludes_filelock_and_filelock_excludes_it(tmp_path: Path) -> None:
    program = (
        "import filelock\n"
        "from exlab_store import LockTimeout\n"
        "other = filelock.FileLock(sys.argv[1] + '/a.json.lock')\n"
        "result = []\n"
        "with store.lock('a.json'):\n"
        "    try: other.acquire(timeout=0)\n"
        "    except filelock.Timeout: result.append('filelock was refused')\n"
        "with other:\n"
        "    try: store.lock('a.json', timeout=0)\n"
        "    except LockTimeout: result.append('the store was refused')\n"
    )
    assert seen(tmp_path, program) == ["filelock was refused", "the store was refused"]


def test_a_change_is_told_by_looking(tmp_path: Path) -> None:
    program = (
        "with store.watch(interval=0.05, timeout=30) as changes:\n"
        "    store.atomic_write('a.json', b'1')\n"
        "    change = next(iter(changes))\n"
        "result = [change.kind, change.key]"
    )
    assert seen(tmp_path, program)[1] == "a.json"


def test_every_module_of_the_packages_imports_without_what_only_linux_has() -> None:
    packages = "exlab_store", "exlab_store_posix", "exlab_store_memory", "exlab_store_smb"
    others = ".testing.crash", ".frozen.hooks", ".windows", ".inotify", ".__main__"  # for Linux, PyInstaller, Windows
    program = (
        "import importlib, pkgutil, hypothesis.stateful, mfusepy, pytest, as_macos\n"
        f"for package in map(importlib.import_module, {packages!r}):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.', lambda name: None):\n"
        f"        if not any(other in module.name for other in {others!r}):\n"
        "            importlib.import_module(module.name)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(FOLDER)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
