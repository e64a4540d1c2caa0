"""Told of changes over SMB, by the server and across a network that fails."""

from __future__ import annotations

import gc
import struct
import time
from typing import TYPE_CHECKING

import pytest
import waiting
from exlab_store_smb import SmbBackend, open_backend
from exlab_store_smb.steps.watching import _names_in
from watched_writers import median_delay, told_of_all

from exlab_store import Change, ChangeStream, Location, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

    from exlab_store import Store

ONE = version_of(b"1")
PATIENCE = 120.0
NEVER = 3600.0  # an interval: what is found is told by the server


@pytest.fixture
def other(samba: SambaServer) -> Iterator[Store]:
    """Another client, with a connection of its own."""
    with open_store(samba.url(), password=samba.password, timeout=31) as store:
        yield store


@pytest.fixture
def backend(samba: SambaServer, wire: WireProxy) -> SmbBackend:
    """The client that watches, through a network that fails when it is told to."""
    location = Location.parse(samba.url(port=wire.port))
    return open_backend(location, {"password": samba.password, "idle_timeout": 0.2})


@pytest.fixture
def watched(backend: SmbBackend) -> Iterator[Store]:
    with open_store(backend=backend) as store:
        yield store


@pytest.fixture
def begin(watched: Store) -> Callable[..., ChangeStream]:
    def watch(prefix: str = "", **options: object) -> ChangeStream:
        stream = watched.watch(prefix, **{"timeout": PATIENCE, "interval": NEVER, **options})  # type: ignore[arg-type]
        assert stream.mode == "pushed"
        return stream

    return watch


@pytest.mark.one_interpreter
def test_a_change_is_told_also_on_a_connection_that_has_long_been_idle(
    begin: Callable[..., ChangeStream], other: Store, wire: WireProxy
) -> None:
    with begin() as stream:
        time.sleep(1.0)  # five times what a connection without requests is kept for
        with wire.counting() as count:
            other.atomic_write("a", b"1")
            assert next(stream) == Change("a", "written", ONE)
    assert "SESSION_SETUP" not in str(count)


@pytest.mark.one_interpreter
def test_what_happens_while_the_connection_is_cut_is_told(
    begin: Callable[..., ChangeStream], other: Store, wire: WireProxy
) -> None:
    with begin() as stream:
        wire.refuse()
        wire.cut()
        other.atomic_write("new/a", b"1")
        wire.refuse(False)
        assert next(stream) == Change("new/a", "written", ONE)
        other.delete("new/a")
        assert next(stream) == Change("new/a", "deleted")


@pytest.mark.one_interpreter
def test_where_more_happens_than_the_server_keeps_everything_is_looked_at(
    begin: Callable[..., ChangeStream], other: Store
) -> None:
    keys = {f"{number:03}-{'x' * 200}" for number in range(60)}  # of each, four notices of 400 bytes and more
    with begin() as stream:
        for key in keys:
            other.atomic_write(key, b"1")
        assert {next(stream).key for _ in keys} == keys


@pytest.mark.one_interpreter
def test_what_a_program_writes_on_the_server_is_found_by_and_by(
    begin: Callable[..., ChangeStream], samba: SambaServer
) -> None:
    (samba.root / "deep/er").mkdir(parents=True)
    with begin(interval=0.005) as stream:
        (samba.root / "deep/er/a").write_bytes(b"1")
        assert next(stream) == Change("deep/er/a", "written", ONE)


@pytest.mark.one_interpreter
def test_a_server_that_does_not_tell_is_polled(samba: SambaServer, caplog: pytest.LogCaptureFixture) -> None:
    samba.change_global(change_notify="no")
    with (
        open_store(samba.url(), password=samba.password) as store,
        store.watch(timeout=PATIENCE, interval=0.01) as stream,
    ):
        assert stream.mode == "polled"
        store.atomic_write("a", b"1")
        assert next(stream) == Change("a", "written", ONE)
    assert "does not tell of changes" in caplog.text


@pytest.mark.parametrize(
    "data", [b"\0" * 11, struct.pack("<III", 0, 1, 2), struct.pack("<IIIH", 13, 1, 4, 97) + bytes(20)]
)
def test_notices_that_make_no_sense_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        list(_names_in(data))


@pytest.mark.one_interpreter
def test_a_watch_takes_no_credit_and_gives_back_what_it_has(
    begin: Callable[..., ChangeStream], watched: Store, backend: SmbBackend
) -> None:
    watched.list_keys()
    link = backend._links._shared._link
    assert link is not None

    def settled() -> int:
        waiting.eventually(lambda: all(each.async_id for each in link.connection.outstanding_requests.values()))
        window = link.connection.sequence_window  # [MS-SMB2 3.2.4.1.2]
        return int(window["high"] - window["low"])

    before = settled()
    streams = [begin() for _ in range(3)]
    assert settled() >= before
    assert len(link.connection.outstanding_requests) == 6
    streams.pop().close()
    waiting.eventually(lambda: len(link.connection.outstanding_requests) == 4)
    streams.clear()
    gc.collect()  # what is dropped is given back by the connection's own thread
    waiting.eventually(lambda: not link.connection.outstanding_requests)


@pytest.mark.one_interpreter
def test_a_watch_keeps_no_store_from_closing(begin: Callable[..., ChangeStream], watched: Store, other: Store) -> None:
    stream = begin()
    began = time.monotonic()
    watched.close()
    assert time.monotonic() - began < 30  # the 2 s that a server has to answer, on a busy machine
    assert list(stream) == []
    other.atomic_write("a", b"1")  # nobody holds its folder


@pytest.mark.one_interpreter
@pytest.mark.parametrize(("changes", "cuts"), [(60, 3), pytest.param(1000, 20, marks=pytest.mark.slow)])
def test_the_last_state_of_every_document_is_told_across_connections_that_are_cut(
    begin: Callable[..., ChangeStream], samba: SambaServer, wire: WireProxy, changes: int, cuts: int
) -> None:
    def cut() -> None:
        for _ in range(cuts):
            time.sleep(0.15)
            wire.cut(reset=True)

    # A cut may hit each of the attempts to connect: then the watch says so, and goes on.
    with begin(timeout=2 * PATIENCE, onerror=lambda _: None) as stream:
        told, wrong = told_of_all(stream, samba.url(), {"password": samba.password}, changes, cut)
    assert wrong == []
    assert told > changes / 10


@pytest.mark.slow
def test_half_of_all_changes_are_told_within_50_ms(begin: Callable[..., ChangeStream], other: Store) -> None:
    with begin() as stream:
        assert median_delay(stream, other) < 0.05
