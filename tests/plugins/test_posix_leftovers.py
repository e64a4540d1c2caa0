"""Lock files and temporary files of a directory, seen by somebody who looks after it and disturbs nobody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import exlab_store_posix.backend as posix_backend
import exlab_store_posix.opening as posix_opening
import pytest
from conftest import lacking
from exlab_store_posix.mounts import FileSystem, MountedFileSystem
from exlab_store_posix.processes import ProcessTable
from lock_holders import LOCKING, holder

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    Leftover,
    NotSupported,
    Store,
    open_store,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell who holds a lock")

DAY = 86400.0


def the_lock(store: Store) -> Leftover:
    (found,) = [leftover for leftover in store.list_leftovers() if leftover.name == "a.json.lock"]
    assert found.kind == "lock"
    return found


def temporary(folder: Path, pid: int, age: float, name: str = "a.json") -> Path:
    path = folder / f"{name}.tmp.{pid}.0123456789abcdef"
    path.write_bytes(b"half a docu")
    os.utime(path, (time.time() - age,) * 2)
    return path


def a_dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


@pytest.fixture
def needs_all_processes() -> None:
    if not ProcessTable().sees_all:
        lacking("run the tests outside of a container: in one, nobody can tell that a process is gone")


# Locks


@pytest.mark.parametrize("how", LOCKING)
def test_a_lock_that_another_process_holds_is_held_whichever_way_it_was_taken(posix: Store, how: str) -> None:
    folder = Path(posix.location.path if posix.location else "")
    with holder(how, folder):
        assert the_lock(posix).held is True


def test_a_held_lock_says_who_holds_it_and_what_for(posix: Store, tmp_path: Path) -> None:
    with holder("this package", tmp_path) as process:
        found = the_lock(posix)
        assert found.owner is not None
        assert (found.owner.pid, found.owner.purpose) == (process.pid, "re-sync")
        assert found.owner.host == os.uname().nodename
        assert found.age is not None
        assert found.age < 60


def test_a_lock_of_this_very_process_is_held_too(posix: Store) -> None:
    with posix.lock("a.json") as held:
        assert the_lock(posix).held is True
        assert the_lock(posix).owner == held.owner


def test_a_lock_file_that_is_open_and_not_locked_is_free(
    posix: Store, tmp_path: Path, needs_all_processes: None
) -> None:
    with holder("nothing", tmp_path):
        assert (the_lock(posix).held, the_lock(posix).owner) == (False, None)


def test_a_released_lock_is_free_and_has_no_owner(posix: Store, needs_all_processes: None) -> None:
    posix.lock("a.json").release()
    assert (the_lock(posix).held, the_lock(posix).owner) == (False, None)


def test_the_lock_of_a_killed_holder_is_free_and_its_record_is_not_believed(
    posix: Store, tmp_path: Path, needs_all_processes: None
) -> None:
    with holder("this package", tmp_path) as process:
        process.kill()
        process.wait()
        assert str(process.pid) in (tmp_path / "a.json.lock").read_text()
        assert (the_lock(posix).held, the_lock(posix).owner) == (False, None)


def test_a_holder_that_writes_no_record_is_not_taken_for_the_one_before_it(posix: Store, tmp_path: Path) -> None:
    with holder("this package", tmp_path) as process:
        process.kill()
        process.wait()
    with holder("OFD", tmp_path):
        assert (the_lock(posix).held, the_lock(posix).owner) == (True, None)


def test_a_waiter_gets_its_lock_while_somebody_looks(posix: Store, tmp_path: Path) -> None:
    with holder("this package", tmp_path) as process:
        granted = threading.Event()

        def wait() -> None:
            with open_store(tmp_path) as store, store.lock("a.json", timeout=20):
                granted.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        for _ in range(20):
            assert the_lock(posix).held is True
        process.kill()
        while not granted.is_set() and waiter.is_alive():
            the_lock(posix)
        waiter.join()
        assert granted.is_set()


@pytest.mark.parametrize("kind", [FileSystem.NETWORK, FileSystem.NFS, FileSystem.UNKNOWN])
def test_on_a_mount_nobody_can_tell_that_a_lock_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: FileSystem
) -> None:
    for module in posix_backend, posix_opening:
        monkeypatch.setattr(module, "mount_of", lambda directory: MountedFileSystem(kind))
    temporary(tmp_path, a_dead_process(), DAY)
    with open_store(tmp_path) as store:
        store.lock("a.json").release()
        lock, unfinished = store.list_leftovers()
        assert (lock.held, lock.owner, lock.age) == (None, None, None)
        assert (unfinished.age, unfinished.abandoned) == (None, False)
        with holder("filelock", tmp_path):  # of a process of this machine, one can
            assert the_lock(store).held is True
        elsewhere = {"id": "0" * 16, "host": "elsewhere", "user": "u", "pid": 1, "since": "2026-01-01T00:00:00Z"}
        (tmp_path / "a.json.lock").write_bytes(b"\n" + json.dumps(elsewhere).encode() + b"\n")
        found = the_lock(store)
        assert (found.held, found.owner and found.owner.host) == (None, "elsewhere")


def test_in_a_container_nobody_can_tell_that_a_lock_is_free_or_that_a_writer_is_gone(
    posix: Store, tmp_path: Path, needs_root: None
) -> None:
    posix.lock("a.json").release()
    temporary(tmp_path, a_dead_process(), DAY)
    program = (
        "import sys; from exlab_store import open_store\n"
        "for found in open_store(sys.argv[1]).list_leftovers(): print(found.name[:10], found.held, found.abandoned)"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", program, str(tmp_path)]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode and "unshare" in done.stderr:
        lacking(f"a pid namespace cannot be made: {done.stderr}")
    assert done.stdout.splitlines() == ["a.json.loc None False", "a.json.tmp None False"], done.stderr


# Temporary files


def test_the_file_of_a_dead_writer_is_abandoned_after_ten_minutes(
    posix: Store, tmp_path: Path, needs_all_processes: None
) -> None:
    temporary(tmp_path, a_dead_process(), 700)
    (found,) = posix.list_leftovers()
    assert (found.kind, found.abandoned, found.size) == ("temporary", True, 11)
    assert found.age == pytest.approx(700, abs=30)


def test_the_file_of_a_writer_that_died_a_moment_ago_is_not_abandoned_yet(posix: Store, tmp_path: Path) -> None:
    temporary(tmp_path, a_dead_process(), 500)
    assert [found.abandoned for found in posix.list_leftovers()] == [False]


def test_the_file_of_a_live_process_is_not_abandoned_however_old_it_is(posix: Store, tmp_path: Path) -> None:
    temporary(tmp_path, os.getpid(), 3 * DAY)
    assert [found.abandoned for found in posix.list_leftovers()] == [False]


def test_a_file_that_is_open_is_not_abandoned_whatever_its_name_says(posix: Store, tmp_path: Path) -> None:
    """A file server has it open for a client on another machine, whose process nobody here knows."""
    with temporary(tmp_path, a_dead_process(), DAY).open("rb"):
        assert [found.abandoned for found in posix.list_leftovers()] == [False]


def test_a_file_from_the_future_is_not_abandoned(posix: Store, tmp_path: Path) -> None:
    temporary(tmp_path, a_dead_process(), -DAY)
    assert [(found.age, found.abandoned) for found in posix.list_leftovers()] == [(0.0, False)]


def test_the_temporary_file_of_another_program_is_no_document_and_can_be_removed(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    (tmp_path / "a.json.k3j2h1g0.tmp").write_bytes(b"torn")
    assert posix.list_keys() == ["a.json"]
    (found,) = [each for each in posix.list_leftovers() if each.kind == "temporary"]
    assert (found.name, found.abandoned) == ("a.json.k3j2h1g0.tmp", False)  # its writer did not say who it is
    posix.remove_leftover(found)
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_process_counts_under_its_number_in_every_namespace(tmp_path: Path) -> None:
    def process(number: int, numbers: str) -> None:
        (tmp_path / str(number) / "fd").mkdir(parents=True)
        (tmp_path / str(number) / "status").write_text(f"Name:\tpython\nNSpid:\t{numbers}\n")

    (tmp_path / "self" / "ns").mkdir(parents=True)
    (tmp_path / "self" / "ns" / "pid").symlink_to("pid:[4026531836]")
    process(1, "1")
    process(4242, "4242\t7")
    (tmp_path / "4242" / "fd" / "3").symlink_to("/a/server/that/does/not/answer/b.json.tmp.99")
    processes = ProcessTable(str(tmp_path))
    assert processes.are_gone(99, "a.json.tmp.99")
    assert not processes.are_gone(99, "b.json.tmp.99")
    assert not processes.are_gone(7, "a.json.tmp.7")
    assert not processes.are_gone(4242, "a.json.tmp.4242")


def test_where_processes_are_hidden_nobody_is_gone(tmp_path: Path) -> None:
    (tmp_path / "self" / "ns").mkdir(parents=True)
    namespace = tmp_path / "self" / "ns" / "pid"
    namespace.symlink_to("pid:[4026531836]")
    (tmp_path / "500" / "fd").mkdir(parents=True)
    (tmp_path / "500" / "status").write_text("NSpid:\t500\n")
    assert not ProcessTable(str(tmp_path)).are_gone(99, "a")  # not even process 1 is shown
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "status").write_text("Name:\tan old kernel\n")
    assert not ProcessTable(str(tmp_path)).are_gone(99, "a")
    (tmp_path / "1" / "status").write_text("NSpid:\t1\n")
    assert ProcessTable(str(tmp_path)).are_gone(99, "a")
    namespace.unlink()
    namespace.symlink_to("pid:[4026532000]")
    assert not ProcessTable(str(tmp_path)).are_gone(99, "a")


# What is listed


def test_everything_below_a_folder_is_listed_and_no_document(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a/b/c.json", b"{}")
    posix.lock("a/b/c.json").release()
    posix.lock("d.json").release()
    temporary(tmp_path / "a", 4711, 0)
    (tmp_path / "a" / "old.json.tmp.12").touch()  # as other programs of the format name it
    (tmp_path / "a" / ".lock").touch()
    names = ["a/.lock", "a/a.json.tmp.4711.0123456789abcdef", "a/b/c.json.lock", "a/old.json.tmp.12", "d.json.lock"]
    assert [found.name for found in posix.list_leftovers()] == names
    assert [found.name for found in posix.list_leftovers("a/b")] == ["a/b/c.json.lock"]
    assert posix.list_leftovers("never/seen") == []
    assert posix.list_leftovers("a/b/c.json") == []


def test_no_link_is_followed(posix: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    kept = temporary(elsewhere, a_dead_process(), DAY)
    (tmp_path / "folder").symlink_to(elsewhere, target_is_directory=True)
    (tmp_path / "x.json.lock").symlink_to(kept)
    (tmp_path / kept.name).symlink_to(kept)
    assert posix.list_leftovers() == []
    assert posix.list_leftovers("folder") == []
    for name, error in ((f"folder/{kept.name}", DocumentNotFound), (kept.name, InvalidKey)):
        with pytest.raises(error):
            posix.remove_leftover(Leftover(name=name, kind="temporary", size=0))
    assert kept.exists()


def test_names_that_are_no_text_are_left_alone(posix: Store, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.lock")).touch()
    assert posix.list_leftovers() == []


def test_a_pipe_at_the_name_of_a_lock_holds_nobody_up(posix: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json.lock")
    assert posix.list_leftovers() == []


def test_a_store_whose_directory_is_gone_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    with open_store(tmp_path / "lab") as store:
        (tmp_path / "lab").rmdir()
        with pytest.raises(BackendUnavailable):
            store.list_leftovers()
        with pytest.raises(BackendUnavailable):
            store.remove_leftover(Leftover(name="a.tmp.1", kind="temporary", size=0))


def test_a_folder_that_may_not_be_listed_is_refused_by_name(posix: Store, tmp_path: Path, needs_root: None) -> None:
    (tmp_path / "open" / "private").mkdir(parents=True, mode=0o755)
    (tmp_path / "open" / "private").chmod(0o700)
    tmp_path.chmod(0o755)
    place = Path(tmp_path)
    while place != place.parent:
        if not place.stat().st_mode & 0o1:
            place.chmod(0o755)
        place = place.parent
    os.seteuid(65534)
    try:
        for listing in (posix.list_leftovers, posix.list_keys):
            with pytest.raises(AccessDenied, match="list the folder") as refused:
                listing()
            assert refused.value.key == "open/private"
    finally:
        os.seteuid(0)


# Removing


@pytest.mark.parametrize(
    "name", ["a.json", "a.json.lock", "folder", "../a.tmp.1", "folder/../../a.tmp.1", "/a.tmp.1", "dir.tmp.1", ""]
)
def test_nothing_but_a_temporary_file_is_removed(posix: Store, tmp_path: Path, name: str) -> None:
    posix.atomic_write("a.json", b"{}")
    posix.lock("a.json").release()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dir.tmp.1").mkdir()
    with pytest.raises(InvalidKey):
        posix.remove_leftover(Leftover(name=name, kind="temporary", size=0))
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.json.lock", "dir.tmp.1", "folder"]


def test_a_lock_file_is_not_removed_under_any_name(posix: Store) -> None:
    posix.lock("a.json").release()
    (found,) = posix.list_leftovers()
    with pytest.raises(NotSupported):
        posix.remove_leftover(found)


def test_a_writer_whose_file_was_swept_away_says_that_nothing_was_written(
    posix: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posix.atomic_write("a.json", b"old")
    make_durable = posix_backend.make_durable

    def make_durable_and_be_swept(descriptor: int) -> None:
        make_durable(descriptor)
        (found,) = posix.list_leftovers()
        posix.remove_leftover(found)

    monkeypatch.setattr(posix_backend, "make_durable", make_durable_and_be_swept)
    with open_store(tmp_path, retry=None) as store, pytest.raises(BackendUnavailable):
        store.atomic_write("a.json", b"new")
    assert posix.read_snapshot("a.json").data == b"old"


# Where the kernel's names of a device are not those of stat(2)


def test_a_lock_of_flock_is_seen_in_a_subvolume_of_btrfs(tmp_path: Path, needs_root: None) -> None:
    if shutil.which("mkfs.btrfs") is None:
        lacking("install btrfs-progs to make a file system whose devices have two names")
    script = (
        "set -e; truncate -s 120M image; mkfs.btrfs -q image >/dev/null; mkdir point; mount -o loop image point;"
        ' btrfs subvolume create point/lab >/dev/null; exec python -c "$PROGRAM"'
    )
    program = (
        "from lock_holders import holder; from exlab_store import open_store\n"
        "for how in ('filelock', 'nothing'):\n"
        "    with holder(how, 'point/lab'), open_store(__import__('os').path.abspath('point/lab')) as store:\n"
        "        print(how, store.list_leftovers()[0].held)"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "PATH": programs, "PROGRAM": program},
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        lacking(f"btrfs cannot be mounted here: {done.stderr}")
    assert done.stdout.splitlines()[0] == "filelock True", done.stderr
    assert done.stdout.splitlines()[1] in {"nothing False", "nothing None"}  # None in a container
