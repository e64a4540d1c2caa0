"""How an SMB location is written, which options it takes, and what they do on the wire."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store import AccessDenied, Location, LocationError, LockLost, LockTimeout, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter


def writes_and_reads(url: str, **options: Any) -> bool:
    with open_store(url, **options) as store:
        store.atomic_write("a.json", b"{}")
        return store.read_snapshot("a.json").data == b"{}"


# URLs


@pytest.mark.parametrize("scheme", ["smb", "cifs", "SMB"])
@pytest.mark.parametrize("account", ["lab", "LAB;lab", "LAB%3Blab", "LAB%5Clab"])
def test_the_user_may_be_written_with_a_workgroup(samba: SambaServer, scheme: str, account: str) -> None:
    url = f"{scheme}://{account}:{samba.password}@127.0.0.1:{samba.port}/lab"
    assert writes_and_reads(url)
    assert writes_and_reads(url.replace(f":{samba.password}", ""), password=samba.password)


def test_a_url_of_fsspec_opens_what_fsspec_opens(samba: SambaServer) -> None:
    import fsspec

    (samba.root / "folder").mkdir()
    url = f"smb://LAB;lab:{samba.password}@127.0.0.1:{samba.port}/lab/folder"
    assert writes_and_reads(url)
    of_fsspec = fsspec.get_filesystem_class("smb")._get_kwargs_from_urls(f"{url}/a.json")
    location = Location.parse(url)
    assert (location.host, location.port, location.password) == (
        of_fsspec["host"],
        of_fsspec["port"],
        of_fsspec["password"],
    )
    assert (samba.root / "folder" / "a.json").exists()


@pytest.fixture
def awkward(samba: SambaServer, needs_root: None) -> dict[str, str]:
    """An account whose name and password have what URLs have to quote."""
    return samba.add_account("é#1%2:3")


def test_what_a_url_has_to_quote_is_unquoted(samba: SambaServer, awkward: dict[str, str]) -> None:
    samba.root.chmod(0o777)
    (samba.root / "über #1%").mkdir(mode=0o777)
    (samba.root / "über #1%").chmod(0o777)
    url = samba.url("über #1%", user=awkward["username"], password=awkward["password"])
    assert writes_and_reads(url)
    assert (samba.root / "über #1%" / "a.json").exists()


@pytest.mark.parametrize("folder", ["folder", "folder/", "folder//", "./folder"])
def test_slashes_and_dots_do_not_matter(samba: SambaServer, folder: str) -> None:
    (samba.root / "folder").mkdir()
    assert writes_and_reads(f"{samba.url()}/{folder}", password=samba.password)
    assert (samba.root / "folder" / "a.json").exists()


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("//lab@127.0.0.1", "a share"),
        ("//lab@127.0.0.1/", "a share"),
        ("///lab/folder", "a server"),
        ("//127.0.0.1/lab/../other", "'..'"),
        ("//127.0.0.1/lab/folder/../../other", "'..'"),
        ("//127.0.0.1/..", "'..'"),
        ("//127.0.0.1/lab?encrypt=true", "query"),
        ("//127.0.0.1:port/lab", "malformed"),
        ("//127.0.0.1:65536/lab", "port"),
        ("//127.0.0.1:0/lab", "port"),
    ],
)
def test_a_url_that_names_no_folder_of_a_share_is_refused_before_anything_is_sent(rest: str, says: str) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(f"smb:{rest}", password="none", connect_timeout=0.2)
    assert says in caught.value.message
    assert caught.value.hint


# Options


@pytest.mark.parametrize(("name", "value"), [("username", "lab"), ("password", "x"), ("port", 445)])
def test_what_is_in_the_url_and_among_the_options_is_refused(samba: SambaServer, name: str, value: object) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(samba.url(password=True), **{name: value})
    assert name in caught.value.message
    assert "once" in str(caught.value.hint)
    assert samba.password not in str(caught.value)


def test_an_option_that_is_not_known_is_refused_and_the_known_ones_are_named(samba: SambaServer) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(samba.url(), pasword="x")
    assert "'pasword'" in caught.value.message
    assert "password" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encrypt", "perhaps"),
        ("encrypt", 2),
        ("require_signing", "perhaps"),
        ("auth_protocol", "md5"),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("inf")),
        ("timeout", float("nan")),
        ("timeout", "soon"),
        ("connect_timeout", 0),
        ("password", 47114711),  # in no port
        ("password", b"bytes-47114711"),
        ("domain", 47114711),
    ],
)
def test_an_option_of_a_wrong_kind_is_refused_by_its_name_and_not_shown(
    samba: SambaServer, name: str, value: object
) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(samba.url(), **{name: value})
    assert name in caught.value.message
    assert "47114711" not in str(caught.value)


def test_the_hint_of_a_wrong_option_is_not_about_urls(samba: SambaServer) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(samba.url(), timeout="soon")
    assert "URL" not in str(caught.value.hint)


@pytest.mark.parametrize("options", [{"domain": "LAB"}, {"auth_protocol": "ntlm"}, {"auth_protocol": "negotiate"}])
def test_domain_and_protocol_may_be_given(samba: SambaServer, options: dict[str, str]) -> None:
    assert writes_and_reads(samba.url(), password=samba.password, **options)


def test_kerberos_without_a_ticket_is_refused_and_never_becomes_ntlm(samba: SambaServer, wire: WireProxy) -> None:
    with pytest.raises(Exception, match="Kerberos") as caught:
        open_store(samba.url(port=wire.port), password=samba.password, auth_protocol="kerberos")
    assert samba.password not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"share_access": "rw"},
        {"register_session_retries": 3, "register_session_retry_wait": 2, "register_session_retry_factor": 5},
        {"auto_mkdir": True, "temppath": "somewhere"},
    ],
)
def test_options_of_fsspec_are_accepted(samba: SambaServer, options: dict[str, object]) -> None:
    assert writes_and_reads(samba.url(), password=samba.password, **options)


# fsspec's configuration

_PROGRAM = """
import json, os, sys
from exlab_store import open_store
url, options = json.load(sys.stdin)
try:
    with open_store(url, **options) as store:
        store.atomic_write("a.json", b"{}")
