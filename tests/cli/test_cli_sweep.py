"""``exlab-store sweep``: temporary files of writers that are gone, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exlab_store_posix.backend as posix_backend
import exlab_store_posix.opening as posix_opening
import pytest
from command_line import done, done_json, refused, run_command
from conftest import lacking
from exlab_store_posix.mounts import FileSystem, MountedFileSystem
from exlab_store_posix.processes import ProcessTable
from lock_holders import holder

from exlab_store import BackendUnavailable, Leftover, Store, open_store
from exlab_store.cli.sweep import sweep

if TYPE_CHECKING:
    from samba_server import SambaServer

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell whose process is gone"),
    pytest.mark.one_interpreter,
]

MINUTE, DAY = 60.0, 86400.0


def left_behind(folder: Path, age: float, pid: int | None = None, name: str = "a.json") -> Path:
    """An unfinished write, of a process that has ended, or of the one that is given."""
    if pid is None:
        with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
            pid = process.pid
    path = folder / f"{name}.tmp.{pid}.{os.urandom(8).hex()}"
    path.write_bytes(b"half a docu")
    os.utime(path, (time.time() - age,) * 2)
    return path


def swept(capfd: pytest.CaptureFixture[str], folder: Path | str, *, delete: bool = True) -> dict[str, dict[str, Any]]:
    """The answer, from this process: one of its own takes six times as long."""
    sweep(str(folder), delete=delete, as_json=True)
    return {file["name"]: file for file in json.loads(capfd.readouterr().out)["files"]}


@pytest.fixture
def needs_all_processes() -> None:
    if not ProcessTable().sees_all:
        lacking("run the tests outside of a container: in one, nobody can tell that a writer is gone")


def test_nothing_is_removed_without_delete_and_the_answer_says_what_would_be(posix: Store, tmp_path: Path) -> None:
    old, new = left_behind(tmp_path, 2 * DAY), left_behind(tmp_path, 0, pid=os.getpid(), name="b.json")
    said = done("sweep", tmp_path)
    assert re.search(r" 11 +2 d +would be removed", said)
    assert re.search(r" 11 +\d+ s +kept", said)
    assert "Temporary files: 1 would be removed, 1 kept.\nNothing was removed: --delete does it.\n" in said
    assert old.exists()
    assert new.exists()


def test_with_delete_they_are_removed_and_a_second_time_nothing_is_left(
    posix: Store, tmp_path: Path, needs_all_processes: None
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    gone = [left_behind(tmp_path, 2 * DAY), left_behind(folder, 11 * MINUTE)]
    answer = done_json("sweep", "--delete", tmp_path)
    assert (answer["location"], answer["deleted"]) == (f"file://{tmp_path}", True)
    assert {file["outcome"] for file in answer["files"]} == {"removed"}
    assert {file["clock"] for file in answer["files"]} == {"storage"}
    assert not any(path.exists() for path in gone)
    assert done("sweep", "--delete", tmp_path) == "There are no temporary files.\n"


def test_documents_locks_and_the_copies_of_corrupt_ones_stay_however_old_they_are(
    posix: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    posix.atomic_write("a.json", b"{}")
    posix.lock("a.json").release()
    posix.atomic_write("a.json.corrupt-20260101T000000Z", b"{")
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    before = sorted(os.listdir(tmp_path))
    with holder("filelock", tmp_path):
        assert swept(capfd, tmp_path) == {}
    assert sorted(os.listdir(tmp_path)) == before


def test_a_dead_writers_file_goes_after_ten_minutes_and_a_live_ones_after_a_day(
    posix: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], needs_all_processes: None
) -> None:
    expected = {
        left_behind(tmp_path, 5 * MINUTE): None,
        left_behind(tmp_path, 15 * MINUTE): "writer_gone",
        left_behind(tmp_path, 2 * DAY): "writer_gone",
        left_behind(tmp_path, 15 * MINUTE, pid=os.getpid()): None,
        left_behind(tmp_path, 23 * 60 * MINUTE, pid=os.getpid()): None,
        left_behind(tmp_path, 25 * 60 * MINUTE, pid=os.getpid()): "older_than_a_day",
    }
    found = swept(capfd, tmp_path)
    assert {name: file["reason"] for name, file in found.items()} == {p.name: why for p, why in expected.items()}
    assert {path for path in expected if path.exists()} == {path for path, why in expected.items() if why is None}


def test_the_file_of_a_writer_that_is_at_work_is_left_to_it(
    posix: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import sys, exlab_store_posix.backend as backend; from exlab_store import open_store\n"
        "make_durable = backend.make_durable\n"
        "def paused(descriptor):\n"
        "    make_durable(descriptor); print('written', flush=True); sys.stdin.read()\n"
        "backend.make_durable = paused\n"
        "open_store(sys.argv[1]).atomic_write('a.json', b'new')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        (file,) = swept(capfd, tmp_path).values()
        assert (file["reason"], file["outcome"]) == (None, "kept")
        writer.communicate("")
    assert writer.returncode == 0
    assert posix.read_snapshot("a.json").data == b"new"


def test_a_file_that_vanishes_meanwhile_is_fine(
    posix: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left_behind(tmp_path, 2 * DAY)
    remove = Store.remove_leftover

    def too_late(store: Store, leftover: Leftover) -> None:
        path.unlink()
        remove(store, leftover)

    monkeypatch.setattr(Store, "remove_leftover", too_late)
    assert swept(capfd, tmp_path)[path.name]["outcome"] == "vanished"


def test_two_sweeps_at_the_same_time_remove_everything_once(tmp_path: Path) -> None:
    for _ in range(30):
        left_behind(tmp_path, 2 * DAY, pid=1)
    command = [sys.executable, "-m", "exlab_store.cli", "sweep", "--delete", "--json", str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=60)[0])["files"] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sum(file["outcome"] == "removed" for files in answers for file in files) == 30
    assert os.listdir(tmp_path) == []


def test_a_file_that_cannot_be_removed_is_named_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_root: None
) -> None:
    stuck = left_behind(tmp_path, 2 * DAY, name="a.json")
    other = left_behind(tmp_path, 2 * DAY, name="b.json")
    if subprocess.run(["chattr", "+i", stuck], capture_output=True).returncode:
        lacking("a file system whose files can be made immutable (chattr)")
    try:
        result = run_command("sweep", "--delete", tmp_path)
    finally:
        subprocess.run(["chattr", "-i", stuck], check=True)
    assert result.returncode == 1
    assert "1 removed, 1 not removed" in result.stdout
    assert result.stderr.startswith(f"Error: {stuck.name} in file://{tmp_path}: cannot remove the temporary file:")
    assert not other.exists()


def test_a_store_that_goes_away_in_the_middle_ends_the_sweep_and_what_was_done_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        left_behind(tmp_path, 2 * DAY, name=name)
    remove = Store.remove_leftover

    def unplugged(store: Store, leftover: Leftover) -> None:
        if leftover.name.startswith("b"):
            raise BackendUnavailable("the cable is out")
        remove(store, leftover)

    monkeypatch.setattr(Store, "remove_leftover", unplugged)
    with pytest.raises(BackendUnavailable):
        sweep(str(tmp_path), delete=True, as_json=False)
    assert "Temporary files: 1 removed." in capfd.readouterr().out
    assert len(os.listdir(tmp_path)) == 2


def test_on_a_mounted_share_ages_are_by_this_machines_clock_and_the_answer_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in posix_backend, posix_opening:
        monkeypatch.setattr(module, "mount_of", lambda directory: MountedFileSystem(FileSystem.NETWORK))
    recent, old = left_behind(tmp_path, 15 * MINUTE), left_behind(tmp_path, 2 * DAY, name="b.json")
    found = swept(capfd, tmp_path, delete=False)
    # A process that is gone here may be at work on another machine of the share.
    assert (found[recent.name]["reason"], found[recent.name]["clock"]) == (None, "this machine")
    assert found[old.name]["reason"] == "older_than_a_day"
    sweep(str(tmp_path), delete=False, as_json=False)
    assert "by this machine's clock" in capfd.readouterr().out


def test_long_names_fit_80_columns_and_names_cannot_drive_the_terminal(tmp_path: Path) -> None:
    left_behind(tmp_path, 2 * DAY, name="measurement" * 18)
    left_behind(tmp_path, 0, name="\x1b[2J")
    said = done("sweep", tmp_path)
    assert max(map(len, said.splitlines())) <= 80
    assert "\x1b" not in said


def test_a_store_in_memory_has_nothing_to_sweep() -> None:
    assert done("sweep", "memory://lab") == "There are no temporary files.\n"


def test_a_place_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert "there is no such directory" in refused(2, "sweep", tmp_path / "missing")


def test_a_share_is_swept_by_the_servers_clock(samba: SambaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        store.atomic_write("folder/a.json", b"{}")
    old, recent = left_behind(samba.root / "folder", 2 * DAY), left_behind(samba.root, 15 * MINUTE)
    answer = done_json("sweep", "--delete", samba.url(), FSSPEC_SMB_PASSWORD=samba.password)
    found = {file["name"]: file for file in answer["files"]}
    assert (found[f"folder/{old.name}"]["outcome"], found[recent.name]["outcome"]) == ("removed", "kept")
    assert {file["clock"] for file in found.values()} == {"storage"}
    assert not old.exists()
    assert recent.exists()
    assert (samba.root / "folder" / "a.json").read_bytes() == b"{}"
