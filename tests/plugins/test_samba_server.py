"""The server that the SMB tests stand on does what they take for granted."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import smbclient
from samba_server import SambaServer
from shared_samba import BOTH
from smb_logon import logged_on
from smbprotocol.connection import Connection
from smbprotocol.exceptions import LogonFailure, SMBException, SMBOSError
from smbprotocol.header import NtStatus
from smbprotocol.open import LockFlags, SMB2LockElement
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(params=BOTH)
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Client:
    """A client with a connection of its own."""

    def __init__(self, server: SambaServer, options: dict[str, str]) -> None:
        # With one client GUID for all connections, as is smbclient's way, Samba lets one process serve them all.
        connection = Connection(uuid4(), "127.0.0.1", server.port)
        connection.connect()
        cache = {f"127.0.0.1:{server.port}": connection}
        self._how: dict[str, Any] = {"port": server.port, "connection_cache": cache}
        logged_on(lambda: smbclient.register_session("127.0.0.1", **options, **self._how))

    def open(self, name: str, mode: str, share: str = "lab", **how: Any) -> Any:
        path = rf"\\127.0.0.1\{share}\{name}"
        return logged_on(lambda: smbclient.open_file(path, mode=mode, **how, **self._how))

    def write(self, name: str, data: bytes, share: str = "lab") -> None:
        with self.open(name, "wb", share) as file:
            file.write(data)

    def read(self, name: str, share: str = "lab") -> bytes:
        with self.open(name, "rb", share) as file:
            return bytes(file.read())

    def close(self) -> None:
        smbclient.reset_connection_cache(fail_on_error=False, connection_cache=self._how["connection_cache"])


@contextmanager
def client(server: SambaServer, options: dict[str, str] | None = None) -> Iterator[Client]:
    found = Client(server, options or server.options)
    try:
        yield found
    finally:
        found.close()


def on_byte_0(flags: int) -> list[SMB2LockElement]:
    element = SMB2LockElement()
    element["offset"], element["length"], element["flags"] = 0, 1, flags
    return [element]


LOCK = LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK | LockFlags.SMB2_LOCKFLAG_FAIL_IMMEDIATELY


def test_what_a_client_writes_is_below_the_root(samba: SambaServer) -> None:
    with client(samba) as lab:
        lab.write("a.json", b"{}")
    assert (samba.root / "a.json").read_bytes() == b"{}"


def test_a_url_names_the_server_and_quotes_what_needs_it(samba: SambaServer) -> None:
    at = f"127.0.0.1:{samba.port}"
    assert samba.url() == f"smb://lab@{at}/lab"
    assert samba.url("a b", "é#", user=False) == f"smb://{at}/lab/a%20b/%C3%A9%23"
    assert samba.url(password=True, share="other") == f"smb://lab:{samba.password}@{at}/other"
    assert samba.url(user="visitor", port=445) == "smb://visitor@127.0.0.1:445/lab"


def test_a_wrong_password_and_a_share_that_is_not_there_are_refused(samba: SambaServer) -> None:
    with pytest.raises(LogonFailure), client(samba, {"username": "lab", "password": "wrong"}):
        pass
    with pytest.raises(SMBOSError, match="No such file or directory"), client(samba) as lab:
        lab.read("a.json", "elsewhere")


def test_data_port_and_accounts_are_the_same_after_a_restart_and_after_a_kill(samba: SambaServer) -> None:
    port = samba.port
    with client(samba) as lab:
        lab.write("a.json", b"{}")
    samba.restart()
    with client(samba) as lab:
        assert lab.read("a.json") == b"{}"
    samba.kill()
    samba.start()
    with client(samba) as lab:
        assert lab.read("a.json") == b"{}"
    assert samba.port == port


def test_a_stopped_server_refuses_connections_and_its_port_is_nobody_elses(samba: SambaServer) -> None:
    samba.stop()
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", samba.port))
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", samba.port))


def test_a_share_that_is_added_while_the_server_runs_is_there_for_the_next_client(
    samba: SambaServer, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.json").write_bytes(b"{}")
    with client(samba):  # there is no race between the new file and the process of the next client
        for number in range(5):
            samba.add_share(f"frozen{number}", tmp_path / "old", read_only="yes", strict_sync="no")
            with client(samba) as lab:
                assert lab.read("a.json", f"frozen{number}") == b"{}"
                with pytest.raises(SMBOSError) as refused:
                    lab.write("b.json", b"", f"frozen{number}")
            assert refused.value.ntstatus == NtStatus.STATUS_ACCESS_DENIED
    assert "strict sync = no" in samba.conf_text()


def test_a_full_share_is_full(samba: SambaServer, tmp_path: Path, needs_root: None) -> None:
    samba.add_share("small", tmp_path / "small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path / "small"], check=True)
    samba.restart()
    try:
        with client(samba) as lab, lab.open("a.json", "wb", "small", buffering=0) as file:  # noqa: SIM117
            with pytest.raises(SMBException) as refused:
                file.write(b"x" * 100_000)
        assert refused.value.status == NtStatus.STATUS_DISK_FULL
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "small"], check=True)


def test_another_account_acts_as_another_unix_user(samba: SambaServer, needs_root: None) -> None:
    visitor = samba.add_account("visitor")
    with client(samba) as lab:
        lab.write("a.json", b"{}")
    with client(samba, visitor) as guest:
        assert guest.read("a.json") == b"{}"
        with pytest.raises(SMBOSError) as refused:
            guest.write("a.json", b"[]")
        assert refused.value.ntstatus == NtStatus.STATUS_ACCESS_DENIED
        samba.root.chmod(0o777)
        guest.write("b.json", b"{}")
    assert (samba.root / "a.json").owner() == "root"
    assert (samba.root / "b.json").owner() == "daemon"


def test_a_killed_client_process_ends_that_session_and_no_other(samba: SambaServer) -> None:
    eventually(lambda: samba.client_pids() == [])  # those of the test before
    with client(samba) as one:
        (pid,) = samba.client_pids()
        with client(samba) as other:
            assert len(samba.client_pids()) == 2
            samba.kill_client(pid)
            eventually(lambda: pid not in samba.client_pids())
            with pytest.raises(SMBException):
                one.write("a.json", b"{}")
            other.write("a.json", b"{}")
    eventually(lambda: not samba.client_pids())
    with pytest.raises(ValueError, match="not a process that serves a client"):
        samba.kill_client(os.getpid())


def test_who_holds_a_file_and_who_has_locked_it(samba: SambaServer) -> None:
    path = samba.root / "a.json.lock"
    with client(samba) as one, client(samba) as other:  # noqa: SIM117
        with one.open(path.name, "wb", buffering=0, share_access="rw") as file:
            with other.open(path.name, "wb", buffering=0, share_access="rw"):
                assert len(samba.holder_pids(path)) == 2
                assert samba.holder_pids(path, locked=True) == []
                file.fd.lock(on_byte_0(LOCK))
                (locker,) = samba.holder_pids(path, locked=True)
                file.fd.lock(on_byte_0(LockFlags.SMB2_LOCKFLAG_UNLOCK))
                assert samba.holder_pids(path, locked=True) == []
                file.fd.lock(on_byte_0(LOCK))
            eventually(lambda: samba.holder_pids(path) == [locker])
    eventually(lambda: not samba.holder_pids(path))
    assert samba.holder_pids(samba.root / "nothing") == []


def test_a_lock_of_a_client_is_a_lock_on_the_file_server(samba: SambaServer) -> None:
    path = samba.root / "a.json.lock"
    ours = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    with client(samba) as lab, lab.open(path.name, "wb", buffering=0, share_access="rw") as file:
        file.fd.lock(on_byte_0(LOCK))
        with path.open("r+b") as local:
            with pytest.raises(BlockingIOError):
                fcntl.fcntl(local, fcntl.F_OFD_SETLK, ours)
            file.fd.lock(on_byte_0(LockFlags.SMB2_LOCKFLAG_UNLOCK))
            fcntl.fcntl(local, fcntl.F_OFD_SETLK, ours)


def test_settings_replace_the_usual_ones_and_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    server = SambaServer(
        tmp_path, global_settings={"server min protocol": "SMB3"}, share_settings={"strict sync": "no"}
    )
    assert "server min protocol = SMB3" in server.conf_text()
    assert "strict sync = no" in server.conf_text()
    with server:
        pass
    unfit = SambaServer(tmp_path / "unfit", global_settings={"interfaces": "192.0.2.1"})
    with pytest.raises(RuntimeError, match="its log"), unfit:
        pass


PROGRAM = """
import pathlib, sys
from samba_server import SambaServer
server = SambaServer(pathlib.Path(sys.argv[1]))
server.start()
print(server._process.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        assert _running(group)
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not _running(group))


def _running(group: int) -> bool:
    from process_group import members

    return bool(members(group))