except Exception as error:
    print(type(error).__name__, error)
else:
    print("written")
"""


def in_a_process(environment: dict[str, str], url: str, **options: object) -> str:
    # fsspec reads its configuration when it is imported.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FSSPEC")}
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([url, options]),
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout.strip()


def test_the_account_may_be_in_the_environment(samba: SambaServer) -> None:
    environment = {"FSSPEC_SMB_USERNAME": "lab", "FSSPEC_SMB_PASSWORD": samba.password}
    assert in_a_process(environment, samba.url(user=False)) == "written"


def test_port_and_encryption_may_be_in_the_environment(samba: SambaServer) -> None:
    environment = {
        "FSSPEC_SMB_PASSWORD": samba.password,
        "FSSPEC_SMB_PORT": str(samba.port),
        "FSSPEC_SMB_ENCRYPT": "true",
        "FSSPEC_SMB_TIMEOUT": "20",
    }
    assert in_a_process(environment, samba.url().replace(f":{samba.port}", "")) == "written"


def test_what_is_given_goes_before_the_environment(samba: SambaServer) -> None:
    environment = {"FSSPEC_SMB_USERNAME": "nobody-known", "FSSPEC_SMB_PASSWORD": "wrong", "FSSPEC_SMB_PORT": "1"}
    assert in_a_process(environment, samba.url(), password=samba.password) == "written"


def test_a_host_in_the_environment_does_not_take_the_place_of_the_urls(samba: SambaServer) -> None:
    environment = {"FSSPEC_SMB_HOST": "elsewhere.invalid", "FSSPEC_SMB_PASSWORD": samba.password}
    assert in_a_process(environment, samba.url()) == "written"


def test_a_wrong_value_in_the_environment_is_named_and_no_secret_shown(samba: SambaServer) -> None:
    environment = {"FSSPEC_SMB_PASSWORD": samba.password, "FSSPEC_SMB_ENCRYPT": "perhaps"}
    said = in_a_process(environment, samba.url())
    assert said.startswith("LocationError")
    assert "encrypt" in said
    assert samba.password not in said


def test_the_configuration_of_cifs_locations_is_that_of_smb(samba: SambaServer) -> None:
    environment = {"FSSPEC_SMB_PASSWORD": samba.password}
    assert in_a_process(environment, samba.url().replace("smb:", "cifs:")) == "written"


# The wire


class Tap:
    """A proxy that keeps all bytes, and may change those of the client."""

    def __init__(self, port: int, change: Callable[[bytes], bytes] = bytes) -> None:
        self._target = port
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen = bytearray()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, sink, change in ((client, server, self._change), (server, client, bytes)):
                thread = threading.Thread(target=self._copy, args=(source, sink, change))
                self._threads.append(thread)
                thread.start()

    def _copy(self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
        try:
            while data := source.recv(1 << 16):
                self.seen += data
                sink.sendall(change(data))
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(10)
        for each in self._sockets:
            with_suppressed_shutdown(each)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()


def with_suppressed_shutdown(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@contextmanager
def tapped(samba: SambaServer, change: Callable[[bytes], bytes] = bytes) -> Iterator[Tap]:
    tap = Tap(samba.port, change)
    try:
        yield tap
    finally:
        tap.close()


SECRET = b"the-words-of-a-document"


def everything(store: Store) -> None:
    store.atomic_write("a.json", SECRET)
    store.update("a.json", lambda data: (data or b"") + SECRET)
    store.read_snapshot("a.json")
    assert list(store.list_keys()) == ["a.json"]
    store.delete("a.json")


def test_with_encryption_no_word_of_a_document_and_no_name_passes_in_clear(samba: SambaServer) -> None:
    with tapped(samba) as tap:
        with open_store(samba.url(port=tap.port), password=samba.password, encrypt=True) as store:
            everything(store)
        seen = bytes(tap.seen)
    assert SECRET not in seen
    assert "a.json".encode("utf-16-le") not in seen
    assert b"\xfdSMB" in seen


@pytest.mark.parametrize("encrypt", [None, False])
def test_without_encryption_what_is_read_passes_in_clear_and_what_is_written_does_not(
    samba: SambaServer, encrypt: bool | None
) -> None:
    with tapped(samba) as tap, open_store(samba.url(port=tap.port), password=samba.password, encrypt=encrypt) as store:
        store.atomic_write("a.json", SECRET)
        written = bytes(tap.seen)
        store.read_snapshot("a.json")
        read = bytes(tap.seen)[len(written) :]
    assert (SECRET in written, SECRET in read) == (False, True)
    assert b"\xfdSMB" in written


def test_without_encryption_on_the_server_documents_pass_in_clear(samba: SambaServer) -> None:
    samba.change_global(server_smb_encrypt="off")
    with tapped(samba) as tap:
        with open_store(samba.url(port=tap.port), password=samba.password) as store:
            everything(store)
        seen = bytes(tap.seen)
    assert SECRET in seen
    assert b"\xfdSMB" not in seen


def test_the_password_never_passes_in_clear(samba: SambaServer) -> None:
    with tapped(samba) as tap:
        assert writes_and_reads(samba.url(port=tap.port), password=samba.password)
        seen = bytes(tap.seen)
    assert samba.password.encode() not in seen
    assert samba.password.encode("utf-16-le") not in seen


def test_encryption_is_in_force_again_after_the_connection_was_lost(samba: SambaServer) -> None:
    with tapped(samba) as tap:
        with open_store(samba.url(port=tap.port), password=samba.password, encrypt=True) as store:
            store.atomic_write("a.json", SECRET)
            (client,) = samba.client_pids()
            samba.kill_client(client)
            assert store.read_snapshot("a.json").data == SECRET
        seen = bytes(tap.seen)
    assert SECRET not in seen


def test_a_store_with_encryption_is_encrypted_beside_one_without(samba: SambaServer) -> None:
    with tapped(samba) as tap, open_store(samba.url(), password=samba.password) as plain:
        plain.atomic_write("a.json", SECRET)
        with open_store(samba.url(port=tap.port), password=samba.password, encrypt=True) as store:
            assert store.read_snapshot("a.json").data == SECRET
        assert SECRET not in tap.seen


@pytest.mark.parametrize("how", [{"encrypt": True}, {"one_round_trip": False}], ids=["encrypted", "in two round trips"])
def test_a_document_that_is_changed_on_its_way_is_not_stored_and_the_old_one_stays(
    samba: SambaServer, how: dict[str, bool]
) -> None:
    # Where it is signed only, the server refuses the one request whose signature is wrong, and goes on with the rest
    # of its compound; what is encrypted is refused as a whole.
    (samba.root / "a.json").write_bytes(b"old")
    changed = threading.Event()

    def change(data: bytes) -> bytes:
        if len(data) < 4096:
            return data
        changed.set()
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    with (
        tapped(samba, change) as tap,
        open_store(samba.url(port=tap.port), password=samba.password, timeout=2.0, **how) as store,
        pytest.raises(StoreError),
    ):
        store.atomic_write("a.json", SECRET * 1000)
    assert changed.is_set()
    assert (samba.root / "a.json").read_bytes() == b"old"


# Secrets in memory and in forks


def test_no_cache_keeps_the_password(samba: SambaServer) -> None:
    import smbclient
    from exlab_store_smb.file_system import SmbFileSystem
    from fsspec.implementations.smb import SMBFileSystem

    with open_store(samba.url(), password=samba.password) as store:
        store.atomic_write("a.json", b"{}")
        list(store.list_keys())
        for kind in (SMBFileSystem, SmbFileSystem):
            assert not kind._cache
        assert samba.password not in repr(smbclient.ClientConfig())
        pools = [value for value in vars(smbclient._pool).values() if isinstance(value, dict)]
        assert not any(f"127.0.0.1:{samba.port}" in pool for pool in pools)


def test_nothing_that_can_be_shown_shows_the_password(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        shown = [repr(store), str(store)]
        for each in gc.get_objects():
            if str(type(each).__module__).startswith("exlab_store"):
                shown += [repr(each), str(each)]
    assert not any(samba.password in text for text in shown), "a password is shown"


def in_a_fork(call: Callable[[], object]) -> str:
    """What comes of a call in a forked process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            said = repr(call())
        except BaseException as error:
            said = type(error).__name__
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


