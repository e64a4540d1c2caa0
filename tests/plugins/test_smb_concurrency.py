"""Many threads, tasks and processes on one share: nothing fails, nothing is lost, nobody waits for long."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import multiprocessing
import os
import random
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from exlab_store_smb import SmbBackend, open_backend
from exlab_store_smb.wire.deadline import Deadline
from waiting import comes_to, is_once_below

from exlab_store import DocumentNotFound, Location, LockTimeout, Store, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

_SPAWN = multiprocessing.get_context("spawn")
_PATIENCE = 20.0  # seconds for what takes milliseconds on a machine that is busy with other tests


@pytest.fixture
def backend(samba: SambaServer) -> SmbBackend:
    return open_backend(Location.parse(samba.url()), {"password": samba.password})


@pytest.fixture
def smb(backend: SmbBackend) -> Iterator[Store]:
    with open_store(backend=backend) as store:
        yield store


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Keeps a figure with the test; record_property does so too, and warns where the report is of a newer kind."""
    return lambda name, value: request.node.user_properties.append((name, value))


def _sealed(number: int, size: int) -> bytes:
    body = number.to_bytes(8) + random.Random(number).randbytes(size - 40)
    return hashlib.sha256(body).digest() + body


def _is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[32:]).digest() == data[:32]


def _percentile(values: list[float], percent: float) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


# Threads


def _one_more(data: bytes | None) -> bytes:
    return str(int(data or b"0") + 1).encode()


class Mixture:
    """What one of many threads does with a store that they share; it counts its increments."""

    def __init__(self, store: Store, number: int) -> None:
        self._store = store
        self._chance = random.Random(number)
        self._own = f"own/{number}.json"
        self._written: bytes | None = None
        self.increments = 0

    def run(self, operations: int) -> None:
        kinds = [self.read, self.read_own, self.write, self.write_own, self.update, self.lock, self.delete, self.list]
        for kind in self._chance.choices(kinds, weights=[8, 8, 5, 5, 5, 3, 3, 2], k=operations):
            kind()

    def read(self) -> None:
        try:
            assert _is_whole(self._store.read_snapshot(self._shared()).data)
        except DocumentNotFound:
            pass  # another thread deletes it

    def read_own(self) -> None:
        try:
            found: bytes | None = self._store.read_snapshot(self._own).data
        except DocumentNotFound:
            found = None
        assert found == self._written

    def write(self) -> None:
        self._store.atomic_write(self._shared(), _sealed(self._chance.randrange(99), self._chance.randrange(50, 5000)))

    def write_own(self) -> None:
        self._written = self._chance.randbytes(self._chance.randrange(5000))
        self._store.atomic_write(self._own, self._written)

    def update(self) -> None:
        self._store.update(f"counters/{self._chance.randrange(8)}", _one_more)
        self.increments += 1

    def lock(self) -> None:
        with self._store.lock(self._own) as held:
            self._written = b"under the lock"
            self._store.atomic_write(self._own, self._written, lock=held)

    def delete(self) -> None:
        try:
            self._store.delete(self._shared())
        except DocumentNotFound:
            pass

    def list(self) -> None:
        listed = set(self._store.list_keys())
        assert (self._own in listed) is (self._written is not None)

    def _shared(self) -> str:
        return f"shared/{self._chance.randrange(4)}.json"


def test_two_thousand_mixed_operations_of_thirty_two_threads_all_succeed_and_count_right(
    smb: Store, record: Callable[[str, object], None]
) -> None:
    mixtures = [Mixture(smb, number) for number in range(32)]
    began = time.monotonic()
    with ThreadPoolExecutor(32) as threads:
        for done in [threads.submit(mixture.run, 63) for mixture in mixtures]:
            done.result()
    record("seconds", time.monotonic() - began)
    counted = sum(int(smb.read_snapshot(key).data) for key in smb.list_keys("counters"))
    assert counted == sum(mixture.increments for mixture in mixtures) > 100


def test_sixty_four_threads_at_once_write_and_read_a_quarter_of_a_mebibyte_each(smb: Store) -> None:
    at_once = threading.Barrier(64)

    def write_and_read(number: int) -> bool:
        data = _sealed(number, 256 << 10)
        at_once.wait(_PATIENCE)
        smb.atomic_write(f"{number}.json", data)
        at_once.wait(_PATIENCE)
        return smb.read_snapshot(f"{number}.json").data == data

    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(write_and_read, range(64)))


