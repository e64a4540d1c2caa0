"""What the POSIX backend does to files: modes, links, names, leftovers."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from conftest import lacking

from exlab_store import AccessDenied, DocumentNotFound, LockLost, PluginError, Store, StoreError, lock_key, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_document_has_the_mode_of_the_umask(posix: Store, tmp_path: Path, umask: int) -> None:
    posix.atomic_write("a.json", b"{}")
    assert _mode(tmp_path / "a.json") == 0o666 & ~umask


def test_new_folders_have_the_mode_of_the_umask(posix: Store, tmp_path: Path, umask: int) -> None:
    posix.atomic_write("x/y/a.json", b"{}")
    assert _mode(tmp_path / "x") == _mode(tmp_path / "x" / "y") == 0o777 & ~umask


@pytest.mark.parametrize("mode", [0o640, 0o664, 0o600, 0o666], ids=oct)
def test_a_rewritten_document_keeps_its_mode(posix: Store, tmp_path: Path, mode: int, umask: int) -> None:
    posix.atomic_write("a.json", b"1")
    (tmp_path / "a.json").chmod(mode)
    posix.atomic_write("a.json", b"2")
    assert _mode(tmp_path / "a.json") == mode


def test_a_rewritten_document_loses_a_set_user_bit(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    (tmp_path / "a.json").chmod(0o4755)
    posix.atomic_write("a.json", b"2")
    assert _mode(tmp_path / "a.json") == 0o755


@pytest.mark.usefixtures("needs_root")
def test_a_document_rewritten_by_root_keeps_its_owner_and_group(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    os.chown(tmp_path / "a.json", 12345, 54321)
    posix.atomic_write("a.json", b"2")
    status = (tmp_path / "a.json").stat()
    assert (status.st_uid, status.st_gid) == (12345, 54321)


@pytest.mark.parametrize("folder_mode", [0o755, 0o775, 0o777], ids=oct)
def test_who_may_write_into_the_folder_may_lock(posix: Store, tmp_path: Path, folder_mode: int, umask: int) -> None:
    tmp_path.chmod(folder_mode)
    posix.lock("a.json").release()
    assert _mode(tmp_path / "a.json.lock") == folder_mode & 0o666


def test_a_lock_file_stays_and_is_not_replaced(posix: Store, tmp_path: Path) -> None:
    posix.lock("a.json").release()
    inode = (tmp_path / "a.json.lock").stat().st_ino
    posix.lock("a.json").release()
    assert (tmp_path / "a.json.lock").stat().st_ino == inode


def test_a_link_at_the_target_is_replaced_and_not_written_through(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / "a.json").symlink_to(tmp_path / "victim")
    posix.atomic_write("a.json", b"new")
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert not (tmp_path / "a.json").is_symlink()


def test_a_link_at_the_lock_is_refused(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / "a.json.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(AccessDenied, match="symbolic link"):
        posix.lock("a.json")
    assert (tmp_path / "victim").read_bytes() == b"victim"


def test_a_lock_file_that_is_immutable_is_named(posix: Store, tmp_path: Path) -> None:
    posix.lock("a.json").release()
    lock_file = tmp_path / "a.json.lock"
    marked = shutil.which("chattr") and subprocess.run(["chattr", "+i", lock_file], capture_output=True, check=False)
    if not marked or marked.returncode:
        lacking("a file system whose files can be made immutable (chattr), and root's rights")
    try:
        with pytest.raises(AccessDenied, match=r"the lock file a\.json\.lock may not be written") as caught:
            posix.lock("a.json", timeout=0)
    finally:
        subprocess.run(["chattr", "-i", lock_file], check=True)
    assert "chattr -i" in str(caught.value.hint)


def test_a_dangling_link_at_the_lock_makes_no_file(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "a.json.lock").symlink_to(tmp_path / "nowhere")
    with pytest.raises((AccessDenied, OSError)):
        posix.lock("a.json")
    assert not (tmp_path / "nowhere").exists()


def test_a_link_at_the_temporary_name_is_refused(posix: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: b"\x11" * count)
    (tmp_path / "victim").write_bytes(b"victim")
    (tmp_path / f"a.json.tmp.{os.getpid()}.{'11' * 8}").symlink_to(tmp_path / "victim")
    with pytest.raises(AccessDenied, match="temporary file"):
        posix.atomic_write("a.json", b"new")
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a" * 250, "a" * 251], ids=["255", "127 x 2", "250", "251"])
def test_a_long_name_can_be_written_locked_and_updated(posix: Store, tmp_path: Path, name: str) -> None:
    posix.update(name, lambda _: b"1")
    posix.update(name, lambda current: (current or b"") + b"2")
    assert posix.read_snapshot(name).data == b"12"
    assert sorted(os.listdir(tmp_path)) == sorted([name, lock_key(name)])


def test_names_that_are_no_keys_are_not_listed(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a.json", b"1")
    for name in ("x.tmp.1.ff", "x.lock", "con", "odd:name", b"\xff\xfe"):
        with open(os.path.join(os.fsencode(tmp_path), os.fsencode(name)), "wb"):
            pass
    assert posix.list_keys() == ["a.json"]


def test_a_link_to_a_folder_does_not_send_the_listing_in_circles(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("a/b.json", b"1")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert posix.list_keys() == ["a/b.json"]


def test_a_document_behind_a_link_is_read(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"1")
    (tmp_path / "a.json").symlink_to(tmp_path / "elsewhere")
    assert posix.read_snapshot("a.json").data == b"1"


def test_deleting_a_link_leaves_what_it_points_to(posix: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"1")
    (tmp_path / "a.json").symlink_to(tmp_path / "elsewhere")
    posix.delete("a.json")
    assert os.listdir(tmp_path) == ["elsewhere"]


def test_a_lock_whose_file_was_deleted_is_lost(posix: Store, tmp_path: Path) -> None:
    with posix.lock("a.json") as held:
        (tmp_path / "a.json.lock").unlink()
        with pytest.raises(LockLost, match="deleted, moved or replaced"):
            held.ensure_held()
        with pytest.raises(LockLost):
            posix.atomic_write("a.json", b"1", lock=held)
    assert os.listdir(tmp_path) == []


def test_a_lock_whose_file_was_moved_away_is_lost(posix: Store, tmp_path: Path) -> None:
    with posix.lock("a.json") as held:
        (tmp_path / "a.json.lock").rename(tmp_path / "moved")
        with pytest.raises(LockLost):
            posix.atomic_write("a.json", b"1", lock=held)


def test_a_waiter_whose_lock_file_is_taken_away_takes_the_new_one(posix: Store, tmp_path: Path) -> None:
    with open_store(f"file://{tmp_path}/../{tmp_path.name}") as other:  # another place for the turns of this process
        held = posix.lock("a.json")
        waiting = threading.Event()

        def wait() -> bool:
            waiting.set()
            return False

        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(other.lock, "a.json", timeout=10, cancelled=wait)
            assert waiting.wait(10)
            (tmp_path / "a.json.lock").unlink()
            held.release()
            late.result().ensure_held()
            assert (tmp_path / "a.json.lock").exists()
            late.result().release()


def test_a_lock_file_that_is_deleted_between_two_holders_is_made_again(posix: Store, tmp_path: Path) -> None:
    posix.lock("a.json").release()
    (tmp_path / "a.json.lock").unlink()
    with posix.lock("a.json", timeout=0):
        assert (tmp_path / "a.json.lock").exists()


def test_a_folder_that_was_deleted_is_made_again(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("x/a.json", b"1")
    (tmp_path / "x" / "a.json").unlink()
    (tmp_path / "x").rmdir()
    posix.update("x/a.json", lambda _: b"2")
    assert posix.read_snapshot("x/a.json").data == b"2"


def test_create_makes_the_place_with_the_first_write(tmp_path: Path) -> None:
    with open_store(tmp_path / "new" / "place", create=True) as store:
        assert not (tmp_path / "new").exists()
        with pytest.raises(DocumentNotFound):
            store.read_snapshot("a.json")
        store.atomic_write("a.json", b"1")
    assert (tmp_path / "new" / "place" / "a.json").read_bytes() == b"1"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a large write: the signal arrives while the temporary file is being written."""
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it\n"
        "from exlab_store import open_store\n"
        "real = os.fsync\n"
        "def interrupted(descriptor):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    real(descriptor)\n"
        "import exlab_store_posix.backend as backend\n"
        "backend.make_durable = interrupted\n"
        "open_store(sys.argv[1]).atomic_write('a.json', b'x' * 1000000)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_opened_refuses_a_write_before_anything_has_happened(
    posix: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posix.atomic_write("x/a.json", b"1")
    real = os.open

    def refuse(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessDenied):
        posix.atomic_write("x/a.json", b"2")
    assert (tmp_path / "x" / "a.json").read_bytes() == b"1"
    assert os.listdir(tmp_path / "x") == ["a.json"]


