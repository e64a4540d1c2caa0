"""Connecting to a server: whatever is silent on the way there, the time is bounded and the error says what it was."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import lacking
from exlab_store_smb.wire.blocking import NotReturned, blocking
from exlab_store_smb.wire.deadline import Deadline
from standing_still import standing_still

from exlab_store import BackendUnavailable, NotSupported, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter


# Names


RESOLV_CONF = "nameserver 127.0.0.1\nnameserver 127.0.0.2\n"  # each asked twice: 20 s by the C library alone


PROGRAM = """
import socket, subprocess, sys, threading, time
from exlab_store import BackendUnavailable, open_store
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
subprocess.run(["mount", "--bind", sys.argv[2], "/etc/nsswitch.conf"], check=True)
servers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
for server, address in zip(servers, ("127.0.0.1", "127.0.0.2")):
    server.bind((address, 53))  # and it says nothing
began = time.monotonic()
try:
    open_store("smb://nas01.site.example/lab", username="a", password="b", connect_timeout=0.5)
except BackendUnavailable as error:
    print(error)
print("in time" if time.monotonic() - began < 4 else f"after {time.monotonic() - began:.1f} s")
"""


@pytest.mark.usefixtures("needs_root")
def test_a_name_server_that_is_silent_is_waited_for_no_longer_than_connecting_may_take(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        lacking("install util-linux and iproute2: the name server of this test is in a network of its own")
    resolve, switch = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf"
    resolve.write_text(RESOLV_CONF)
    switch.write_text("hosts: files dns\n")
    began = time.monotonic()
    ended = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-c", PROGRAM, str(resolve), str(switch)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Operation not permitted" in ended.stderr:
        lacking(f"namespaces may not be made here: {ended.stderr}")
    assert "the name service has not answered for 'nas01.site.example' in time" in ended.stdout
    assert "name servers" in ended.stdout
    assert ended.stdout.endswith("in time\n")
    assert ended.stderr == ""
    assert time.monotonic() - began < 15  # and the process does not wait for the thread that still asks


def test_a_name_that_nobody_knows_is_said(samba: SambaServer) -> None:
    with pytest.raises(BackendUnavailable, match=r"no server is known by the name 'nas01\.invalid'") as caught:
        open_store("smb://nas01.invalid/lab", **samba.options, connect_timeout=5)
    assert "Errno" not in str(caught.value)


def test_a_server_is_found_by_its_name(samba: SambaServer) -> None:
    open_store(f"smb://localhost:{samba.port}/lab", **samba.options).close()


def test_calls_that_do_not_return_are_so_many_at_most() -> None:
    end, begun = threading.Event(), []

    def hangs() -> None:
        begun.append(1)
        end.wait()

    def given_up() -> None:
        with pytest.raises(NotReturned):
            blocking(hangs, Deadline(0.5))

    try:
        callers = [threading.Thread(target=given_up) for _ in range(80)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        assert len(begun) == 32
        hanging = [each for each in threading.enumerate() if each.name == "exlab-store-blocking"]
        assert len(hanging) == 32
        assert all(each.daemon for each in hanging)
    finally:
        end.set()
    assert blocking(lambda: "again", Deadline(10)) == "again"


def test_what_a_call_raises_reaches_its_caller() -> None:
    with pytest.raises(KeyError):
        blocking(lambda: {}["missing"], Deadline(10))


# Servers of the past


@contextmanager
def server_with(**settings: str) -> Iterator[SambaServer]:
    if sys.platform != "linux":
        pytest.skip("the test server is managed through /proc")
    from samba_server import SambaServer, find_smbd

    if find_smbd() is None:
        lacking("install Debian's package samba: its smbd is the server of the SMB tests")
    own = {name.replace("_", " "): value for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as directory:
        Path(directory).chmod(0o755)
        with SambaServer(Path(directory, "server"), global_settings=own) as server:
            yield server


def test_a_server_with_nothing_but_smb_1_is_called_so() -> None:
    with (
        server_with(server_min_protocol="NT1", server_max_protocol="NT1") as server,
        pytest.raises(NotSupported) as caught,
    ):
        open_store(server.url(), password=server.password)
    assert "speaks only SMB 1" in caught.value.message
    assert "SMB 2 or 3" in caught.value.hint


def test_a_server_with_smb_1_among_others_is_used() -> None:
    with server_with(server_min_protocol="NT1") as server:
        open_store(server.url(), password=server.password).close()


def test_a_server_that_ends_every_connection_is_not_taken_for_one_of_the_past() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hangs_up() -> None:
            for _ in range(2):
                accepted, _ = listening.accept()
                accepted.recv(1024)
                accepted.close()

        thread = threading.Thread(target=hangs_up, daemon=True)
        thread.start()
        url = f"smb://lab@127.0.0.1:{listening.getsockname()[1]}/lab"
        with pytest.raises(BackendUnavailable, match="cannot connect"):
            open_store(url, password="any", connect_timeout=5)
        thread.join(10)
        assert not thread.is_alive()


# Disks that are asleep


@contextmanager
def asleep(server: SambaServer, seconds: float | None) -> Iterator[None]:
    """The kernel accepts connections for the server; it answers when it has woken."""
    process = server._process
    assert process is not None
    wakes = threading.Timer(seconds or 0, os.killpg, (process.pid, signal.SIGCONT))
    with standing_still(process.pid):
        if seconds is not None:
            wakes.start()
        try:
            yield
        finally:
            wakes.cancel()


def test_a_server_that_needs_longer_to_wake_than_an_operation_may_take_is_waited_for(samba: SambaServer) -> None:
    with asleep(samba, 1.0), open_store(samba.url(), password=samba.password, timeout=0.5, connect_timeout=30):
        pass


def test_the_first_answer_about_the_folder_may_take_as_long_as_connecting(samba: SambaServer) -> None:
    from wire_proxy import WireProxy

    with WireProxy("127.0.0.1", samba.port, delay=0.4) as slow:
        url = samba.url(port=slow.port)
        open_store(url, password=samba.password, timeout=0.5, connect_timeout=30).close()


def test_a_server_that_does_not_wake_in_time_may_have_been_asleep(samba: SambaServer) -> None:
    with asleep(samba, None), pytest.raises(BackendUnavailable) as caught:
        open_store(samba.url(), password=samba.password, connect_timeout=0.3)
    assert "accepts connections, and has not answered in time" in caught.value.message
    assert "asleep" in caught.value.hint
    assert "connect_timeout of more than 0.3 seconds" in caught.value.hint