def test_sixty_four_threads_at_once_read_a_document_that_none_of_them_has_read_before(
    smb: Store, samba: SambaServer
) -> None:
    data = _sealed(1, 256 << 10)
    (samba.root / "d.json").write_bytes(data)
    at_once = threading.Barrier(64)

    def read(_: int) -> bool:
        at_once.wait(_PATIENCE)
        return smb.read_snapshot("d.json").data == data

    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(read, range(64)))


def test_sixty_threads_that_wait_for_locks_of_others_do_not_hold_up_a_reader(samba: SambaServer, smb: Store) -> None:
    with (
        open_store(samba.root) as local,
        ThreadPoolExecutor(60) as threads,
    ):
        held = [local.lock(f"{number}.json") for number in range(60)]
        all_wait = threading.Barrier(61)

        def wait(number: int) -> None:
            asked = 0

            def waiting() -> bool:
                nonlocal asked
                asked += 1
                if asked == 2:  # the first time is before the request that waits
                    all_wait.wait(_PATIENCE)
                return False

            smb.lock(f"{number}.json", timeout=_PATIENCE, cancelled=waiting).release()

        waiters = [threads.submit(wait, number) for number in range(60)]
        all_wait.wait(_PATIENCE)
        began = time.monotonic()
        smb.atomic_write("other.json", b"{}")
        took = time.monotonic() - began
        for lock in held:
            lock.release()
        for waiter in waiters:
            waiter.result(_PATIENCE)
    assert took < 10  # as long as the waiters wait, if it does behind them


def test_a_hundred_concurrent_updates_of_tasks_are_all_counted(smb: Store) -> None:
    async def update_all() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(100):
                tasks.create_task(smb.aio.update("counter.json", _one_more))

    asyncio.run(update_all())
    assert smb.read_snapshot("counter.json").data == b"100"


# Many readers and one writer


def _read_at_a_pace(url: str, password: str, a_second: int, seconds: float) -> tuple[int, float]:
    """Reads so many times a second; returns how many were torn, and how long it all took."""
    torn = 0
    with open_store(url, password=password) as store:
        began = time.monotonic()
        for number in range(round(a_second * seconds)):
            time.sleep(max(0.0, began + number / a_second - time.monotonic()))
            torn += not _is_whole(store.read_snapshot("d.json").data)
        return torn, time.monotonic() - began


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_two_hundred_reads_a_second_by_four_processes_while_one_writes_are_never_torn(
    samba: SambaServer, smb: Store, seconds: int, record: Callable[[str, object], None]
) -> None:
    smb.atomic_write("d.json", _sealed(0, 4000))

    def slowest_reader() -> float:
        writes: list[float] = []
        with ProcessPoolExecutor(4, mp_context=_SPAWN) as pool:
            readers = [pool.submit(_read_at_a_pace, samba.url(), samba.password, 50, seconds) for _ in range(4)]
            while not all(reader.done() for reader in readers):
                began = time.monotonic()
                smb.atomic_write("d.json", _sealed(len(writes), 100 + 977 * len(writes) % 30_000))
                writes.append(1000 * (time.monotonic() - began))
            torn, took = zip(*[reader.result() for reader in readers], strict=True)
        figures = {
            "writes": len(writes),
            "write_median_ms": round(statistics.median(writes), 2),
            "write_99th_percentile_ms": round(_percentile(writes, 99), 2),
            "slowest_reader_s": round(max(took), 2),
        }
        print(figures)
        for name, value in figures.items():
            record(name, value)
        assert sum(torn) == 0
        return max(took)

    assert is_once_below(seconds + 1, slowest_reader)  # the readers kept their pace


# Large documents


