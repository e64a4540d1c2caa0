"""How often an SMB client waits for the network, counted on the wire; and nothing is sent that need not be."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.steps import held_lock
from exlab_store_smb.wire.sealing import Sealing
from wire_proxy import parse

from exlab_store import Store, VersionConflict, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

KEY, OTHER = "a.json", "b.json"
SMALL = b"x" * 2048


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy for 0.1 s between two calls makes a lock old, and an old one is asked about."""
    monkeypatch.setattr(held_lock, "_FRESH", 3600.0)


@pytest.fixture
def store(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    """A client that is counted, and that has connected."""
    with open_store(samba.url(user=False, port=wire.port), **samba.options) as opened:
        yield opened


@contextmanager
def costs(wire: WireProxy, round_trips: int, requests: int | None = None) -> Iterator[None]:
    """What is done costs so many round trips, and so many messages of the client: as many unless given."""
    with wire.counting() as count:
        yield
    assert (count.round_trips, count.requests) == (round_trips, requests or round_trips), count.log


@pytest.mark.parametrize("size", [0, 1, 2048, (64 << 10) - 1, 64 << 10])
def test_a_document_of_up_to_64_kib_is_read_in_one(
    samba: SambaServer, wire: WireProxy, store: Store, size: int
) -> None:
    (samba.root / KEY).write_bytes(b"x" * size)
    with costs(wire, 1):
        assert len(store.read_snapshot(KEY)) == size


@pytest.mark.parametrize("size", [(64 << 10) + 1, 1 << 20, 5 << 20])
def test_a_larger_document_is_read_in_two_and_again_in_one(
    samba: SambaServer, wire: WireProxy, store: Store, size: int
) -> None:
    (samba.root / KEY).write_bytes(b"x" * size)
    with costs(wire, 2):
        assert len(store.read_snapshot(KEY)) == size
    with costs(wire, 1):
        assert len(store.read_snapshot(KEY)) == size


def test_a_larger_document_that_this_store_has_written_is_read_in_two_at_most(wire: WireProxy, store: Store) -> None:
    store.atomic_write(KEY, b"x" * 500_000)
    with wire.counting() as count:
        store.read_snapshot(KEY)
    assert count.round_trips <= 2


def test_a_document_that_is_missing_is_looked_for_again_in_one_more(wire: WireProxy, store: Store) -> None:
    # Samba overlooks a document that is being replaced, now and then.
    wire.delay = 0.01  # what is sent together overlaps
    with costs(wire, 2, requests=3), pytest.raises(FileNotFoundError):
        store.read_snapshot(KEY)


@pytest.mark.parametrize("size", [0, 2048, 64 << 10, 1 << 20])
def test_a_durable_write_takes_one(wire: WireProxy, store: Store, size: int) -> None:
    assert store.guarantees.durable
    with costs(wire, 1):
        store.atomic_write(KEY, b"x" * size)
    with costs(wire, 1):
        store.atomic_write(KEY, b"y" * size)


@pytest.fixture
def encrypted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands of each message that the client encrypts from now on."""
    found: list[tuple[str, ...]] = []
    seal = Sealing.seal

    def seen(sealing: Sealing, data: bytes) -> bytes:
        found.append(parse(bytes(4) + data, "request", 0).names)
        return seal(sealing, data)

    monkeypatch.setattr(Sealing, "seal", seen)
    return found


@pytest.mark.parametrize("size", [0, 2048])
def test_a_durable_write_takes_two_where_the_server_does_not_encrypt(
    samba: SambaServer, wire: WireProxy, size: int
) -> None:
    samba.change_global(server_smb_encrypt="off")
    with open_store(samba.url(user=False, port=wire.port), **samba.options) as store:
        store.atomic_write(KEY, SMALL)
        with costs(wire, 2):
            store.atomic_write(KEY, b"x" * size)


def test_the_data_and_the_folder_are_flushed_in_that_one(store: Store, encrypted: list[tuple[str, ...]]) -> None:
    store.atomic_write(KEY, SMALL)
    (request,) = encrypted
    data, folder = (index for index, command in enumerate(request) if command == "FLUSH")
    assert request.index("WRITE") < data < request.index("SET_INFO") < folder


def test_the_first_write_into_a_folder_takes_one_too(samba: SambaServer, wire: WireProxy, store: Store) -> None:
    wire.delay = 0.01  # what is sent together overlaps
    (samba.root / "day" / "run").mkdir(parents=True)
    with wire.counting() as count:
        store.atomic_write(f"day/run/{KEY}", SMALL)
    assert count.round_trips == 1, count.log
    with costs(wire, 1):
        store.atomic_write(f"day/run/{KEY}", SMALL)


def test_the_first_write_into_folders_that_are_made_costs_more_once(wire: WireProxy, store: Store) -> None:
    wire.delay = 0.01  # what is sent together overlaps
    store.atomic_write(f"day/run/{KEY}", SMALL)
    with wire.counting() as count:
        store.atomic_write(f"day/run/other-{KEY}", SMALL)
    assert count.round_trips == 1, count.log


def test_a_free_lock_is_taken_in_one_and_released_in_one_that_nobody_waits_for(wire: WireProxy, store: Store) -> None:
    with costs(wire, 1):
        held = store.lock(KEY)
    wire.delay = 0.4
    with costs(wire, 1):
        began = time.monotonic()
        held.release()
        assert time.monotonic() - began < wire.delay


def test_a_write_under_a_lock_takes_one(wire: WireProxy, store: Store) -> None:
    with store.lock(KEY) as held:
        with costs(wire, 1):
            store.atomic_write(KEY, SMALL, lock=held)
        with costs(wire, 1):
            store.atomic_write(KEY, SMALL, lock=held)


def test_an_update_takes_two(wire: WireProxy, store: Store) -> None:
    store.update(KEY, lambda _: b"x")  # shows in which order the server carries out what it is sent
    for _ in range(3):
        with costs(wire, 2):
            store.update(KEY, lambda current: (current or b"") + b"x")


def test_the_first_update_of_a_store_waits_for_two_and_releases_the_lock_after_them(
    samba: SambaServer, wire: WireProxy, store: Store
) -> None:
    (samba.root / KEY).write_bytes(SMALL)
    wire.delay = 0.3
    with wire.counting() as count:
        store.update(KEY, lambda current: (current or b"") + b"x")
        waited_for = count.responses
    assert (waited_for, count.requests) == (2, 3), count.log


def test_an_update_that_makes_a_document_takes_three(wire: WireProxy, store: Store) -> None:
    wire.delay = 0.01  # what is sent together overlaps
    store.update(KEY, lambda _: b"x")
    with costs(wire, 3, requests=4):  # what is missing is looked for again, twice at a time
        store.update(OTHER, lambda _: b"x")


def test_the_lock_is_released_behind_the_write_and_the_flush_of_the_folder(
    wire: WireProxy, store: Store, encrypted: list[tuple[str, ...]]
) -> None:
    store.update(KEY, lambda _: b"x")
    with wire.counting() as count:
        store.update(KEY, lambda _: b"y")
    first, _ = (commands for direction, commands in count.log if direction == "request")
    assert first == ("CREATE", "LOCK", "WRITE", "QUERY_INFO", "CREATE", "READ", "CLOSE")
    second = encrypted[-1]
    assert second[-3:] == ("WRITE", "LOCK", "CLOSE")
    assert second.index("SET_INFO") < second.index("LOCK")
    assert [command for command in second if command == "FLUSH"] == ["FLUSH"] * 2


def test_a_compare_and_swap_under_a_lock_takes_two_at_most(wire: WireProxy, store: Store) -> None:
    store.atomic_write(KEY, SMALL)
    with store.lock(KEY) as held, wire.counting() as count:
        store.atomic_write(KEY, b"new", expect=version_of(SMALL), lock=held)
    assert count.round_trips <= 2, count.log


def test_a_compare_and_swap_takes_two(wire: WireProxy, store: Store) -> None:
    store.update(KEY, lambda _: SMALL)
    with costs(wire, 2):
        store.atomic_write(KEY, b"new", expect=version_of(SMALL))
    with costs(wire, 2), pytest.raises(VersionConflict):  # of which the release is not waited for
        store.atomic_write(KEY, b"newer", expect=version_of(SMALL))


def test_a_conditional_deletion_waits_for_two(wire: WireProxy, store: Store) -> None:
    store.update(KEY, lambda _: SMALL)
    with wire.counting() as count:
        store.delete(KEY, expect=version_of(SMALL))
    assert count.requests == 3, count.log


def test_a_deletion_takes_one(wire: WireProxy, store: Store) -> None:
    store.atomic_write(KEY, SMALL)
    with costs(wire, 1):
        store.delete(KEY)


def test_nothing_is_sent_but_what_an_operation_needs(
    wire: WireProxy, store: Store, encrypted: list[tuple[str, ...]]
) -> None:
    with wire.counting() as count:
        for number in range(20):
            store.atomic_write(KEY, str(number).encode())
            store.read_snapshot(KEY)
    assert count.requests == 40, count.log
    in_clear = {command for direction, commands in count.log if direction == "request" for command in commands}
    assert {command for command in in_clear if not command.startswith("(")} == {"CREATE", "READ", "CLOSE"}
    assert {command for commands in encrypted for command in commands} == {
        *("CREATE", "WRITE", "FLUSH", "SET_INFO", "CLOSE", "QUERY_INFO"),
    }
    assert wire.accepted == 1


def test_the_benchmark_runs_and_prints_its_table(samba: SambaServer) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "smb.py"
    result = subprocess.run(
        [sys.executable, script, "--quick"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert any("hand-over" in row for row in rows)
    assert sum("durable write of 2 KiB" in row for row in rows) == 2