forking = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@forking
def test_a_forked_process_uses_a_connection_of_its_own(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        store.atomic_write("a.json", b"{}")
        before = samba.client_pids()
        assert len(before) == 1
        assert in_a_fork(lambda: (store.read_snapshot("a.json").data, len(samba.client_pids()))) == "(b'{}', 2)"
        assert store.read_snapshot("a.json").data == b"{}"
        assert samba.holder_pids(samba.root / "a.json") == []


@forking
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store, held: store.close(), id="closes the store"),
        pytest.param(lambda store, held: held.release(), id="releases the lock"),
        pytest.param(lambda store, held: held.inner.release(), id="releases the backend's lock"),
        pytest.param(lambda store, held: store.read_snapshot("a.json"), id="reads"),
        pytest.param(lambda store, held: None, id="does nothing and ends"),
    ],
)
def test_whatever_a_forked_process_does_the_lock_stays_with_its_parent(
    samba: SambaServer, wire: WireProxy, call: Callable[[Any, Any], object]
) -> None:
    with open_store(samba.url(), password=samba.password) as store, store.lock("a.json") as held:
        store.atomic_write("a.json", b"1", lock=held)
        in_a_fork(lambda: call(store, held))
        with (
            open_store(samba.url(port=wire.port), password=samba.password) as other,
            pytest.raises(LockTimeout),
        ):
            other.lock("a.json", timeout=0)
        store.atomic_write("a.json", b"2", lock=held)


@forking
def test_a_forked_process_cannot_write_under_its_parents_lock(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store, store.lock("a.json") as held:
        store.atomic_write("a.json", b"1", lock=held)
        assert in_a_fork(lambda: store.atomic_write("a.json", b"2", lock=held)) == LockLost.__name__
        assert (samba.root / "a.json").read_bytes() == b"1"


@forking
def test_a_forked_process_does_not_keep_its_parents_lock_alive(samba: SambaServer) -> None:
    program = (
        "import os, sys, time\n"
        "from exlab_store import open_store\n"
        "store = open_store(sys.argv[1], password=sys.stdin.readline().strip())\n"
        "held = store.lock('a.json')\n"
        "if os.fork() == 0:\n"
        "    os.close(1); sys.stdin.read(); os._exit(0)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, samba.url()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(samba.password + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "held\n"
        with open_store(samba.url(), password=samba.password) as store:
            with pytest.raises(LockTimeout):
                store.lock("a.json", timeout=0)
            process.kill()
            store.lock("a.json", timeout=5.0).release()


def test_a_wrong_password_of_one_store_does_not_touch_another(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        with pytest.raises(AccessDenied):
            open_store(samba.url(), password="wrong")
        store.atomic_write("a.json", b"{}")
