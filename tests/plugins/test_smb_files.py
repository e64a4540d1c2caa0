"""What the SMB backend does to files on the server: names, leftovers, lock files, and other programs beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from smb_stores import age, old_enough
from waiting import eventually

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    LockTimeout,
    Store,
    StoreError,
    VersionConflict,
    open_store,
    version_of,
)
from exlab_store.clients.process import ClientProcess
from exlab_store.testing.conformance.clients import KitRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter


@pytest.fixture
def lab(samba: SambaServer) -> Iterator[Store]:
    with open_store(samba.url(), password=samba.password) as store:
        yield store


@pytest.fixture
def other(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    """A client that this process takes for one of another place, as its URL differs."""
    with open_store(samba.url(port=wire.port), password=samba.password) as store:
        yield store


@pytest.fixture
def on_the_server(samba: SambaServer) -> Iterator[Store]:
    """A store of the posix backend on the exported folder."""
    samba.root.mkdir(exist_ok=True)
    with open_store(samba.root) as store:
        yield store


def names(samba: SambaServer) -> list[str]:
    return sorted(str(path.relative_to(samba.root)) for path in samba.root.rglob("*") if not path.is_dir())


# Names


def names_on_the_wire(store: Store, samba: SambaServer, key: str) -> set[str]:
    """The names that appear beside a document while it is written again and again."""
    seen: set[str] = set()
    document = samba.root / key
    document.parent.mkdir(exist_ok=True)
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.update(os.listdir(document.parent))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        deadline = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < deadline:
            store.atomic_write(key, b"x" * (2 << 20))  # step by step, so that it is there for a while
    finally:
        over.set()
        watcher.join()
    assert len(seen) > 1
    return seen - {document.name}


def test_a_temporary_file_stands_beside_its_document_and_is_named_after_it(lab: Store, samba: SambaServer) -> None:
    for name in names_on_the_wire(lab, samba, "folder/a.json"):
        assert re.fullmatch(rf"a\.json\.tmp\.{os.getpid()}\.[0-9a-f]{{16}}", name)


def test_a_temporary_files_name_is_shortened_where_it_would_be_too_long(lab: Store, samba: SambaServer) -> None:
    for name in names_on_the_wire(lab, samba, "folder/" + "é" * 127):
        assert len(name.encode()) <= 255
        assert re.search(rf"\.tmp\.{os.getpid()}\.[0-9a-f]{{16}}$", name)


def test_temporary_files_and_locks_of_others_are_not_listed(lab: Store, samba: SambaServer) -> None:
    lab.atomic_write("a.json", b"{}")
    lab.lock("a.json").release()
    (samba.root / "a.json.tmp.1.0123456789abcdef").touch()
    assert list(lab.list_keys()) == ["a.json"]


def test_keys_that_differ_only_in_case_are_one_document_with_one_lock(
    lab: Store, other: Store, samba: SambaServer
) -> None:
    lab.atomic_write("a.json", b"small")
    with lab.lock("a.json"), pytest.raises(LockTimeout):
        other.lock("A.json", timeout=0)
    lab.atomic_write("A.json", b"LARGE")
    assert lab.read_snapshot("a.json").data == b"LARGE"
    assert len(list(lab.list_keys())) == 1


@pytest.mark.parametrize("key", ["über/naïve 測試.json", "a b.json", "100%.json", "#1;x=y.json", "x" * 255])
def test_any_valid_name_is_the_name_of_the_file(lab: Store, samba: SambaServer, key: str) -> None:
    lab.atomic_write(key, b"{}")
    assert names(samba) == [key]
    assert list(lab.list_keys()) == [key]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 20 << 20])
def test_documents_of_any_size_are_stored_and_read_whole(lab: Store, samba: SambaServer, size: int) -> None:
    data = os.urandom(size)
    assert lab.atomic_write("a.json", data) == version_of(data)
    assert (samba.root / "a.json").read_bytes() == data
    assert lab.read_snapshot("a.json").data == data


def test_a_document_that_was_replaced_by_a_larger_or_smaller_one_is_read_whole(lab: Store, samba: SambaServer) -> None:
    for size in (10, 70_000, 9 << 20, 200_000, 0, 1):
        (samba.root / "a.json").write_bytes(b"x" * size)
        assert len(lab.read_snapshot("a.json").data) == size


# Leftovers


def refused_by_a_folder(store: Store, samba: SambaServer) -> None:
    (samba.root / "a.json").mkdir()
    with pytest.raises(StoreError):
        store.atomic_write("a.json", b"{}")


def refused_by_a_version(store: Store, samba: SambaServer) -> None:
    with pytest.raises(VersionConflict):
        store.atomic_write("a.json", b"{}", expect=version_of(b"other"))


def refused_by_a_lost_lock(store: Store, samba: SambaServer) -> None:
    with store.lock("a.json") as held:
        (client,) = samba.holder_pids(samba.root / "a.json.lock", locked=True)
        samba.kill_client(client)
        with pytest.raises(StoreError):
            store.atomic_write("a.json", b"{}", lock=held)


@pytest.mark.parametrize("failure", [refused_by_a_folder, refused_by_a_version, refused_by_a_lost_lock])
def test_a_failed_write_leaves_nothing(
    lab: Store, samba: SambaServer, failure: Callable[[Store, SambaServer], None]
) -> None:
    failure(lab, samba)
    assert [name for name in names(samba) if name != "a.json.lock"] == []


@pytest.mark.parametrize("size", [2, 3 << 20])
@pytest.mark.parametrize("when", ["before_request", "after_request", "reply_lost"])
@pytest.mark.parametrize("message", range(4))
def test_a_write_whose_connection_is_cut_leaves_nothing_but_the_document(
    samba: SambaServer, wire: WireProxy, other: Store, size: int, when: Any, message: int
) -> None:
    def cut_at_the_age_of(seconds: float) -> None:
        wire.heal()
        other.atomic_write("a.json", b"before")
        age(samba.root / "a.json", seconds)
        wire.cut_at(message, when)
        other.atomic_write("a.json", b"x" * size)

    old_enough(cut_at_the_age_of)
    eventually(lambda: names(samba) == ["a.json"])
    assert other.read_snapshot("a.json").data == b"x" * size


def test_a_writer_that_is_killed_leaves_at_most_its_temporary_file(samba: SambaServer, tmp_path: Path) -> None:
    (samba.root / "a.json").write_bytes(b"before")
    client = ClientProcess(KitRequests, 10.0).open(samba.url(), {"password": samba.password})
    client.send("write", key="a.json", data=b"x" * (8 << 20))
    eventually(lambda: len(names(samba)) > 1 or (samba.root / "a.json").stat().st_size > 100)
    client.kill()
    assert (samba.root / "a.json").read_bytes() in {b"before", b"x" * (8 << 20)}
    assert all(name == "a.json" or name.startswith("a.json.tmp.") for name in names(samba))


def test_a_missing_document_leaves_nothing_when_it_is_read_or_deleted(lab: Store, samba: SambaServer) -> None:
    with pytest.raises(DocumentNotFound):
        lab.read_snapshot("a/b.json")
    with pytest.raises(DocumentNotFound):
        lab.delete("a/b.json")
    assert os.listdir(samba.root) == ["a"] or os.listdir(samba.root) == []
    assert names(samba) in ([], ["a/b.json.lock"])


def test_the_server_has_no_file_open_when_nothing_is_going_on(lab: Store, samba: SambaServer) -> None:
    lab.update("folder/a.json", lambda _: b"x" * (3 << 20))
    lab.read_snapshot("folder/a.json")
    list(lab.list_keys())
    with pytest.raises(VersionConflict):
        lab.atomic_write("folder/a.json", b"{}", expect=version_of(b"other"))
    for path in (samba.root / "folder", *(samba.root / "folder").iterdir()):
        eventually(lambda path=path: samba.holder_pids(path) == [])  # smbd may be at the last CLOSE


def test_a_document_name_that_the_server_keeps_for_itself_is_refused_as_a_name(samba: SambaServer) -> None:
    samba.add_share(samba.share, samba.root, veto_files="/a.json/")
    with open_store(samba.url(user=False), **samba.options) as store, pytest.raises(InvalidKey):
        store.atomic_write("a.json", b"{}")


# Lock files


def test_the_record_of_the_holder_begins_behind_the_locked_byte(lab: Store, samba: SambaServer) -> None:
    with lab.lock("a.json", purpose="re-sync") as held:
        text = (samba.root / "a.json.lock").read_bytes()
        assert text[:1] in {b"\0", b"\n"}
        record = json.loads(text[1:].partition(b"\n")[0])
        assert record["id"] == held.owner.id
        assert record["pid"] == os.getpid()
        assert record["purpose"] == "re-sync"


def test_after_the_release_the_lock_file_stays_and_names_nobody(lab: Store, samba: SambaServer) -> None:
    with lab.lock("a.json") as held:
        inode = (samba.root / "a.json.lock").stat().st_ino
    assert held.owner.id.encode() not in (samba.root / "a.json.lock").read_bytes()[1:2]
    lab.lock("a.json").release()
    lab.update("a.json", lambda _: b"{}")
    lab.delete("a.json")
    assert (samba.root / "a.json.lock").stat().st_ino == inode


def test_an_owners_record_does_not_outlive_the_next_owner(lab: Store, other: Store, samba: SambaServer) -> None:
    with lab.lock("a.json", purpose="a long purpose, " * 20):
        pass
    with lab.lock("a.json", purpose="short"), pytest.raises(LockTimeout) as caught:
        other.lock("a.json", timeout=0)
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == "short"


def assert_shows(caught: pytest.ExceptionInfo[LockTimeout], purpose: str, pid: int) -> None:
    holder = caught.value.holder
    assert holder is not None
    assert (holder.purpose, holder.pid) == (purpose, pid)


def test_who_waits_in_vain_is_told_who_holds_the_lock(lab: Store, other: Store) -> None:
    with lab.lock("a.json", purpose="re-sync"), pytest.raises(LockTimeout) as caught:
        other.lock("a.json", timeout=0.2)
    assert_shows(caught, "re-sync", os.getpid())


def test_a_process_is_told_which_other_process_holds_the_lock(samba: SambaServer, lab: Store) -> None:
    client = ClientProcess(KitRequests, 10.0).open(samba.url(), {"password": samba.password})
    try:
        identifier = client.ask("lock", key="a.json", timeout=5.0)
        with pytest.raises(LockTimeout) as caught:
            lab.lock("a.json", timeout=0.2)
        assert caught.value.holder is not None
        assert caught.value.holder.id == identifier
        assert caught.value.holder.pid != os.getpid()
    finally:
        client.end()


def test_a_client_is_told_that_the_posix_backend_holds_the_lock(on_the_server: Store, lab: Store) -> None:
    with on_the_server.lock("a.json", purpose="on the server"), pytest.raises(LockTimeout) as caught:
        lab.lock("a.json", timeout=0.2)
    assert_shows(caught, "on the server", os.getpid())


def test_the_posix_backend_is_told_which_client_holds_the_lock(on_the_server: Store, lab: Store) -> None:
    with lab.lock("a.json", purpose="over the network"), pytest.raises(LockTimeout) as caught:
        on_the_server.lock("a.json", timeout=0.2)
    assert_shows(caught, "over the network", os.getpid())


def test_a_lock_of_another_program_names_nobody(samba: SambaServer, lab: Store) -> None:
    program = (
        "import fcntl, struct, sys\n"
        "file = open(sys.argv[1], 'wb')\n"
        "fcntl.fcntl(file, 37, struct.pack('hhqqixxxx', fcntl.F_WRLCK, 0, 0, 1, 0))  # F_OFD_SETLK\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(samba.root / "a.json.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(LockTimeout) as caught:
            lab.lock("a.json", timeout=0.2)
        process.send_signal(signal.SIGKILL)
    assert caught.value.holder is None


@pytest.mark.parametrize("content", [b"", b"12345", b"\n{}\n", b"\xff" * 5000, b"\n" + b"[" * 5000])
def test_whatever_is_in_a_lock_file_it_can_be_locked(lab: Store, samba: SambaServer, content: bytes) -> None:
    (samba.root / "a.json.lock").write_bytes(content)
    with lab.lock("a.json", timeout=20) as held:
        held.ensure_held()


def test_every_waiter_is_granted_the_lock_when_it_is_released(lab: Store, other: Store) -> None:
    # Samba forgets to wake a waiter now and then when the holder only closes its handle (8 to 40 of 300, on 4.17).
    for number in range(100):
        held = lab.lock("a.json")
        waiter = threading.Thread(target=lambda: other.lock("a.json", timeout=20.0).release())
        waiter.start()
        time.sleep(number % 20 * 0.0005)  # before, while and after the waiter's request arrives
        held.release()
        waiter.join(2.0)
        assert not waiter.is_alive(), f"the waiter of round {number} still waits two seconds after the release"


def test_a_waiter_that_gave_up_never_gets_the_lock(lab: Store, other: Store, samba: SambaServer) -> None:
    with lab.lock("a.json"):
        for timeout in (0, 0.01, 0.1):
            with pytest.raises(LockTimeout):
                other.lock("a.json", timeout=timeout)
        eventually(lambda: len(samba.holder_pids(samba.root / "a.json.lock")) == 1)
    eventually(lambda: samba.holder_pids(samba.root / "a.json.lock", locked=True) == [])


def test_when_a_store_is_closed_its_locks_are_free(samba: SambaServer, other: Store) -> None:
    store = open_store(samba.url(), password=samba.password)
    held = store.lock("a.json")
    store.close()
    other.lock("a.json", timeout=20).release()
    held.release()


# Other programs


@contextmanager
def fsspec_file(samba: SambaServer, key: str, mode: str = "rb") -> Iterator[Any]:
    """A file that fsspec's own filesystem has open, which by its default it shares with nobody."""
    import smbclient
    from fsspec.implementations.smb import SMBFileSystem

    filesystem = SMBFileSystem("127.0.0.1", port=samba.port, skip_instance_cache=True, **samba.options)
    try:
        with filesystem.open(f"/lab/{key}", mode) as file:
            yield file
    finally:
        smbclient.delete_session("127.0.0.1", port=samba.port)