@pytest.mark.usefixtures("needs_root")
def test_folders_that_an_account_may_pass_but_not_read_do_not_keep_it_from_writing(open_folder: Path) -> None:
    root = open_folder / "root"
    (root / "between" / "own").mkdir(parents=True)
    os.chown(root / "between" / "own", 65534, 65534)
    (root / "between").chmod(0o711)
    root.chmod(0o711)
    program = (
        "import os, sys\n"
        "from exlab_store import open_store\n"
        "open_store(sys.argv[1])  # imports what the other account may not be able to read\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "open_store(sys.argv[1]).atomic_write('between/own/a.json', b'1')\n"
    )
    subprocess.run([sys.executable, "-c", program, str(root)], check=True)
    assert (root / "between" / "own" / "a.json").read_bytes() == b"1"


@pytest.mark.parametrize("size", [1 << 42, (1 << 44) - 4096])
def test_a_document_that_is_larger_than_the_memory_is_refused_and_not_read(
    posix: Store, tmp_path: Path, size: int
) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        try:
            file.truncate(size)  # all of it a hole
        except OSError:
            lacking("run the tests on a file system that holds files of 16 TiB with holes")
    with pytest.raises(StoreError, match=f"{size:,} bytes") as caught:
        posix.read_snapshot("a.json")
    assert not isinstance(caught.value, PluginError)
    with pytest.raises(StoreError, match="memory"):
        posix.update("a.json", lambda stored: b"1")
    assert (tmp_path / "a.json").stat().st_size == size


def test_a_lock_in_a_folder_that_another_deletes_while_it_is_made_is_taken(
    posix: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes make the folder at once, and the quicker one deletes it again."""
    make, answers = os.mkdir, [FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))]

    def mkdir(path: str) -> None:
        if answers:
            raise answers.pop()
        make(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    posix.lock("folder/a.json").release()
    assert not answers
