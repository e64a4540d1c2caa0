"""What a second look at the SMB backend found: each of these went wrong once."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from exlab_store_smb.session.options import SmbOptions
from exlab_store_smb.steps.locking import SmbLock
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.transport import DeadlineTcp
from rich.pretty import pretty_repr
from waiting import eventually

from exlab_store import (
    AccessDenied,
    InvalidKey,
    LockLost,
    NotSupported,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

OLD = b"old " * 512
NEW = b"new " * 512
LARGE = b"new " * (7 << 18)  # 7 MiB


def opened(samba: SambaServer, port: int = 0, **options: Any) -> Store:
    share = options.pop("share", None)
    account: dict[str, Any] = {**samba.options}
    return open_store(samba.url(user=False, port=port or samba.port, share=share), **account, **options)


def written(store: Store, path: Path, data: bytes = NEW) -> bool | None:
    """Whether a document was written, by what the store says; None when it does not know."""
    try:
        store.atomic_write(path.name, data)
    except WriteOutcomeUnknown:
        return None
    except StoreError:
        return False
    return True


@contextmanager
def somebody_has_open(samba: SambaServer, path: Path, shares: str = "") -> Generator[None]:
    """Another program, as a virus scanner, has a file open, and shares it with nobody if not told otherwise."""
    smbclient: Any = importlib.import_module("smbclient")  # it has no types
    cache: dict[str, Any] = {}
    account: dict[str, Any] = {**samba.options, "port": samba.port, "connection_cache": cache}
    name = rf"\\127.0.0.1\{samba.share}\{path.relative_to(samba.root)}"
    while True:
        with suppress(OSError):  # the one who has had it open is not gone yet
            file = smbclient.open_file(name, mode="rb", share_access=shares, **account)
            break
    try:
        yield
    finally:
        file.close()
        smbclient.reset_connection_cache(connection_cache=cache)


# What the temporary file tells about a change whose answer was lost


def test_a_rename_that_was_refused_is_not_taken_for_done_when_the_network_fails_while_it_is_cleared_up(
    samba: SambaServer, wire: WireProxy
) -> None:
    samba.add_share(samba.share, samba.root, veto_files="/a.json/")  # the temporary file can be made
    with opened(samba, wire.port, timeout=3.0) as store:
        wire.cut_at(1, "reply_lost")
        assert not written(store, samba.root / "a.json")
        assert wire.fired.is_set()


def test_a_deletion_of_the_temporary_file_whose_answer_was_lost_too_is_not_taken_for_the_rename(
    samba: SambaServer, wire: WireProxy
) -> None:
    with opened(samba, wire.port, timeout=5.0, one_round_trip=False) as store:
        for number in range(3, 9):  # coming back takes some messages; then the temporary file is deleted
            path = samba.root / f"{number}.json"
            path.write_bytes(OLD)
            wire.delay = 0.03  # there is time for a second plan
            wire.cut_at(1, "before_request")
            with ThreadPoolExecutor(1) as pool:
                said = pool.submit(written, store, path)
                eventually(wire.fired.is_set)
                wire.cut_at(number, "reply_lost")
                said.result()
            wire.heal()
            wire.delay = 0.0
            if said.result() is not None:
                assert path.read_bytes() == (NEW if said.result() else OLD), f"cut again at {number}"


def test_a_temporary_file_that_somebody_has_open_is_not_taken_for_renamed(samba: SambaServer, wire: WireProxy) -> None:
    path = samba.root / "a.json"
    path.write_bytes(OLD)
    with opened(samba, wire.port, timeout=5.0, one_round_trip=False) as store, ThreadPoolExecutor(1) as pool:
        wire.delay = 0.05  # coming back takes a while
        wire.cut_at(1, "before_request")
        said = pool.submit(written, store, path)
        eventually(wire.fired.is_set)
        with somebody_has_open(samba, next(samba.root.glob("a.json.tmp.*"))):
            said.result()
    if said.result() is not None:
        assert path.read_bytes() == (NEW if said.result() else OLD)


def test_a_temporary_file_is_not_deleted_while_its_writer_has_it_open(samba: SambaServer) -> None:
    # The writer would rename it to the document, and the document would go with it.
    path = samba.root / "a.json.tmp.1.0123456789abcdef"
    path.write_bytes(NEW)
    with opened(samba) as store:
        (leftover,) = store.list_leftovers()
        with somebody_has_open(samba, path, "rwd"), pytest.raises(AccessDenied):
            store.remove_leftover(leftover)
        assert path.exists()
        store.remove_leftover(leftover)
        assert not path.exists()


# Interruptions


@contextmanager
def interrupted(when: Callable[[], object]) -> Generator[None]:
    """Ctrl-C in the main thread, as soon as something is true."""

    def wait() -> None:
        eventually(when)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        thread.join()


def test_an_interrupted_write_gives_its_lock_up_for_it_may_still_be_under_way(
    samba: SambaServer, wire: WireProxy
) -> None:
    with opened(samba, wire.port) as store, store.lock("a.json") as held:
        wire.black_hole_at(0, "reply")
        with interrupted(wire.fired.is_set):
            store.atomic_write("a.json", NEW, lock=held)
        with pytest.raises(LockLost):
            held.ensure_held()


def test_an_interrupted_write_does_not_overwrite_what_the_next_holder_of_the_lock_writes(samba: SambaServer) -> None:
    with opened(samba) as store, opened(samba) as other:
        store.atomic_write("a.json", b"0")
        with store.lock("a.json"):
            (server,) = samba.holder_pids(samba.root / "a.json.lock", locked=True)
        with slow_to_flush(server):
            seen = threading.Event()

            def add_one(current: bytes | None) -> bytes:
                seen.set()
                return b"%d" % (int(current or b"0") + 1)

            with interrupted(lambda: seen.is_set() and list(samba.root.glob("a.json.tmp.*"))):
                store.update("a.json", add_one)
            other.update("a.json", lambda current: b"%d" % (int(current or b"0") + 100))
            eventually(lambda: server not in samba.client_pids())
        assert int((samba.root / "a.json").read_bytes()) >= 100


@contextmanager
def slow_to_flush(pid: int) -> Generator[None]:
    """The disk under a process takes a second to flush a file."""
    program = shutil.which("strace")
    if program is None:
        lacking("install strace: it slows a system call of the server down")
    with tempfile.NamedTemporaryFile() as log:
        command = [str(program), "-f", "-o", log.name, "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=1000000"]
        tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{pid}/status").read_text())
            yield
        finally:
            tracer.kill()  # it hangs now and then when asked to end, as a process that it delayed is gone
            tracer.wait()


def test_an_interrupted_release_frees_the_lock(samba: SambaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(samba) as store, opened(samba) as other:
        held = store.lock("a.json")

        def interrupted_before_it_is_sent(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("exlab_store_smb.session.link.Link.send_off", interrupted_before_it_is_sent)
            with pytest.raises(KeyboardInterrupt):
                held.release()
        other.lock("a.json", timeout=5).release()


# Threads that share a lock


def test_a_lock_that_another_thread_releases_is_held_until_the_write_under_it_has_ended(
    samba: SambaServer, wire: WireProxy
) -> None:
    with opened(samba, wire.port) as store, opened(samba) as other, ThreadPoolExecutor(1) as pool:
        held = store.lock("a.json")
        wire.delay = 0.02
        with wire.counting() as counted:
            writing = pool.submit(store.atomic_write, "a.json", LARGE, lock=held)
            eventually(lambda: counted.requests > 1)
            held.release()
        other.update("a.json", lambda _: b"successor")
        with suppress(LockLost):
            writing.result()
        assert (samba.root / "a.json").read_bytes() == b"successor"


def test_a_lock_of_the_backend_that_was_released_refuses_a_write_at_once(samba: SambaServer) -> None:
    with opened(samba, timeout=5.0) as store:
        held = store.lock("a.json")
        held.release()
        assert isinstance(held.inner, SmbLock)
        with pytest.raises(LockLost), held.inner.in_use(Deadline(0)):
            held.inner.ensure_held()


# Closing


def test_a_store_that_is_closed_while_it_connects_keeps_no_connection(samba: SambaServer, wire: WireProxy) -> None:
    store = opened(samba, wire.port)
    wire.cut()
    wire.delay = 0.25
    with wire.counting() as counted, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.read_snapshot, "a.json")
        eventually(lambda: counted.requests > 0)
        store.close()
        with pytest.raises(NotSupported):
            reading.result()
    eventually(lambda: not samba.client_pids())


# Servers and shares with little to give


@pytest.mark.parametrize("granted", [16, 64])
def test_a_large_document_is_read_and_written_where_the_server_grants_few_credits(granted: int) -> None:
    from samba_server import SambaServer

    with (
        tempfile.TemporaryDirectory() as directory,
        SambaServer(Path(directory, "server"), global_settings={"smb2 max credits": str(granted)}) as samba,
        opened(samba, timeout=10.0) as store,
    ):
        store.atomic_write("a.json", LARGE)
        for _ in range(2):  # the second time, its size is known
            assert store.read_snapshot("a.json").data == LARGE


def test_a_share_that_fills_up_while_a_write_is_on_its_way_keeps_the_old_document(
    samba: SambaServer, wire: WireProxy, needs_root: None
) -> None:
    volume = samba.directory / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777,size=64m", "none", str(volume)], check=True)
    try:
        samba.add_share("volume", volume)
        with opened(samba, wire.port, share="volume") as store, ThreadPoolExecutor(1) as pool:
            store.atomic_write("a.json", OLD)
            wire.delay = 0.2
            with wire.counting() as counted:
                writing = pool.submit(written, store, volume / "a.json", b"n" * 200_000)
                eventually(lambda: counted.requests == 1)
                with suppress(OSError), (volume / "filler").open("wb", buffering=0) as filler:
                    while filler.write(bytes(1 << 16)):
                        pass
                assert writing.result() is False
        assert (volume / "a.json").read_bytes() == OLD
    finally:
        subprocess.run(["umount", "--lazy", str(volume)], check=True)


# Others


def test_a_deletion_waits_for_a_program_that_has_the_document_open_for_a_moment(samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    with opened(samba) as store, ThreadPoolExecutor(1) as pool:
        with somebody_has_open(samba, samba.root / "a.json"):
            deleting = pool.submit(store.delete, "a.json")
            with pytest.raises(TimeoutError):
                deleting.result(0.2)
        deleting.result()
    assert not (samba.root / "a.json").exists()


def test_a_document_name_that_the_server_keeps_for_itself_is_refused_as_a_name(samba: SambaServer) -> None:
    samba.add_share(samba.share, samba.root, veto_files="/a.json/")
    with opened(samba) as store, pytest.raises(InvalidKey):
        store.atomic_write("a.json", NEW)


def test_what_rich_prints_of_the_options_has_no_password() -> None:
    assert "secret" not in pretty_repr(SmbOptions(host="nas01", username="u", password="secret"))


def test_a_listing_that_takes_longer_than_the_timeout_ends_and_takes_nobody_s_lock_away(
    samba: SambaServer, wire: WireProxy
) -> None:
    for number in range(8):
        (samba.root / f"{number}").mkdir()
        (samba.root / f"{number}" / "a.json").write_bytes(OLD)
    with opened(samba, wire.port, timeout=1.0) as store, store.lock("a.json") as held:
        wire.delay = 0.08
        assert len(store.list_keys()) == 8
        wire.delay = 0.0
        held.ensure_held()


def test_a_server_is_found_at_its_second_address_when_the_first_swallows_everything(
    samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as swallowing:
        swallowing.bind(("127.0.0.2", 0))
        swallowing.listen(0)
        silent = swallowing.getsockname()
        with socket.create_connection(silent):  # its queue is full now
            addresses = [silent, ("127.0.0.1", samba.port)]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

            def resolved(*_: Any, **__: Any) -> list[Any]:
                return found

            monkeypatch.setattr(socket, "getaddrinfo", resolved)
            tcp = DeadlineTcp("nas01", samba.port, 2.0)
            began = time.monotonic()
            tcp.connect()
            tcp.close()
            assert time.monotonic() - began < 1.9  # there was time left for the second one


# Whose change it was


def lock_without_a_record(path: Path) -> int:
    """Locks as FileLock does on Windows and over a cifs mount: byte 0, and not a word in the file."""
    import fcntl
    import struct

    descriptor = os.open(path, os.O_RDWR)
    held = [False]

    def granted() -> bool:
        with suppress(BlockingIOError, PermissionError):
            fcntl.fcntl(descriptor, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))  # F_OFD_SETLK
            held[0] = True
        return held[0]

    eventually(granted)
    return descriptor


def test_a_count_of_the_next_holder_is_not_taken_for_ones_own(samba: SambaServer, wire: WireProxy) -> None:
    document = samba.root / "a.json"
    document.write_bytes(b"1")
    with opened(samba, wire.port, timeout=10.0) as store:
        held = store.lock("a.json")
        wire.refuse()
        wire.cut_at(0, "before_request")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(store.atomic_write, "a.json", b"2", lock=held)
            descriptor = lock_without_a_record(document.with_name("a.json.lock"))
            (samba.root / "new").write_bytes(b"2")
            os.replace(samba.root / "new", document)
            os.close(descriptor)
            wire.heal()
            with pytest.raises((LockLost, WriteOutcomeUnknown)):
                writing.result(20)


@pytest.mark.parametrize("data", [NEW, OLD], ids=["other bytes", "the same bytes"])
def test_a_write_under_a_lock_whose_answer_was_lost_is_known_by_its_mark(
    samba: SambaServer, wire: WireProxy, data: bytes
) -> None:
    (samba.root / "a.json").write_bytes(OLD)
    with opened(samba, wire.port, timeout=10.0) as store:
        held = store.lock("a.json")
        wire.cut_at(0, "reply_lost")
        store.atomic_write("a.json", data, lock=held)
        held.release()
    assert (samba.root / "a.json").read_bytes() == data
