"""A network that fails at any message: nothing is said that is not so, always in time, and the store goes on."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import asyncssh
import pytest
from ssh_server import SshFraming, SshServer, new_folder, running_sshd
from standing_still import standing_still
from waiting import comes_to, eventually
from wire_proxy import WireProxy

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    LockLost,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wire_proxy import When

    from exlab_store import Store

pytestmark = pytest.mark.one_interpreter

TIMEOUT = 8.0
WHENS: tuple[When, ...] = ("before_request", "after_request", "reply_lost")
Way = Literal["shell", "alone"]


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with running_sshd() as found:
        yield found


@pytest.fixture(params=["shell", "alone"])
def wire(request: pytest.FixtureRequest, server: SshServer) -> Iterator[WireProxy]:
    """The network before the server, with a shell there, and with SFTP alone."""
    port = server.port if request.param == "shell" else server.bare_port
    with WireProxy("127.0.0.1", port, framing=SshFraming) as proxy:
        yield proxy


@pytest.fixture
def folder(server: SshServer) -> Path:
    return new_folder(server)


def open_anew(server: SshServer, wire: WireProxy, folder: Path, **options: Any) -> Store:
    url = server.url(folder.name, port=wire.port)
    options = {**server.options, "host_key": server.host_key, "timeout": TIMEOUT, **options}
    del options["known_hosts"]
    return open_store(url, retry=None, **options)


def _write_is_told_truly(store: Store, folder: Path, number: int) -> str:
    """Writes under the planned fault, and compares what is said with what has happened."""
    old, new = f"old {number}".encode(), f"new {number}".encode()
    began = time.monotonic()
    try:
        store.atomic_write("a.json", new)
        said = "written"
    except WriteOutcomeUnknown:
        said = "unknown"
    except BackendUnavailable:
        said = "not written"
    assert time.monotonic() - began < 2 * TIMEOUT + 10
    stored = (folder / "a.json").read_bytes()
    assert stored in {old, new}
    if said == "written":
        assert stored == new
    if said == "not written":
        assert stored == old
        time.sleep(0.05)  # nor is it written later
        assert (folder / "a.json").read_bytes() == old
    return said


def _writes(store: Store, data: bytes) -> bool:
    with suppress(BackendUnavailable):
        store.atomic_write("a.json", data)
        return True
    return False


def _cut_write(store: Store, wire: WireProxy, folder: Path, message: int, when: When) -> tuple[str, bool]:
    store.atomic_write("a.json", f"old {message}".encode())
    wire.cut_at(message, when)
    said = _write_is_told_truly(store, folder, message)
    fired = wire.fired.is_set()
    wire.heal()
    store.atomic_write("a.json", b"afterwards")
    assert (folder / "a.json").read_bytes() == b"afterwards"
    assert comes_to(lambda: not [path.name for path in folder.iterdir() if ".tmp." in path.name])
    return said, fired


@pytest.mark.parametrize("when", WHENS)
def test_a_write_that_is_cut_is_told_truly(server: SshServer, wire: WireProxy, folder: Path, when: When) -> None:
    with open_anew(server, wire, folder) as store:
        _cut_write(store, wire, folder, 0, when)


@pytest.mark.slow
def test_a_write_that_is_cut_at_any_message_is_told_truly(server: SshServer, wire: WireProxy, folder: Path) -> None:
    told: dict[str, int] = {}
    with open_anew(server, wire, folder) as store:
        for when in WHENS:
            fired, message = True, 0
            while fired:
                for _ in range(10):
                    said, fired = _cut_write(store, wire, folder, message, when)
                    told[said] = told.get(said, 0) + fired
                message += 1
                assert message < 40
    print(told)
    assert sum(told.values()) >= 30


@pytest.mark.slow
def test_a_connection_that_is_cut_at_any_message_while_it_is_made_is_made_again_or_told(
    server: SshServer, wire: WireProxy, folder: Path
) -> None:
    (folder / "a.json").write_bytes(b"1")
    for when in WHENS:
        fired, message = True, 0
        while fired:
            wire.cut_at(message, when)
            try:
                with open_anew(server, wire, folder) as store:
                    assert store.read_snapshot("a.json").data == b"1"
            except (BackendUnavailable, StoreError) as error:
                assert isinstance(error, BackendUnavailable), repr(error)
            fired = wire.fired.is_set()
            wire.heal()
            message += 1
            assert message < 60


@pytest.mark.parametrize("when", WHENS)
def test_a_read_that_is_cut_is_asked_again(server: SshServer, wire: WireProxy, folder: Path, when: When) -> None:
    with open_anew(server, wire, folder) as store:
        store.atomic_write("a.json", b"1")
        for message in range(2):
            wire.cut_at(message, when)
            assert store.read_snapshot("a.json").data == b"1"
            wire.heal()


@pytest.mark.parametrize("when", WHENS)
def test_a_deletion_that_is_cut_is_told_truly(server: SshServer, wire: WireProxy, folder: Path, when: When) -> None:
    with open_anew(server, wire, folder) as store:
        store.atomic_write("a.json", b"1")
        wire.cut_at(0, when)
        try:
            store.delete("a.json")
        except WriteOutcomeUnknown:
            pass
        except BackendUnavailable:
            assert (folder / "a.json").exists()
        else:
            assert not (folder / "a.json").exists()
        wire.heal()
        store.atomic_write("a.json", b"2")
        assert store.read_snapshot("a.json").data == b"2"


@pytest.fixture
def shell_wire(server: SshServer) -> Iterator[WireProxy]:
    with WireProxy("127.0.0.1", server.port, framing=SshFraming) as proxy:
        yield proxy


def _update_is_told_truly(store: Store, wire: WireProxy, folder: Path, message: int, when: When) -> bool:
    before = int((folder / "counter.json").read_bytes())
    wire.cut_at(message, when)
    try:
        store.update("counter.json", lambda current: str(int(current or b"0") + 1).encode(), timeout=20)
        wanted = {before + 1}
    except WriteOutcomeUnknown:
        wanted = {before, before + 1}
    except (BackendUnavailable, LockLost):
        wanted = {before}
    assert int((folder / "counter.json").read_bytes()) in wanted
    fired = wire.fired.is_set()
    wire.heal()
    with store.lock("counter.json", timeout=20) as held:  # nobody keeps it
        store.atomic_write("counter.json", b"100", lock=held)
    return fired


@pytest.mark.parametrize("when", WHENS)
def test_an_update_that_is_cut_is_made_once_or_told(
    server: SshServer, shell_wire: WireProxy, folder: Path, when: When
) -> None:
    with open_anew(server, shell_wire, folder) as store:
        store.atomic_write("counter.json", b"100")
        for message in (0, 3):
            _update_is_told_truly(store, shell_wire, folder, message, when)


@pytest.mark.slow
def test_an_update_that_is_cut_at_any_message_is_made_once_or_told(
    server: SshServer, shell_wire: WireProxy, folder: Path
) -> None:
    with open_anew(server, shell_wire, folder) as store:
        store.atomic_write("counter.json", b"100")
        for when in WHENS:
            fired, message = True, 0
            while fired:
                for _ in range(5):
                    fired = _update_is_told_truly(store, shell_wire, folder, message, when)
                message += 1
                assert message < 60


@pytest.mark.parametrize("which", ["request", "reply"])
def test_a_write_into_silence_comes_back_in_time_and_is_told_truly(
    server: SshServer, wire: WireProxy, folder: Path, which: Literal["request", "reply"]
) -> None:
    with open_anew(server, wire, folder, timeout=4.0) as store:
        store.atomic_write("a.json", b"old 1")
        wire.black_hole_at(0, which)
        _write_is_told_truly(store, folder, 1)
        wire.cut()
        wire.heal()
        eventually(lambda: _writes(store, b"2"))  # once this side knows that its connection was cut
        assert store.read_snapshot("a.json").data == b"2"


def test_what_was_cut_off_does_not_happen_later(server: SshServer, shell_wire: WireProxy, folder: Path) -> None:
    """A process on the server that is slow is ended before anything else is said or done."""
    with open_anew(server, shell_wire, folder, timeout=4.0) as store:
        store.atomic_write("a.json", b"1")
        with standing_still(*server.shell_pids()):
            with suppress(StoreError):
                store.atomic_write("a.json", b"2")
            store.atomic_write("a.json", b"3")
        eventually(lambda: len(server.shell_pids()) <= 1)
        assert (folder / "a.json").read_bytes() == b"3"


def test_a_write_is_one_round_trip(server: SshServer, shell_wire: WireProxy, folder: Path) -> None:
    with open_anew(server, shell_wire, folder) as store:
        store.atomic_write("a.json", b"0")
        shell_wire.delay = 0.05

        def trips(call: Any) -> int:
            with shell_wire.counting() as count:
                call()
                eventually(lambda: shell_wire.all_answered(count))
            return count.round_trips

        assert min(trips(lambda: store.atomic_write("a.json", b"1")) for _ in range(3)) == 1


def test_a_missing_document_is_no_failure_of_the_network(server: SshServer, wire: WireProxy, folder: Path) -> None:
    with open_anew(server, wire, folder) as store, pytest.raises(DocumentNotFound):
        store.read_snapshot("a.json")


def test_a_removal_whose_answer_is_lost_is_not_taken_for_the_rename_of_a_write(
    server: SshServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file tells whether the rename was done, by being there when it is removed: the first time."""
    rename, remove = asyncssh.SFTPClient.posix_rename, asyncssh.SFTPClient.remove
    with WireProxy("127.0.0.1", server.bare_port, framing=SshFraming) as wire:

        async def cut_before(files: asyncssh.SFTPClient, *paths: str) -> None:
            wire.cut()
            await rename(files, *paths)

        async def cut_behind(files: asyncssh.SFTPClient, path: str) -> None:
            await remove(files, path)
            monkeypatch.setattr(asyncssh.SFTPClient, "remove", remove)
            wire.cut()
            await files.stat(path)

        with open_anew(server, wire, folder) as store:
            store.atomic_write("a.json", b"old 1")
            monkeypatch.setattr(asyncssh.SFTPClient, "posix_rename", cut_before)
            monkeypatch.setattr(asyncssh.SFTPClient, "remove", cut_behind)
            assert _write_is_told_truly(store, folder, 1) == "unknown"