def test_a_write_goes_through_or_is_refused_in_time_while_fsspec_has_the_document_open(samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(b"old")
    with open_store(samba.url(), password=samba.password, timeout=2.0) as store:
        began = time.monotonic()
        with fsspec_file(samba, "a.json") as file:
            with suppress(BackendUnavailable):  # Windows, and Samba from 4.22 on
                store.atomic_write("a.json", b"new")
            assert time.monotonic() - began < 5.0
            assert file.read() == b"old"
        store.atomic_write("a.json", b"newer")
        assert store.read_snapshot("a.json").data == b"newer"
    assert names(samba) == ["a.json"]


def test_a_read_waits_for_a_reader_of_fsspec(samba: SambaServer, lab: Store) -> None:
    (samba.root / "a.json").write_bytes(b"old")
    with ThreadPoolExecutor(1) as pool:
        with fsspec_file(samba, "a.json"):
            reading = pool.submit(lab.read_snapshot, "a.json")
            with pytest.raises(TimeoutError):
                reading.result(0.2)
        assert reading.result(10).data == b"old"


def test_a_read_is_refused_in_time_where_a_reader_of_fsspec_keeps_the_document_open(samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(b"old")
    with (
        open_store(samba.url(), password=samba.password, timeout=1.0) as store,
        fsspec_file(samba, "a.json"),
    ):
        began = time.monotonic()
        with pytest.raises(StoreError) as caught:
            store.read_snapshot("a.json")
        assert time.monotonic() - began < 5.0
    assert "open" in str(caught.value.hint)


def test_fsspec_reads_what_we_have_written_while_we_read_and_write(samba: SambaServer, lab: Store) -> None:
    from fsspec.implementations.smb import SMBFileSystem

    documents = {bytes([letter]) * 100_000 for letter in b"abcd"}
    over = threading.Event()

    def work() -> int:
        count = 0
        while not over.is_set():
            for data in sorted(documents):
                lab.atomic_write("a.json", data)
                assert lab.read_snapshot("a.json").data in documents
                count += 1
        return count

    import smbclient

    lab.atomic_write("a.json", b"a" * 100_000)
    filesystem = SMBFileSystem("127.0.0.1", port=samba.port, skip_instance_cache=True, **samba.options)

    def read() -> bytes:
        with filesystem.open("/lab/a.json", "rb") as file:
            return bytes(file.read())

    def read_undisturbed() -> bytes:
        # fsspec opens for itself alone: 29 of 7,500 opens met one of ours, and one met a rename within the server.
        for _ in range(20):
            with suppress(OSError):
                return read()
        return read()

    try:
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            try:
                for _ in range(30):
                    assert read_undisturbed() in documents
            finally:
                over.set()
            assert working.result(20) > 0
    finally:
        smbclient.delete_session("127.0.0.1", port=samba.port)


def test_what_a_program_on_the_server_has_written_is_read_at_once(
    lab: Store, on_the_server: Store, samba: SambaServer
) -> None:
    for number in range(50):
        on_the_server.atomic_write("a.json", str(number).encode())
        assert lab.read_snapshot("a.json").data == str(number).encode()
        lab.atomic_write("a.json", b"x" * number)
        assert on_the_server.read_snapshot("a.json").data == b"x" * number


def test_a_document_that_another_program_writes_in_place_is_replaced(lab: Store, samba: SambaServer) -> None:
    with (samba.root / "a.json").open("wb") as file:
        file.write(b"half of it")
        file.flush()
        lab.atomic_write("a.json", b"whole")
    assert (samba.root / "a.json").read_bytes() == b"whole"


# Several clients


def test_several_clients_count_together(samba: SambaServer) -> None:
    def count(_: int) -> None:
        with open_store(samba.url(), password=samba.password) as store:
            for _ in range(10):
                store.update("a.json", lambda data: str(int(data or b"0") + 1).encode())

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(count, range(6)))
    assert (samba.root / "a.json").read_bytes() == b"60"


def test_clients_that_make_the_same_folders_at_once_all_succeed(samba: SambaServer) -> None:
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        with open_store(samba.url(), password=samba.password) as store:
            barrier.wait(10)
            for depth in range(5):
                store.atomic_write(f"{depth}/new/deep/{number}.json", b"{}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len(names(samba)) == 30


def test_a_store_has_one_connection_whatever_its_threads_do(samba: SambaServer, lab: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: lab.atomic_write(f"{number}.json", b"{}"), range(200)))
    assert len(samba.client_pids()) == 1


def test_a_closed_store_has_no_connection(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        store.atomic_write("a.json", b"{}")
    eventually(lambda: samba.client_pids() == [])


def test_an_update_whose_change_raises_makes_no_folder(lab: Store, samba: SambaServer) -> None:
    lab.update("run-17/run.json", lambda _: b"1")
    shutil.rmtree(samba.root / "run-17")

    def refuse(_: bytes | None) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lab.update("run-17/run.json", refuse)
    assert list(samba.root.iterdir()) == []
    lab.update("run-17/run.json", lambda current: (current or b"") + b"2")
    assert lab.read_snapshot("run-17/run.json").data == b"2"