@pytest.mark.parametrize("mebibytes", [20, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb", ["write", "read"])
def test_small_documents_are_not_held_up_by_a_large_one(
    smb: Store, mebibytes: int, verb: str, record: Callable[[str, object], None]
) -> None:
    large = random.Random(1).randbytes(mebibytes << 20)
    smb.atomic_write("large.bin", large)
    smb.atomic_write("small.json", b"{}")

    def move() -> bytes:
        if verb == "write":
            smb.atomic_write("large.bin", large)
        return smb.read_snapshot("large.bin").data

    took: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        moved = threads.submit(move)
        while not moved.done():
            began = time.monotonic()
            smb.atomic_write("small.json", smb.read_snapshot("small.json").data)
            took.append(1000 * (time.monotonic() - began))
        assert moved.result() == large
    record("small_median_ms", statistics.median(took))
    record("small_worst_ms", max(took))
    print(f"{len(took)} small: median {statistics.median(took):.1f} ms, worst {max(took):.1f} ms")
    assert max(took) < 1000


def test_two_threads_that_write_one_large_document_leave_one_of_them_whole(smb: Store) -> None:
    documents = [_sealed(number, 5 << 20) for number in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda data: smb.atomic_write("large.bin", data), documents))
    assert smb.read_snapshot("large.bin").data in documents


# Closing


class End(NamedTuple):
    """What became of a thread that repeated an operation until it failed."""

    error: BaseException
    at: float


def _until_it_ends(work: Callable[[], object], started: threading.Barrier) -> End:
    started.wait(_PATIENCE)
    try:
        while True:
            work()
    except BaseException as error:
        return End(error, time.monotonic())


def _closed_in_the_middle(store: Store, works: list[Callable[[], object]]) -> tuple[list[BaseException], float]:
    """What threads were told whose store was closed in the middle of their work, and how long the last one took."""
    started = threading.Barrier(len(works) + 1)
    with ThreadPoolExecutor(len(works)) as threads:
        ends = [threads.submit(_until_it_ends, work, started) for work in works]
        started.wait(_PATIENCE)
        store.read_snapshot("d.json")  # by now they are all in the middle of something
        store.close()
        closed = time.monotonic()
        found = [end.result() for end in ends]
    return [end.error for end in found], max(end.at for end in found) - closed


@pytest.fixture
def to_be_closed(samba: SambaServer) -> Store:
    store = open_store(samba.url(), password=samba.password)
    store.atomic_write("d.json", b"{}")
    return store


_WORKS = pytest.mark.parametrize(
    "work",
    [
        lambda store: store.read_snapshot("d.json"),
        lambda store: store.atomic_write("d.json", b"{}"),
        lambda store: store.atomic_write("large.bin", bytes(8 << 20)),
        lambda store: store.update("counter.json", _one_more),
        lambda store: store.lock("e.json").release(),
        lambda store: store.list_keys(),
    ],
    ids="read write write-large update lock list".split(),
)


@_WORKS
def test_closing_ends_what_other_threads_are_doing_with_an_error_of_the_store(
    to_be_closed: Store, work: Callable[[Store], object]
) -> None:
    errors, _ = _closed_in_the_middle(to_be_closed, [lambda: work(to_be_closed)] * 4)
    assert [error for error in errors if not isinstance(error, StoreError)] == []


@_WORKS
def test_closing_ends_what_other_threads_are_doing_soon(to_be_closed: Store, work: Callable[[Store], object]) -> None:
    _, took = _closed_in_the_middle(to_be_closed, [lambda: work(to_be_closed)] * 4)
    assert took < 8


def test_no_operation_connects_again_when_its_store_was_closed_meanwhile(
    samba: SambaServer, to_be_closed: Store
) -> None:
    before = set(threading.enumerate())
    _closed_in_the_middle(to_be_closed, [lambda: to_be_closed.read_snapshot("d.json")] * 8)
    assert comes_to(lambda: samba.client_pids() == [] and set(threading.enumerate()) <= before)


def test_closing_in_the_middle_of_operations_is_no_error_in_the_log(
    to_be_closed: Store, caplog: pytest.LogCaptureFixture
) -> None:
    _closed_in_the_middle(to_be_closed, [lambda: to_be_closed.read_snapshot("d.json")] * 8)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_closing_ends_the_wait_for_a_lock(samba: SambaServer) -> None:
    store = open_store(samba.url(), password=samba.password)
    waiting, asked = threading.Event(), iter(range(9999))

    def says_so() -> bool:
        if next(asked) == 1:
            waiting.set()
        return False

    def wait() -> float:
        with pytest.raises(StoreError):
            store.lock("d.json", timeout=600, cancelled=says_so)
        return time.monotonic()

    with open_store(samba.root) as local, local.lock("d.json"), ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(wait)
        assert waiting.wait(_PATIENCE)
        store.close()
        closed = time.monotonic()
        assert waiter.result(_PATIENCE) - closed < 20


def test_a_lock_that_is_held_when_the_store_is_closed_is_free_for_others_at_once(samba: SambaServer) -> None:
    store = open_store(samba.url(), password=samba.password)
    store.lock("d.json")
    store.close()
    with open_store(samba.root) as local:
        local.lock("d.json", timeout=5).release()


def test_closing_is_quick_when_the_server_has_fallen_silent(samba: SambaServer, wire: WireProxy) -> None:
    store = open_store(samba.url(port=wire.port), password=samba.password)
    wire.black_hole()
    began = time.monotonic()
    store.close()
    assert time.monotonic() - began < 8


def test_closing_ends_what_waits_for_a_server_that_has_fallen_silent(samba: SambaServer, wire: WireProxy) -> None:
    store = open_store(samba.url(port=wire.port), password=samba.password, timeout=600)
    wire.black_hole_at(0, "request")
    started = threading.Barrier(2)
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(_until_it_ends, lambda: store.read_snapshot("d.json"), started)
        started.wait(_PATIENCE)
        assert wire.fired.wait(_PATIENCE)
        store.close()
        assert isinstance(ended.result(_PATIENCE).error, StoreError)


def test_no_thread_is_left_when_a_store_is_closed(samba: SambaServer) -> None:
    before = set(threading.enumerate())
    with open_store(samba.url(), password=samba.password) as store:
        store.update("d.json", _one_more)
    assert comes_to(lambda: set(threading.enumerate()) <= before)


def test_no_thread_is_left_when_a_store_is_closed_whose_server_has_fallen_silent(
    samba: SambaServer, wire: WireProxy
) -> None:
    before = set(threading.enumerate())
    store = open_store(samba.url(port=wire.port), password=samba.password)
    wire.black_hole()
    store.close()
    assert comes_to(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("times", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_stores_that_are_opened_and_closed_leave_no_descriptor_behind(samba: SambaServer, times: int) -> None:
    def open_and_close() -> None:
        with open_store(samba.url(), password=samba.password) as store:
            store.atomic_write("d.json", b"{}")

    open_and_close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(times):
        open_and_close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_stores_that_cannot_be_opened_leave_neither_thread_nor_descriptor_behind(samba: SambaServer) -> None:
    def refused(url: str, password: str) -> None:
        with pytest.raises(StoreError):
            open_store(url, password=password, timeout=5)

    refused(samba.url(), "wrong")
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        refused(samba.url(), "wrong")
        refused(samba.url(share="missing"), samba.password)
        refused(samba.url("missing"), samba.password)
    assert comes_to(lambda: set(threading.enumerate()) <= threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


# What a connection remembers


def test_a_thousand_operations_with_locks_won_and_lost_leave_no_request_behind(
    samba: SambaServer, backend: SmbBackend, smb: Store
) -> None:
    connection = backend._links.current(Deadline(_PATIENCE)).connection
    before = len(connection.outstanding_requests)

    def contend(number: int) -> None:
        with open_store(samba.root) as local:
            for round_ in range(5):
                key = f"{number}.json"
                with local.lock(key), pytest.raises(LockTimeout):
                    smb.lock(key, timeout=0.02 * (round_ % 2))
                smb.update(key, _one_more)

    with ThreadPoolExecutor(16) as threads:
        mixed = [threads.submit(Mixture(smb, number).run, 105) for number in range(8)]
        contended = [threads.submit(contend, number) for number in range(8)]
        for done in mixed + contended:
            done.result()
    deadline = time.monotonic() + _PATIENCE  # nobody waits for the answer to the last request of a listing
    while len(connection.outstanding_requests) > before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_locks_won_and_lost_updates_and_deletions_leave_no_file_open_on_the_server(
    samba: SambaServer, smb: Store
) -> None:
    with open_store(samba.root) as local:
        for number in range(30):
            with local.lock("d.json"), pytest.raises(LockTimeout):
                smb.lock("d.json", timeout=0.01 * (number % 2))
            smb.update("d.json", _one_more)
            smb.delete("d.json")
    open_files = {
        os.readlink(link)
        for pid in samba.client_pids()
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if os.path.lexists(link)
    }
    assert {name for name in open_files if name.startswith(f"{samba.root}/")} == set()
