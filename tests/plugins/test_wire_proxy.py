"""The proxy counts what is on the wire, and each fault is the one that was asked for."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import smbclient
from smb_logon import logged_on
from smbprotocol.connection import Connection, SMB2Echo
from smbprotocol.exceptions import SMBException
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FileAttributes,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    LockFlags,
    Open,
    ShareAccess,
    SMB2LockElement,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect
from waiting import eventually, is_once_below
from wire_proxy import Count, Message, WireProxy, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

PATIENCE = 10.0
SILENCE = 0.2  # how long nothing must come from what is silent
READ = (0, 1000)
CUT_OFF = (SMBException, OSError)  # smbprotocol raises one or the other, EBADF too


class Client:
    """One connection to the default share."""

    def __init__(self, samba: SambaServer, port: int, *, encrypt: bool = False) -> None:
        self.connection = Connection(uuid4(), "127.0.0.1", port)
        self.connection.connect(timeout=PATIENCE)
        self.session = Session(self.connection, samba.user, samba.password, require_encryption=encrypt)
        self.session.connect()
        self.tree = TreeConnect(self.session, rf"\\127.0.0.1\{samba.share}")
        self.tree.connect()

    def file(self, name: str) -> Open:
        return Open(self.tree, name)

    def send(self, *messages: Any) -> list[Any]:
        """Sends a related compound without waiting for it."""
        sid, tid = self.session.session_id, self.tree.tree_connect_id
        return list(self.connection.send_compound([*messages], sid, tid, related=True))

    def receive(self, requests: list[Any], timeout: float = PATIENCE) -> None:
        for request in requests:
            self.connection.receive(request, timeout=timeout)

    def write(self, name: str, data: bytes) -> list[Any]:
        """Sends CREATE WRITE CLOSE."""
        file = self.file(name)
        return self.send(*[pair[0] for pair in (create(file), file.write(data, send=False), file.close(send=False))])

    def read(self, name: str) -> list[Any]:
        """Sends CREATE READ CLOSE."""
        file = self.file(name)
        return self.send(*[pair[0] for pair in (create(file), file.read(*READ, send=False), file.close(send=False))])

    def lock(self, name: str) -> tuple[Open, list[Any]]:
        """Sends CREATE LOCK, which waits on the server."""
        file = self.file(name)
        element = SMB2LockElement()
        element["offset"], element["length"] = 0, 1
        element["flags"] = LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK
        return file, self.send(create(file)[0], file.lock([element], send=False)[0])

    def echo(self) -> None:
        self.connection.echo(timeout=PATIENCE)

    def close(self) -> None:
        self.connection.disconnect(close=False)


def create(file: Open) -> Any:
    file.file_id = b"\xff" * 16
    return file.create(
        ImpersonationLevel.Impersonation,
        FilePipePrinterAccessMask.GENERIC_READ | FilePipePrinterAccessMask.GENERIC_WRITE,
        FileAttributes.FILE_ATTRIBUTE_NORMAL,
        ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE,
        CreateDisposition.FILE_OPEN_IF,
        CreateOptions.FILE_NON_DIRECTORY_FILE,
        send=False,
    )


@pytest.fixture
def connect(samba: SambaServer) -> Iterator[Callable[..., Client]]:
    """Makes clients, and closes them at the end."""
    made: list[Client] = []

    def connect(port: int, **how: bool) -> Client:
        made.append(logged_on(lambda: Client(samba, port, **how)))
        return made[-1]

    yield connect
    for each in made:
        each.close()


@pytest.fixture
def lab(connect: Callable[..., Client], wire: WireProxy) -> Client:
    """A client on the wire."""
    return connect(wire.port)


# Counting


def test_a_compound_is_one_round_trip(lab: Client, wire: WireProxy, samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(b"{}")
    with wire.counting() as count:
        lab.receive(lab.read("a.json"))
    assert (count.requests, count.responses, count.round_trips) == (1, 1, 1)
    assert [names[:2] for _, names in count.log] == [("CREATE", "READ")] * 2
    assert [direction for direction, _ in count.log] == ["request", "reply"]
    lab.receive(lab.read("a.json"))
    assert count.requests == 1  # counting has ended


def test_opening_reading_and_closing_with_smbclient_is_three(wire: WireProxy, samba: SambaServer) -> None:
    (samba.root / "a.json").write_bytes(b"{}" * 100)
    how: dict[str, Any] = {"port": wire.port, "connection_cache": {}}
    logged_on(lambda: smbclient.listdir(r"\\127.0.0.1\lab", **samba.options, **how))
    with wire.counting() as count, smbclient.open_file(r"\\127.0.0.1\lab\a.json", mode="rb", **how) as file:
        assert file.read() == b"{}" * 100
        file.close()
    smbclient.reset_connection_cache(connection_cache=how["connection_cache"])
    assert count.round_trips == 3, count.log


def test_requests_that_overlap_are_one_round_trip(lab: Client, connect: Callable[..., Client], wire: WireProxy) -> None:
    other = connect(wire.port)
    wire.delay = 0.1  # smbprotocol takes some milliseconds to pack a compound
    with wire.counting() as count:
        requests = [lab.write(f"{number}.json", b"{}") for number in range(3)]
        across = other.write("other.json", b"{}")
        for each in requests:
            lab.receive(each)
        other.receive(across)
        assert (count.requests, count.responses, count.round_trips) == (4, 4, 1), count.log
        lab.receive(lab.read("0.json"))
    assert (count.requests, count.responses, count.round_trips) == (5, 5, 2), count.log


def test_a_lock_that_waits_is_one_round_trip_with_its_cancellation(
    lab: Client, connect: Callable[..., Client], wire: WireProxy
) -> None:
    _, granted = lab.lock("a.json.lock")
    lab.receive(granted)
    waiter = connect(wire.port)
    with wire.counting() as count:
        _, requests = waiter.lock("a.json.lock")
        eventually(lambda: any("LOCK(pending)" in names for _, names in count.log))
        assert count.round_trips == 1
        requests[-1].cancel()
        with pytest.raises(SMBException, match="STATUS_CANCELLED"):
            waiter.receive(requests)
    assert count.round_trips == 1, count.log
    assert ("request", ("CANCEL",)) in count.log
    assert count.log[-1] == ("reply", ("LOCK(0xc0000120)",))


def test_encrypted_messages_are_counted_and_not_named(
    connect: Callable[..., Client], wire: WireProxy, samba: SambaServer
) -> None:
    with wire.counting() as count:
        lab = connect(wire.port, encrypt=True)
        before = count.round_trips
        lab.receive(lab.write("a.json", b"{}"))
        lab.receive(lab.read("a.json"))
    assert count.round_trips == before + 2, count.log
    assert count.log[0] == ("request", ("NEGOTIATE",))
    assert "encrypted" in count.log[-1][1][0]
    assert (samba.root / "a.json").read_bytes() == b"{}"


def test_a_reply_that_a_lost_connection_owed_holds_up_no_round_trip() -> None:
    count, one, other = Count(), object(), object()
    message = Message(b"", ("ECHO",), frozenset({1}))
    count.sent(one, message)
    count.forget(one)
    count.sent(other, message)
    assert count.round_trips == 2


def test_a_compound_is_parsed_to_its_end_and_no_further() -> None:
    def header(command: int, following: int, number: int, status: int = 0) -> bytes:
        return struct.pack("<4sHHIHHIIQ32x", b"\xfeSMB", 64, 0, status, command, 0, 0, following, number)

    frame = b"\0\0\0\0"
    assert parse(frame + header(5, 64, 7) + header(6, 0, 8), "request", 0)[1:] == (("CREATE", "CLOSE"), {7, 8})
    assert parse(frame + header(10, 0, 7, 0x103), "reply", 0)[1:] == (("LOCK(pending)",), set())
    assert parse(frame + header(18, 0, 2**64 - 1), "reply", 0)[1:] == (("OPLOCK_BREAK",), set())
    assert parse(frame + header(12, 0, 7), "request", 0)[1:] == (("CANCEL",), set())
    assert parse(frame + b"\xfdSMB", "reply", 3)[1:] == (("(encrypted, 4 bytes)",), {-4})
    assert parse(frame, "reply", 0).names == ("(unknown, 0 bytes)",)


# Delay


def test_delay_is_added_each_way_at_once_and_does_not_limit_throughput(lab: Client, wire: WireProxy) -> None:
    def one() -> float:
        began = time.monotonic()
        lab.echo()
        return time.monotonic() - began

    def twenty() -> float:
        began = time.monotonic()
        for each in [lab.write(f"{number}.json", b"x" * 60_000) for number in range(20)]:
            lab.receive(each)
        return time.monotonic() - began

    lab.echo()
    wire.delay = 0.05
    assert one() >= 0.1
    assert is_once_below(0.2, one)
    assert twenty() >= 0.1
    assert is_once_below(1.0, twenty)
    wire.delay = 0
    assert is_once_below(0.1, one)


def test_delay_is_exact_to_a_fraction_of_a_millisecond(wire: WireProxy, lab: Client) -> None:
    wire.delay = 0.0025
    took: list[float] = []

    def third_of_twenty() -> float:
        took.clear()
        for _ in range(20):
            began = time.monotonic()
            lab.echo()
            took.append(time.monotonic() - began)
        return sorted(took)[2]

    assert is_once_below(0.008, third_of_twenty)
    assert min(took) >= 0.005


# Cuts


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_closes_every_connection_and_the_next_one_works(
    wire: WireProxy, samba: SambaServer, connect: Callable[..., Client], reset: bool
) -> None:
    clients = [connect(wire.port), connect(wire.port)]
    with closing(socket.create_connection(("127.0.0.1", wire.port))) as idle:
        idle.settimeout(PATIENCE)
        eventually(lambda: wire.accepted == 3)
        wire.cut(reset=reset)
        if reset:
            with pytest.raises(ConnectionResetError):
                idle.recv(1)
        else:
            assert idle.recv(1) == b""
    for each in clients:
        with pytest.raises(CUT_OFF):
            each.echo()
    eventually(lambda: not samba.client_pids())
    connect(wire.port).echo()


@pytest.mark.parametrize("when", ["before_request", "after_request", "reply_lost"])
@pytest.mark.parametrize("delay", [0, 0.01])
def test_a_cut_at_a_message(
    wire: WireProxy, samba: SambaServer, connect: Callable[..., Client], when: Any, delay: float
) -> None:
    lab, bystander = connect(wire.port), connect(wire.port)
    wire.delay = delay
    wire.cut_at(1, when)
    lab.receive(lab.write("first.json", b"{}"))
    assert not wire.fired.is_set()
    with pytest.raises(CUT_OFF):
        lab.receive(lab.write("second.json", b"{}"))
    assert wire.fired.wait(PATIENCE)
    second = samba.root / "second.json"
    if when == "before_request":
        eventually(lambda: len(samba.client_pids()) == 1)
        assert not second.exists()
    elif when == "after_request":
        eventually(lambda: second.exists() and second.read_bytes() == b"{}")
    else:
        assert second.read_bytes() == b"{}"
    bystander.echo()
    connect(wire.port).receive(connect(wire.port).read("first.json"))


def test_a_cut_can_take_all_connections_with_it(wire: WireProxy, connect: Callable[..., Client]) -> None:
    lab, bystander = connect(wire.port), connect(wire.port)
    wire.cut_at(0, "reply_lost", everything=True)
    for each in (lab, bystander):
        with pytest.raises(CUT_OFF):
            each.echo()


def test_a_lock_that_is_granted_and_whose_reply_is_lost_is_free_again(
    wire: WireProxy, samba: SambaServer, connect: Callable[..., Client]
) -> None:
    lock = samba.root / "a.json.lock"
    holder, waiter = connect(wire.port), connect(wire.port)
    _, granted = holder.lock(lock.name)
    holder.receive(granted)
    wire.cut_at(0, "reply_lost")
    with wire.counting() as count:
        _, requests = waiter.lock(lock.name)
        eventually(lambda: any("LOCK(pending)" in names for _, names in count.log))
    assert not wire.fired.is_set()  # that reply is not complete
    holder.connection.disconnect(close=False)
    with pytest.raises(CUT_OFF):
        waiter.receive(requests)
    assert wire.fired.wait(PATIENCE)
    eventually(lambda: not samba.holder_pids(lock))
    third = connect(wire.port)
    third.receive(third.lock(lock.name)[1])


def test_every_message_of_a_new_client_can_be_cut(
    wire: WireProxy, samba: SambaServer, connect: Callable[..., Client]
) -> None:
    cuts = 0
    while True:
        wire.cut_at(cuts, "before_request")
        try:
            connect(wire.port)
        except CUT_OFF:
            assert wire.fired.is_set()
            cuts += 1
        else:
            break
    assert cuts == 4  # NEGOTIATE, SESSION_SETUP twice, TREE_CONNECT
    assert not wire.fired.is_set()


# Black holes


def falls_silent(client: Client) -> bool:
    """Whether a request gets no reply, and no end of the connection either."""
    # Not receive(timeout=...), which waits for at least a second.
    answered = client.connection.send(SMB2Echo()).response_event.wait(SILENCE)
    return not answered and client.connection.transport.connected


@pytest.mark.parametrize("which", ["request", "reply"])
def test_a_black_hole_from_a_message_on(
    wire: WireProxy, samba: SambaServer, connect: Callable[..., Client], which: Any
) -> None:
    lab, bystander = connect(wire.port), connect(wire.port)
    wire.black_hole_at(1, which)
    lab.echo()
    lab.write("a.json", b"{}")
    assert wire.fired.wait(PATIENCE)
    assert falls_silent(lab)
    assert (samba.root / "a.json").exists() == (which == "reply")
    bystander.echo()
    connect(wire.port).echo()


def test_a_server_keeps_the_lock_of_a_client_that_fell_silent_until_the_cut(
    wire: WireProxy, samba: SambaServer, connect: Callable[..., Client]
) -> None:
    lock = samba.root / "a.json.lock"
    lab = connect(wire.port)
    lab.receive(lab.lock(lock.name)[1])
    wire.black_hole()
    lab.close()
    assert len(samba.holder_pids(lock, locked=True)) == 1
    wire.cut()
    eventually(lambda: not samba.holder_pids(lock))


def test_a_black_hole_swallows_new_connections_until_it_is_healed(
    wire: WireProxy, connect: Callable[..., Client]
) -> None:
    lab = connect(wire.port)
    wire.black_hole()
    with closing(socket.create_connection(("127.0.0.1", wire.port), timeout=SILENCE)) as new:
        new.sendall(b"\0\0\0\4abcd")
        with pytest.raises(TimeoutError):
            new.recv(1)
        wire.heal()
        connect(wire.port).echo()
        assert falls_silent(lab)


# Refusal, and a server that is gone


def test_refused_connections_and_present_ones(wire: WireProxy, connect: Callable[..., Client]) -> None:
    lab = connect(wire.port)
    wire.refuse()
    with socket.socket() as new:
        assert new.connect_ex(("127.0.0.1", wire.port)) == errno.ECONNREFUSED
    lab.echo()
    wire.refuse(False)
    connect(wire.port).echo()
    wire.refuse()
    wire.heal()
    connect(wire.port).echo()


def test_a_server_that_ends_takes_its_connections_along_and_comes_back(
    wire: WireProxy, samba: SambaServer, lab: Client, connect: Callable[..., Client]
) -> None:
    samba.kill()
    with pytest.raises(CUT_OFF):
        lab.echo()
    with pytest.raises(ConnectionResetError):  # noqa: SIM117  # from connecting or from receiving, as it happens
        with closing(socket.create_connection(("127.0.0.1", wire.port), timeout=PATIENCE)) as new:
            new.recv(1)
    samba.start()
    connect(wire.port).echo()


def test_large_messages_pass_whole_and_fast(lab: Client, wire: WireProxy, samba: SambaServer) -> None:
    lab.connection.echo(credit_request=512)
    wire.delay = 0.001
    data = bytes(range(256)) * 4096 * 4

    def write() -> float:
        began = time.monotonic()
        lab.receive(lab.write("large", data))
        return time.monotonic() - began

    assert is_once_below(2.0, write)
    assert (samba.root / "large").read_bytes() == data


def test_closing_ends_the_thread_and_every_connection() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        before = set(threading.enumerate())
        with WireProxy("127.0.0.1", server.getsockname()[1]) as proxy:
            client = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
            accepted, _ = server.accept()
            assert len(set(threading.enumerate()) - before) == 1
        with closing(client), closing(accepted):
            accepted.settimeout(PATIENCE)
            assert client.recv(1) == accepted.recv(1) == b""
        assert set(threading.enumerate()) <= before
        proxy.close()
        with pytest.raises(RuntimeError, match="closed"):
            proxy.cut()
