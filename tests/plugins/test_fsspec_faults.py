"""What goes wrong over WebDAV and elsewhere is its own clear error, in time, and says what has happened."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from conftest import lacking
from cutting_proxy import FAULTS, running_proxy
from exlab_store_fsspec.call_threads import CallThreads
from exlab_store_fsspec.faults import FolderNotMade, read_fault, write_fault
from exlab_store_fsspec.webdav import RefusedRequest
from fsspec.implementations.memory import MemoryFileSystem
from standing_still import standing_still
from waiting import eventually
from web_servers import KINDS, running_web_server

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    LocationError,
    NotSupported,
    Secret,
    StorageFull,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cutting_proxy import Fault
    from web_servers import WebServer

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(scope="module")
def apache() -> Iterator[WebServer]:
    with running_web_server("apache") as server:
        yield server


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[WebServer]:
    with running_web_server(request.param) as found:
        yield found


# What the exceptions mean

_READS = [
    (FileNotFoundError(), DocumentNotFound),
    (NotADirectoryError(), DocumentNotFound),
    (IsADirectoryError(), InvalidKey),
    (PermissionError(), AccessDenied),
    (NotImplementedError(), NotSupported),
    (RefusedRequest(401), AccessDenied),
    (RefusedRequest(403), AccessDenied),
    (RefusedRequest(404), DocumentNotFound),
    (RefusedRequest(405), NotSupported),
    (RefusedRequest(503), BackendUnavailable),
    (RefusedRequest(302), NotSupported),
    (RefusedRequest(418), NotSupported),
    (httpx.ReadTimeout("late"), BackendUnavailable),
    (ConnectionResetError(), BackendUnavailable),
    (ssl.SSLCertVerificationError("bad"), BackendUnavailable),
    (RuntimeError("anything"), BackendUnavailable),
    (OSError(errno.ELOOP, "loop", "/a"), AccessDenied),
    (OSError(errno.EINVAL, "not here", "/a"), NotSupported),
    (OSError(errno.EBUSY, "slow down, a server says"), BackendUnavailable),
]


@pytest.mark.parametrize(("raised", "error"), _READS, ids=lambda value: repr(value))
def test_a_read_that_fails_has_not_happened(raised: Exception, error: type[StoreError]) -> None:
    assert type(read_fault(raised, ())) is error


_WRITES = [
    (PermissionError(), AccessDenied),
    (IsADirectoryError(), InvalidKey),
    (FileExistsError(), InvalidKey),
    (OSError(errno.ENAMETOOLONG, "long"), InvalidKey),
    (OSError(errno.EROFS, "read only"), AccessDenied),
    (OSError(errno.ENOSPC, "full"), StorageFull),
    (RefusedRequest(401), AccessDenied),
    (RefusedRequest(409), InvalidKey),
    (RefusedRequest(413), StorageFull),
    (RefusedRequest(423), BackendUnavailable),
    (RefusedRequest(429), BackendUnavailable),
    (RefusedRequest(507), StorageFull),
    (RefusedRequest(500), WriteOutcomeUnknown),
    (RefusedRequest(502), WriteOutcomeUnknown),
    (RefusedRequest(503), WriteOutcomeUnknown),
    (httpx.ConnectError("refused"), BackendUnavailable),
    (httpx.ConnectTimeout("late"), BackendUnavailable),
    (httpx.ReadTimeout("late"), WriteOutcomeUnknown),
    (httpx.WriteError("cut"), WriteOutcomeUnknown),
    (ConnectionRefusedError(), BackendUnavailable),
    (ConnectionResetError(), WriteOutcomeUnknown),
    (OSError(errno.EHOSTUNREACH, "no route, after the document was sent"), WriteOutcomeUnknown),
    (RuntimeError("anything"), WriteOutcomeUnknown),
    (FolderNotMade(), BackendUnavailable),
    (OSError(errno.EBUSY, "mounted", "/a"), AccessDenied),
    (OSError(errno.ELOOP, "loop", "/a"), AccessDenied),
    (OSError(errno.ETXTBSY, "a program", "/a"), AccessDenied),
    (OSError(errno.EINVAL, "not here", "/a"), NotSupported),
    (OSError(errno.ENOTSUP, "not here", "/a"), NotSupported),
    (OSError(errno.ENOTEMPTY, "a folder", "/a"), InvalidKey),
    (OSError(errno.EBUSY, "slow down, a server says"), WriteOutcomeUnknown),
    (OSError(errno.EIO, "a disk", "/a"), WriteOutcomeUnknown),
]


@pytest.mark.parametrize(("raised", "error"), _WRITES, ids=lambda value: repr(value))
def test_a_write_that_fails_says_whether_it_happened(raised: Exception, error: type[StoreError]) -> None:
    assert type(write_fault(raised, (), version_of(b""), whole=True)) is error


@pytest.mark.skipif(sys.platform == "win32", reason="about symbolic links")
def test_a_link_to_itself_on_this_machine_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    store = open_store(f"fsspec+file://{tmp_path}")
    with pytest.raises(AccessDenied):
        store.atomic_write("loop", b"1")
    with pytest.raises(AccessDenied):
        store.read_snapshot("loop")


@pytest.mark.skipif(sys.platform != "linux", reason="about mounts of Linux")
def test_a_document_that_is_mounted_is_certainly_not_deleted(tmp_path: Path, needs_root: None) -> None:
    store = open_store(f"fsspec+file://{tmp_path}")
    for name in ("a.json", "source"):
        (tmp_path / name).write_bytes(b"1")
    if subprocess.run(["mount", "--bind", tmp_path / "source", tmp_path / "a.json"], check=False).returncode:
        lacking("run the tests where a file can be mounted")
    try:
        with pytest.raises(AccessDenied, match="mounted"):
            store.delete("a.json")
        assert store.read_snapshot("a.json").data == b"1"
    finally:
        subprocess.run(["umount", tmp_path / "a.json"], check=True)


def test_a_full_disk_may_have_a_part_where_documents_are_not_replaced_in_one_step() -> None:
    fault = write_fault(OSError(errno.ENOSPC, "full"), (), version_of(b"1"), whole=False)
    assert isinstance(fault, WriteOutcomeUnknown)
    assert fault.intended == version_of(b"1")


def test_what_a_library_says_is_shown_without_secrets_and_in_one_line() -> None:
    fault = read_fault(RuntimeError("token s3cr3t\nis\x1b[31m bad" + "!" * 999), (Secret("s3cr3t"),))
    assert "s3cr3t" not in str(fault)
    assert "token ***" in fault.message
    assert fault.message.isprintable()
    assert len(fault.message) < 300


# Servers and accounts


def test_a_wrong_password_is_refused_and_not_shown(server: WebServer) -> None:
    location = server.location().replace(server.password, "wrong-password")
    with pytest.raises(AccessDenied, match="refuses the account or its password") as caught:
        open_store(location, tls=False)
    assert "wrong-password" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


def test_a_missing_folder_is_refused_unless_it_may_be_made(server: WebServer) -> None:
    with pytest.raises(LocationError, match="there is no such folder"):
        open_store(server.location("new"), tls=False)
    with open_store(server.location("new", "er"), tls=False, create=True) as store:
        store.atomic_write("a/b.json", b"1")
        assert store.read_snapshot("a/b.json").data == b"1"
    shutil.rmtree(server.root / "new")


def test_a_folder_that_may_not_be_written_is_access_denied(server: WebServer) -> None:
    if os.geteuid() != 0:
        lacking("run the tests as root (sudo), so that the server has another account")
    (server.root / "closed").mkdir(mode=0o755)
    with open_store(server.location("closed"), tls=False) as store, pytest.raises((AccessDenied, WriteOutcomeUnknown)):
        store.atomic_write("a.json", b"1")
    (server.root / "closed").rmdir()


def test_a_server_without_webdav_says_which_setting_it_lacks() -> None:
    with running_web_server("apache", "Dav Off") as server, pytest.raises(NotSupported, match="`Dav On`"):
        open_store(server.location(), tls=False)


def test_a_document_that_is_too_large_for_the_server_says_which_setting_to_raise() -> None:
    with (
        running_web_server("nginx", "client_max_body_size 1k;") as server,
        open_store(server.location(), tls=False) as store,
        pytest.raises(StorageFull, match="client_max_body_size"),
    ):
        store.atomic_write("a.json", b"1" * 5000)


def test_a_server_that_is_away_is_unavailable_and_used_again_when_it_is_back() -> None:
    with running_web_server("nginx") as server, open_store(server.location(), tls=False, retry=None) as store:
        store.atomic_write("a.json", b"1")
        server.stop()
        with pytest.raises(BackendUnavailable):
            store.read_snapshot("a.json")
        with pytest.raises((BackendUnavailable, WriteOutcomeUnknown)):
            store.atomic_write("a.json", b"2")
        with pytest.raises(BackendUnavailable):
            open_store(server.location(), tls=False, retry=None)
        server.start()
        assert store.read_snapshot("a.json").data == b"1"
        store.atomic_write("a.json", b"3")
        assert store.read_snapshot("a.json").data == b"3"


def test_a_full_disk_is_said_and_leaves_the_document(needs_root: None) -> None:
    with running_web_server("apache") as server:
        folder = server.root / "small"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=777", "small", folder], check=False)
        if mounted.returncode:
            lacking("mount a tmpfs to try a full disk: this machine does not allow it")
        try:
            with open_store(server.location("small"), tls=False) as store:
                store.atomic_write("a.json", b"1")
                with pytest.raises((StorageFull, WriteOutcomeUnknown)) as caught:
                    store.atomic_write("a.json", b"2" * (1 << 20))
                assert "room" in str(caught.value)
                assert store.read_snapshot("a.json").data == b"1"
        finally:
            subprocess.run(["umount", folder], check=True)


def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        + ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        lacking("install openssl to make a certificate: apt-get install openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            try:
                peer, _ = listener.accept()
                with peer:
                    context.wrap_socket(peer, server_side=True)
            except OSError:
                pass

        threading.Thread(target=greet, daemon=True).start()
        port = listener.getsockname()[1]
        with pytest.raises(BackendUnavailable, match="certificate is not trusted"):
            open_store(f"fsspec+webdav://me@127.0.0.1:{port}/lab", password="secret", retry=None)


def test_clients_that_make_one_folder_at_the_same_time_all_write(server: WebServer) -> None:
    """Apache says 403 to some of them, which is no refusal: it did to 48 of 600."""
    clients = [open_store(server.location(), tls=False, retry=None) for _ in range(4)]
    gate = threading.Barrier(len(clients))

    def write(client: Store) -> int:
        for number in range(30):
            gate.wait()
            client.atomic_write(f"made {number}/deeper/a.json", b"1")
        return 30

    with ThreadPoolExecutor(len(clients)) as threads:
        assert list(threads.map(write, clients)) == [30] * len(clients)
    for client in clients:
        client.close()


# Deadlines


def test_a_frozen_server_is_given_up_in_time_and_used_again_when_it_answers(server: WebServer) -> None:
    """Connections to it are made, and nothing answers."""
    with open_store(server.location(), tls=False, timeout=1.0, retry=None) as store:
        store.atomic_write("frozen.json", b"old")
        with standing_still(server.pid):
            began = time.monotonic()
            with pytest.raises(BackendUnavailable):
                store.read_snapshot("frozen.json")
            with pytest.raises(WriteOutcomeUnknown) as caught:
                store.atomic_write("frozen.json", b"new")
            with pytest.raises(WriteOutcomeUnknown):
                store.delete("other.json")
            assert time.monotonic() - began < 15
        assert caught.value.intended == version_of(b"new")
        eventually(lambda: _reads(store))
        assert store.read_snapshot("frozen.json").data in {b"old", b"new"}


def _reads(store: object) -> bool:
    try:
        store.read_snapshot("frozen.json")  # type: ignore[attr-defined]
    except BackendUnavailable:
        return False
    return True


def test_a_library_that_never_returns_is_left_to_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    reading = MemoryFileSystem.cat_file

    def cat_file(self: MemoryFileSystem, path: str) -> bytes:
        if path.endswith("hangs"):
            hangs.wait()
        return bytes(reading(self, path))

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    with open_store("fsspec+memory://hanging", create=True, timeout=0.3, retry=None) as store:
        for _ in range(16):
            with pytest.raises(BackendUnavailable, match=r"no answer within 0\.3 s"):
                store.read_snapshot("hangs")
        with pytest.raises(BackendUnavailable, match="16 calls were given up"):
            store.read_snapshot("other")
        hangs.set()
        eventually(lambda: _works(store))


def test_a_system_without_threads_is_unavailable_and_used_again_when_it_has_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = CallThreads(MemoryFileSystem, lambda _: None, kept=True)
    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(9):  # one more than may be busy at once
        with pytest.raises(BackendUnavailable, match="there is no thread for the call"):
            threads.run(lambda _: 1, 5.0, AssertionError)
    monkeypatch.undo()
    assert threads.run(lambda _: 1, 5.0, AssertionError) == 1
    threads.close()


def _works(store: object) -> bool:
    try:
        store.read_snapshot("other")  # type: ignore[attr-defined]
    except DocumentNotFound:
        return True
    except BackendUnavailable:
        return False
    raise AssertionError


def test_a_forked_child_uses_connections_of_its_own(apache: WebServer) -> None:
    with open_store(apache.location(), tls=False) as store:
        store.atomic_write("forked.json", b"parent")
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.write(write, store.read_snapshot("forked.json").data)
                with open_store(apache.location(), tls=False) as own:
                    own.atomic_write("child.json", b"child")
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert pipe.read() == b"parent"
        os.waitpid(pid, 0)
        assert store.read_snapshot("child.json").data == b"child"


# A connection that is cut


_CALLS = ["read", "write", "write_into_new_folder", "delete", "list"]
_SILENT_BY_DEFAULT = ("write",)  # each waits for the deadline
_CUTS = [
    pytest.param(call, fault, marks=pytest.mark.slow)
    if fault == "silent" and call not in _SILENT_BY_DEFAULT
    else (call, fault)
    for call in _CALLS
    for fault in FAULTS
]


@pytest.mark.parametrize(("call", "fault"), _CUTS)
def test_a_call_that_is_cut_says_what_happened_and_the_next_one_works(
    apache: WebServer, call: str, fault: Fault
) -> None:
    with running_proxy(apache.port) as proxy:
        number = 0
        while _cut_once(apache, proxy, call, number, fault):
            number += 1
    assert number > 0


def _cut_once(server: WebServer, proxy: object, call: str, number: int, fault: Fault) -> bool:
    """Whether there was a request of that number; what the call says is compared with what is stored."""
    from cutting_proxy import CuttingProxy

    assert isinstance(proxy, CuttingProxy)
    folder = server.root / "cut"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    server.give(folder)
    (folder / "a.json").write_bytes(b"old")
    server.give(folder / "a.json")
    key = "new/er/a.json" if call == "write_into_new_folder" else "a.json"
    proxy.heal()
    began = time.monotonic()
    with open_store(server.location("cut", port=proxy.port), tls=False, timeout=2.0, retry=None) as store:
        proxy.plan(number, fault)
        error: StoreError | None = None
        try:
            if call == "read":
                assert store.read_snapshot("a.json").data == b"old"
            elif call == "delete":
                store.delete("a.json")
            elif call == "list":
                assert store.list_keys() == ["a.json"]
            else:
                store.atomic_write(key, b"new")
        except StoreError as raised:
            error = raised
        fired = proxy.fired
        proxy.heal()
        assert isinstance(error, (BackendUnavailable, WriteOutcomeUnknown)) or error is None
        assert time.monotonic() - began < 20
        path = folder / key
        found = path.read_bytes() if path.exists() else None
        if call in {"read", "list"}:
            assert found == b"old"
        elif error is None:
            assert found == (None if call == "delete" else b"new")
        elif isinstance(error, BackendUnavailable):
            assert found == (None if call == "write_into_new_folder" else b"old")
        else:
            assert found in {b"old", b"new", None}
        store.atomic_write("after.json", b"1")
        assert store.read_snapshot("after.json").data == b"1"
    return fired
