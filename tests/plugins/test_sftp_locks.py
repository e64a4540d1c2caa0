"""The lock over SFTP is the lock of the posix backend on the server, and its holder is the one that writes under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from exlab_store_sftp.backend import SftpBackend
from exlab_store_sftp.options import SftpOptions
from exlab_store_sftp.paths import StoreFolder
from exlab_store_sftp.server_script import SCRIPT, call
from exlab_store_sftp.server_shell import Running, ServerShell
from filelock import FileLock
from ssh_server import SshServer, new_folder, running_sshd
from standing_still import standing_still
from waiting import comes_to, eventually, is_told_of_the_loss

from exlab_store import (
    ANY,
    AccessDenied,
    BackendUnavailable,
    LockLost,
    LockOwner,
    LockTimeout,
    Store,
    StoreError,
    lock_key,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


@pytest.fixture
def folder(server: SshServer) -> Path:
    return new_folder(server)


@pytest.fixture
def remote(server: SshServer, folder: Path) -> Iterator[Store]:
    with open_anew(server, folder) as store:
        yield store


@pytest.fixture
def local(folder: Path) -> Iterator[Store]:
    """The same documents, opened on the server itself."""
    with open_store(folder) as store:
        yield store


def open_anew(server: SshServer, folder: Path, **options: Any) -> Store:
    return open_store(server.url(folder.name), **{**server.options, **options})


def test_the_holder_over_sftp_excludes_the_posix_backend_and_is_named(remote: Store, local: Store) -> None:
    with remote.lock("a.json", purpose="over SFTP") as held:
        with pytest.raises(LockTimeout) as caught:
            local.lock("a.json", timeout=0)
        assert caught.value.holder == held.owner
    local.lock("a.json", timeout=0).release()


def test_the_holder_on_the_posix_backend_excludes_sftp_and_is_named(remote: Store, local: Store) -> None:
    local.lock("a.json").release()
    with local.lock("a.json", purpose="on the server") as held:
        with pytest.raises(LockTimeout) as caught:
            remote.lock("a.json", timeout=0)
        assert caught.value.holder == held.owner
    remote.lock("a.json", timeout=0).release()


def test_nobody_is_named_when_the_lock_is_free(remote: Store, local: Store, folder: Path) -> None:
    remote.lock("a.json").release()
    local.lock("b.json").release()
    assert [found.owner for store in (remote, local) for found in store.list_leftovers()] == [None] * 4
    assert not [found for found in local.list_leftovers() if found.held]


def test_updates_over_sftp_and_on_the_server_lose_nothing(server: SshServer, folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def count_up(location: object, options: dict[str, Any]) -> None:
        with open_store(location, **options) as store:  # type: ignore[arg-type]
            for _ in range(15):
                store.update("counter.json", lambda current: str(int(current or b"0") + 1).encode())

    ways = [(server.url(folder.name), server.options), (folder, {}), (server.url(folder.name), server.options)]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(count_up, *way) for way in ways]:
            done.result(60)
    assert (folder / "counter.json").read_bytes() == b"45"


def test_a_filelock_of_another_program_excludes(remote: Store, folder: Path) -> None:
    with FileLock(folder / "a.json.lock"):
        with pytest.raises(LockTimeout) as caught:
            remote.lock("a.json", timeout=0)
        assert caught.value.holder is None
    assert (folder / "a.json.lock").read_bytes() == b""


def test_a_lock_file_that_is_a_database_is_locked_and_never_written_into(remote: Store, folder: Path) -> None:
    database = b"SQLite format 3\0" + os.urandom(1008)
    (folder / "a.json.lock").write_bytes(database)
    remote.lock("a.json").release()
    assert (folder / "a.json.lock").read_bytes() == database


def test_a_lock_file_is_for_all_who_may_write_into_its_folder(remote: Store, folder: Path) -> None:
    folder.chmod(0o775)
    remote.lock("a.json").release()
    assert (folder / "a.json.lock").stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize("planted", ["link", "folder", "pipe"])
def test_what_is_no_lock_file_is_refused(remote: Store, folder: Path, planted: str) -> None:
    path = folder / "a.json.lock"
    if planted == "link":
        path.symlink_to(folder / "elsewhere")
    elif planted == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(AccessDenied):
        remote.lock("a.json", timeout=0)
    assert not (folder / "elsewhere").exists()


def test_a_lock_whose_folder_is_deleted_while_its_file_is_made_is_to_be_asked_for_again(tmp_path: Path) -> None:
    programs, folder = tmp_path / "programs", tmp_path / "run"
    programs.mkdir()
    folder.mkdir()
    chown = programs / "chown"  # which the program on the server calls when it has made the lock file
    chown.write_text('#!/bin/sh\nfor file; do :; done\nrm -r -- "${file%/*}"\n')
    chown.chmod(0o755)
    answered = subprocess.run(
        ["/bin/sh", "-c", SCRIPT],
        input=call("lock", str(folder / "a.json.lock"), "0", "record"),
        env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert answered.stdout == b"folder\n"


def test_the_lock_is_free_when_the_connection_ends(server: SshServer, folder: Path, local: Store) -> None:
    with open_anew(server, folder) as holder:
        held = holder.lock("a.json")
        server.cut()
        local.lock("a.json", timeout=20).release()
        assert is_told_of_the_loss(held)
        with pytest.raises(LockLost):
            holder.atomic_write("a.json", b"1", lock=held)
        held.release()
    assert not (folder / "a.json").exists()


def test_the_lock_is_free_when_its_process_on_the_server_is_killed(
    server: SshServer, remote: Store, folder: Path, local: Store
) -> None:
    held = remote.lock("a.json")
    for pid in server.shell_pids():
        os.kill(pid, signal.SIGKILL)
    local.lock("a.json", timeout=20).release()
    assert is_told_of_the_loss(held)
    with pytest.raises(LockLost):
        remote.atomic_write("a.json", b"1", lock=held)
    held.release()
    remote.atomic_write("a.json", b"2")
    assert (folder / "a.json").read_bytes() == b"2"


def test_closing_the_store_frees_its_locks(server: SshServer, folder: Path, local: Store) -> None:
    store = open_anew(server, folder)
    held = store.lock("a.json")
    store.close()
    local.lock("a.json", timeout=20).release()
    held.release()


def test_a_process_that_ends_with_a_lock_ends_at_once_and_frees_it(
    server: SshServer, folder: Path, local: Store
) -> None:
    program = (
        "from exlab_store import open_store\n"
        f"store = open_store({server.url(folder.name)!r}, **{server.options!r})\n"
        "held = store.lock('a.json')\n"
        "import time; print(time.time())\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0
    assert time.time() - float(ran.stdout) < 14  # a release that waited for its thread took 15 s
    local.lock("a.json", timeout=20).release()


def test_more_locks_than_a_connection_has_sessions(remote: Store, local: Store) -> None:
    held = [remote.lock(f"{number}.json") for number in range(13)]  # sshd allows ten, unless it is told otherwise
    for number in range(13):
        with pytest.raises(LockTimeout):
            local.lock(f"{number}.json", timeout=0)
    remote.atomic_write("free.json", b"1")
    for lock in held:
        lock.release()
    local.lock("12.json", timeout=0).release()


def test_a_forked_child_uses_a_connection_of_its_own_and_keeps_no_lock_of_its_parent_alive(
    server: SshServer, remote: Store, folder: Path, local: Store
) -> None:
    held = remote.lock("a.json")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            remote.atomic_write("child.json", b"1")
            try:
                held.ensure_held()
            except LockLost:
                code = 0
            os.write(writing, b".")
            signal.pause()
        finally:
            os._exit(code)
    try:
        assert os.read(reading, 1) == b"."
        remote.atomic_write("a.json", b"parent", lock=held)
        assert (folder / "child.json").read_bytes() == b"1"
        remote.close()
        local.lock("a.json", timeout=20).release()  # though the child lives
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def _hold_and_write(location: str, options: dict[str, Any], told: int, go: int) -> None:
    """In a process of its own: takes the lock, says so, waits, and writes under it."""
    try:
        with open_store(location, **options) as store:
            held = store.lock("a.json")
            os.write(told, b"h")
            os.read(go, 1)
            try:
                store.atomic_write("a.json", b"zombie", lock=held)
            except LockLost:
                os.write(told, b"l")
            except StoreError:
                os.write(told, b"e")
            else:
                os.write(told, b"w")
    finally:
        os._exit(0)


def _frozen_holder(server: SshServer, folder: Path, local: Store) -> bytes:
    """What comes of the write of a holder that is frozen until somebody else has had the lock."""
    told, tell = os.pipe()
    gone, go = os.pipe()
    child = os.fork()
    if child == 0:
        _hold_and_write(server.url(folder.name), server.options, tell, gone)
    try:
        assert os.read(told, 1) == b"h"
        with standing_still(child):
            os.write(go, b"g")
            with local.lock("a.json", timeout=60) as held:
                local.atomic_write("a.json", b"successor", lock=held)
        said = os.read(told, 1)
        assert (folder / "a.json").read_bytes() == b"successor"
        return said
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for descriptor in (told, tell, gone, go):
            os.close(descriptor)


def test_a_holder_that_was_frozen_until_the_server_gave_it_up_does_not_write(
    server: SshServer, folder: Path, local: Store
) -> None:
    assert _frozen_holder(server, folder, local) == b"l"


@pytest.mark.slow
def test_of_200_frozen_holders_none_writes(server: SshServer, local: Store, folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folders = [new_folder(server) for _ in range(200)]

    def freeze(each: Path) -> bytes:
        with open_store(each) as store:
            return _frozen_holder(server, each, store)

    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(freeze, folders))
    assert said == [b"l"] * 200


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_write_of_a_killed_process_is_all_or_nothing(
    server: SshServer, remote: Store, folder: Path, times: int
) -> None:
    old, new = b"1" * (1 << 20), b"2" * (1 << 20)
    for number in range(times):
        remote.atomic_write("a.json", old)
        child = os.fork()
        if child == 0:
            try:
                with open_anew(server, folder) as store:
                    store.atomic_write("b.json", b"ready")
                    store.atomic_write("a.json", new)
            finally:
                os._exit(0)
        eventually((folder / "b.json").exists)
        time.sleep(0.008 * (number % 6))  # each is killed at another point
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert remote.read_snapshot("a.json").data in {old, new}
        (folder / "b.json").unlink()
    assert comes_to(lambda: not [path for path in folder.iterdir() if ".tmp." in path.name])


def test_the_record_is_one_that_every_backend_reads(remote: Store, folder: Path) -> None:
    with remote.lock("ä b/'c' $(d) `e`.json", purpose="'quoted' $HOME\nand more") as held:
        record = (folder / lock_key("ä b/'c' $(d) `e`.json")).read_bytes()
        assert msgspec.json.decode(record.split(b"\n")[1], type=LockOwner) == held.owner


def test_threads_that_share_a_lock_do_not_take_each_others_answers(server: SshServer, folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with open_anew(server, folder, timeout=8.0) as store, store.lock("a.json") as held, ThreadPoolExecutor(24) as pool:
        for _ in range(10):
            time.sleep(0.11)  # until then the last answer counts
            for asked in [pool.submit(held.ensure_held) for _ in range(100)]:
                asked.result(60)


@pytest.fixture
def backend(server: SshServer, folder: Path) -> Iterator[SftpBackend]:
    options = SftpOptions(host="127.0.0.1", port=server.port, **server.options)
    found = SftpBackend(options, StoreFolder(str(folder), create=False))
    yield found
    found.close()


@pytest.mark.parametrize("ended", [False, True], ids=["alive", "ended-itself"])
def test_what_a_doubtful_process_has_started_is_ended_with_it(backend: SftpBackend, *, ended: bool) -> None:
    mark = "exlab-store-of-an-earlier-connection"
    shell = subprocess.Popen(["sh", "-c", "sleep 300; :", mark], process_group=0)
    step = subprocess.Popen(["sleep", "300"], process_group=shell.pid)
    try:
        eventually(lambda: mark.encode() in Path(f"/proc/{shell.pid}/cmdline").read_bytes())  # the kernel shows it late
        if ended:  # and nobody has taken note of it: it has no command line any more
            shell.kill()
            eventually(lambda: not Path(f"/proc/{shell.pid}/cmdline").read_bytes())
        backend._session._doubtful.append(Running(str(shell.pid), mark))
        backend.atomic_write("a.json", b"1", ANY, None)
        assert step.wait(60) == -signal.SIGKILL
    finally:
        for process in (step, shell):
            process.kill()
            process.wait()


def test_a_process_of_another_that_has_the_number_of_a_doubtful_one_is_left_alone(backend: SftpBackend) -> None:
    other = subprocess.Popen(["sleep", "300"], process_group=0)
    try:
        eventually(lambda: Path(f"/proc/{other.pid}/cmdline").read_bytes())
        backend._session._doubtful.append(Running(str(other.pid), "exlab-store-of-an-earlier-connection"))
        backend.atomic_write("a.json", b"1", ANY, None)
        assert not backend._session._doubtful
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_that_cannot_be_ended_costs_no_further_process_with_each_request(
    server: SshServer, backend: SftpBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cannot(*_: object) -> tuple[str, str]:
        return "alive", ""

    before = len(server.shell_pids())
    backend._session._doubtful.append(Running("1", "exlab-store-that-waits-for-a-disk"))
    monkeypatch.setattr(ServerShell, "ask", cannot)
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="still at work"):
            backend.atomic_write("a.json", b"1", ANY, None)
    assert len(server.shell_pids()) <= before
