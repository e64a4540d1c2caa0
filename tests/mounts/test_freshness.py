"""What a client reads, and who it is told holds a lock, right after another client's write."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from exlab_store import DocumentNotFound, LockOwner, LockTimeout, open_store
from mounts.machines import A, B

if TYPE_CHECKING:
    from pathlib import Path

    from mounts.machines import Site

pytestmark = pytest.mark.one_interpreter

_OFTEN = ["nfs-4.2", "cifs-strict"]
_AT_TIMES = ["nfs-4.0", "cifs-none", "cifs-loose", "cifs-actimeo-0", "cifs-actimeo-30"]
_ROUNDS = 8
_UPDATES = 8
shared = pytest.mark.parametrize("kind", [*_OFTEN, *(pytest.param(kind, marks=pytest.mark.slow) for kind in _AT_TIMES)])


def _stale_reads(site: Site, rounds: int, *, locked: bool) -> int:
    stale = 0
    with open_store(site.a) as a, open_store(site.b) as b:
        for number in range(rounds):
            text = b"%d" % number * (1 if number % 2 else 300)
            a.atomic_write("d.json", text)
            if locked:
                with b.lock("d.json"):
                    stale += b.read_snapshot("d.json").data != text
            else:
                stale += b.read_snapshot("d.json").data != text
    return stale


@shared
def test_a_read_under_the_lock_sees_what_another_client_has_written(site: Site) -> None:
    assert _stale_reads(site, _ROUNDS, locked=True) == 0


@shared
def test_a_plain_read_sees_it_too_while_nobody_else_reads(site: Site) -> None:
    assert _stale_reads(site, _ROUNDS, locked=False) == 0


@shared
@pytest.mark.slow
def test_two_thousand_reads_see_what_another_client_has_written(site: Site) -> None:
    assert [_stale_reads(site, 2000, locked=locked) for locked in (True, False)] == [0, 0]


def _lost_writes(site: Site, writes: int) -> list[int]:
    with open_store(site.a) as a, open_store(site.b) as b:
        lost = []
        for number in range(writes):
            text = b"%d " % number * (1, 1, 60, 1, 1, 3000)[number % 6]
            (a, b)[number % 2].atomic_write("d.json", text)
            if (site.server / "d.json").read_bytes() != text:
                lost.append(number)
    return lost


@shared
def test_two_clients_that_write_in_turn_replace_the_document_each_time(site: Site) -> None:
    """A server gives the number of a file that is gone to the next one: a client may take them for one file."""
    assert _lost_writes(site, 40) == []
    assert os.listdir(site.server) == ["d.json"]


@shared
@pytest.mark.slow
def test_a_thousand_writes_of_two_clients_in_turn_replace_the_document_each_time(site: Site) -> None:
    assert _lost_writes(site, 1000) == []


@shared
def test_a_document_that_another_client_has_deleted_is_missing_for_whoever_deletes_it(site: Site) -> None:
    with open_store(site.a) as a, open_store(site.b) as b:
        for number in range(4):
            a.atomic_write(f"gone-{number}.json", b"1")
            b.read_snapshot(f"gone-{number}.json")
            a.delete(f"gone-{number}.json")
            with pytest.raises(DocumentNotFound):
                b.delete(f"gone-{number}.json")


def _poll(path: Path, until: Path) -> None:
    while not until.exists():
        path.read_bytes()
        time.sleep(0.01)


@pytest.mark.parametrize(
    "kind", ["cifs-strict", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ["nfs-4.2", *_AT_TIMES])]
)
def test_a_program_that_reads_the_file_by_itself_does_not_hold_up_the_new_document(site: Site) -> None:
    with open_store(site.a) as a:
        a.atomic_write("d.json", b"0")
        with B.pool() as pool:
            polling = pool.submit(_poll, site.b / "d.json", site.b / "end")
            try:
                assert _stale_reads(site, _ROUNDS, locked=True) == 0
            finally:
                a.atomic_write("end", b"")
            polling.exception(30)  # whatever its own reads met


@shared
def test_a_document_that_was_missing_is_found_as_soon_as_it_is_written(site: Site) -> None:
    missing = 0
    with open_store(site.a) as a, open_store(site.b) as b:
        for number in range(_ROUNDS):
            key = f"new-{number}.json"
            with pytest.raises(DocumentNotFound):
                b.read_snapshot(key)
            a.atomic_write(key, b"{}")
            try:
                b.read_snapshot(key)
            except DocumentNotFound:
                missing += 1
    assert missing == 0


def _count(folder: Path, updates: int) -> None:
    with open_store(folder) as store:
        for _ in range(updates):
            store.update("d/n.json", lambda data: str(int(data or b"0") + 1).encode())


def _counted(site: Site, updates: int) -> list[bytes]:
    pools = [(A.pool(2), site.a), (B.pool(2), site.b)]
    working: list[Future[None]] = []
    try:
        working = [pool.submit(_count, folder, updates) for pool, folder in pools for _ in range(2)]
        for each in working:
            each.result(600)
    finally:
        for pool, _ in pools:
            pool.shutdown()
    with open_store(site.a) as a, open_store(site.b) as b:
        return [store.read_snapshot("d/n.json").data for store in (a, b)]


@shared
@pytest.mark.slow  # test_updates_between_clients.py shows it of more kinds of clients
def test_no_update_of_four_processes_on_two_clients_is_lost(site: Site) -> None:
    assert _counted(site, _UPDATES) == [b"%d" % (4 * _UPDATES)] * 2


@pytest.mark.parametrize("kind", ["nfs-4.2", "nfs-4.0", "cifs-strict", "cifs-none"])
@pytest.mark.slow
def test_no_update_of_a_thousand_is_lost(site: Site) -> None:
    assert _counted(site, 250) == [b"1000"] * 2


def _hold(folder: Path, until: Path) -> None:
    with open_store(folder) as store, store.lock("d.json", purpose="calibration"):
        (folder / "held").touch()
        while not until.exists():
            time.sleep(0.01)


def _held_by(pool: ProcessPoolExecutor, site: Site) -> Future[None]:
    holding = pool.submit(_hold, site.a, site.server / "end")
    while not (site.server / "held").exists():
        assert not holding.done(), holding.exception()
        time.sleep(0.01)
    return holding


@shared
def test_who_holds_a_lock_is_named_on_every_client(site: Site) -> None:
    with A.pool() as pool:
        holding = _held_by(pool, site)
        try:
            holders: list[LockOwner | None] = []
            for folder in (site.a, site.b):
                with open_store(folder) as store, pytest.raises(LockTimeout) as refused:
                    store.lock("d.json", timeout=1)
                holders.append(refused.value.holder)
        finally:
            (site.server / "end").touch()
        holding.result(30)
    assert [(holder.host, holder.purpose) for holder in holders if holder] == [("client-a", "calibration")] * 2


@shared
def test_a_lock_that_passes_between_two_processes_of_a_client_stays_one_of_the_site(site: Site) -> None:
    """Linux gives both one open file on an SMB mount, if they let it: the first one's close unlocked the second's."""
    with open_store(site.a) as store, open_store(site.b) as other, A.pool() as pool:
        first = store.lock("d.json")
        waiting = pool.submit(_hold, site.a, site.server / "end")
        time.sleep(0.2)  # it polls by now, or takes the lock later: the test holds either way
        first.release()
        while not (site.server / "held").exists():
            assert not waiting.done(), waiting.exception()
            time.sleep(0.01)
        try:
            with pytest.raises(LockTimeout):
                other.lock("d.json", timeout=0.2)
        finally:
            (site.server / "end").touch()
        waiting.result(30)


def test_what_a_mount_claims_is_what_its_options_leave(site: Site) -> None:
    expected = {
        "nfs-3": ("host", "none"),
        "nfs-3-nolock": ("host", "none"),
        "cifs-nobrl": ("host", "none"),
        "nfs-4.2": ("site", "always"),
        "nfs-4.0": ("site", "always"),
    }
    with open_store(site.a) as store:
        claimed = store.guarantees.lock_scope, store.guarantees.fresh
    assert claimed == expected.get(site.kind, ("site", "locked"))


def _read_whole(folder: Path, reads: int) -> list[str]:
    flaws: list[str] = []
    with open_store(folder) as store:
        for _ in range(reads):
            data = store.read_snapshot("d.json").data
            if len(data) != 50_000 or data.count(data[:1]) != 50_000:
                flaws.append(f"{len(data)} bytes, {data[:1]!r} {data.count(data[:1])} times")
    return flaws


def _flaws_under_a_writer(site: Site, reads: int) -> list[str]:
    with open_store(site.a) as a, A.pool() as here, B.pool() as there:
        a.atomic_write("d.json", b"a" * 50_000)
        reading = [here.submit(_read_whole, site.a, reads), there.submit(_read_whole, site.b, reads)]
        number = 0
        while not all(each.done() for each in reading):
            number += 1
            a.atomic_write("d.json", b"ab"[number % 2 : number % 2 + 1] * 50_000)
        return [flaw for each in reading for flaw in each.result()]


@shared
def test_reads_under_a_writer_are_whole_on_its_own_client_and_on_another(site: Site) -> None:
    assert _flaws_under_a_writer(site, 20) == []
    assert os.listdir(site.server) == ["d.json"]
