"""One document, reached over SMB, in the exported directory, and by programs that lock it by hand."""

from __future__ import annotations

import fcntl
import hashlib
import multiprocessing
import os
import random
import statistics
import struct
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import pytest
from histories import history_of_processes
from shared_samba import BOTH
from waiting import eventually

from exlab_store import DocumentNotFound, LockTimeout, Store, open_store
from exlab_store.testing.history import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

_SPAWN = multiprocessing.get_context("spawn")
_BYTE_0 = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
_PATIENCE = 10.0  # seconds for what takes milliseconds on a machine that is busy with other tests

_Place = tuple[str, dict[str, Any]]  # what open_store is given, in whichever process


@pytest.fixture(params=BOTH)
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def over_smb(samba: SambaServer) -> _Place:
    return samba.url(), {"password": samba.password}


@pytest.fixture
def on_the_server(samba: SambaServer) -> _Place:
    return str(samba.root), {}


@pytest.fixture
def smb(over_smb: _Place) -> Iterator[Store]:
    with _opened(over_smb) as store:
        yield store


@pytest.fixture
def local(on_the_server: _Place) -> Iterator[Store]:
    with _opened(on_the_server) as store:
        yield store


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(8, mp_context=_SPAWN) as executor:
        yield executor


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Keeps a figure with the test; record_property does so too, and warns where the report is of a newer kind."""
    return lambda name, value: request.node.user_properties.append((name, value))


def _opened(place: _Place) -> Store:
    location, options = place
    return open_store(location, **options)


# Counting together


def _sealed(number: int) -> bytes:
    chance = random.Random(number)
    body = f"{number} ".encode() + chance.randbytes(chance.randrange(9000))
    return hashlib.sha256(body).digest() + body


def _number(data: bytes) -> int:
    assert _is_whole(data)
    return int(data[32:].partition(b" ")[0])


def _is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[32:]).digest() == data[:32]


def _increment(place: _Place, times: int) -> None:
    with _opened(place) as store:
        for _ in range(times):
            store.update("counter.json", lambda data: _sealed(_number(data or _sealed(0)) + 1), timeout=120)


def _increment_by_hand(path: Path, times: int) -> None:
    """A program that has never heard of this package, and knows both locks."""
    lock_file = f"{path}.lock"
    for _ in range(times):
        with filelock.FileLock(lock_file, timeout=120, poll_interval=0.002):
            release = _take_byte_0(lock_file, timeout=120)
            try:
                temporary = path.with_name(f"{path.name}.tmp.by-hand")
                temporary.write_bytes(_sealed(_number(path.read_bytes() if path.exists() else _sealed(0)) + 1))
                temporary.replace(path)
            finally:
                release()


def _take_byte_0(
    lock_file: str, timeout: float = 0, waiting: Callable[[], object] = lambda: None
) -> Callable[[], None]:
    """Takes the open file description lock on byte 0, as any program on the file server can."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
    over = time.monotonic() + timeout
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _BYTE_0)
        except BlockingIOError:
            if time.monotonic() >= over:
                os.close(descriptor)
                raise LockTimeout("byte 0 is locked") from None
            waiting()
            time.sleep(0.001)
        else:
            return lambda: os.close(descriptor)


def _read_until(place: _Place, stop: Path) -> tuple[int, int]:
    reads = torn = 0
    with _opened(place) as store:
        while not stop.exists():
            reads += 1
            torn += not _is_whole(store.read_snapshot("counter.json").data)
            time.sleep(0.005)  # leaves the processors to those who count
    return reads, torn


@pytest.mark.parametrize("times", [100, pytest.param(350, marks=pytest.mark.slow)])
def test_increments_over_smb_on_the_server_and_by_hand_are_all_counted(
    times: int,
    tmp_path: Path,
    samba: SambaServer,
    over_smb: _Place,
    on_the_server: _Place,
    pool: ProcessPoolExecutor,
    record: Callable[[str, object], None],
) -> None:
    path, stop = samba.root / "counter.json", tmp_path / "stop"
    path.write_bytes(_sealed(0))
    began = time.monotonic()
    readers = [pool.submit(_read_until, place, stop) for place in (over_smb, on_the_server)]
    writers = [pool.submit(_increment, over_smb, times) for _ in range(3)]
    writers += [pool.submit(_increment, on_the_server, times) for _ in range(2)]
    writers += [pool.submit(_increment_by_hand, path, times)]
    try:
        for writer in writers:
            writer.result()
    finally:
        stop.touch()
    record("seconds", time.monotonic() - began)
    reads, torn = zip(*[reader.result() for reader in readers], strict=True)
    assert (_number(path.read_bytes()), sum(torn)) == (6 * times, 0)
    assert min(reads) > 100  # otherwise nothing was shown


def _replace_until(place: _Place, stop: Path, at_work: Path) -> None:
    writes = 0
    with _opened(place) as store:
        while not stop.exists():
            store.atomic_write("d.json", b"{}")
            writes += 1
            if writes == 10:
                at_work.touch()


@pytest.mark.parametrize("writer", ["over_smb", "on_the_server"])
def test_a_document_that_is_replaced_without_a_pause_is_never_missing(
    request: pytest.FixtureRequest, tmp_path: Path, smb: Store, pool: ProcessPoolExecutor, writer: str
) -> None:
    smb.atomic_write("d.json", b"{}")
    stop, at_work = tmp_path / "stop", [tmp_path / "first", tmp_path / "second"]
    place = request.getfixturevalue(writer)
    writers = [pool.submit(_replace_until, place, stop, each) for each in at_work]
    missing = 0
    try:
        eventually(lambda: all(each.exists() for each in at_work) or any(each.done() for each in writers))
        over = time.monotonic() + 2
        reads = 0
        while reads < 100 or time.monotonic() < over:
            reads += 1
            try:
                smb.read_snapshot("d.json")
            except DocumentNotFound:
                missing += 1
    finally:
        stop.touch()
    for each in writers:
        each.result()
    assert missing == 0


# Locks


class Lockers:
    """Those who may have the lock of ``d.json``, each in its own way."""

    def __init__(self, smb: Store, local: Store, directory: Path) -> None:
        self._stores = {"smb": smb, "posix": local}
        self._lock_file = str(directory / "d.json.lock")

    def take(self, who: str, timeout: float = 0, waiting: Callable[[], object] = lambda: None) -> Callable[[], None]:
        """Takes the lock and returns what releases it; ``waiting`` is called when somebody else has it."""
        if who == "byte 0":
            return _take_byte_0(self._lock_file, timeout, waiting)
        asked = count(1)

        def says_so() -> bool:
            if next(asked) == 2:  # the first time is before the request that waits
                waiting()
            return False

        return self._stores[who].lock("d.json", timeout=timeout, cancelled=says_so, purpose=f"by {who}").release


@pytest.fixture
def lockers(smb: Store, local: Store, samba: SambaServer) -> Lockers:
    return Lockers(smb, local, samba.root)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


_PAIRS = pytest.mark.parametrize(
    ("holder", "other"), [("smb", "posix"), ("posix", "smb"), ("smb", "byte 0"), ("byte 0", "smb")]
)


@_PAIRS
def test_who_holds_the_lock_excludes_the_other(lockers: Lockers, holder: str, other: str) -> None:
    release = lockers.take(holder)
    try:
        with pytest.raises(LockTimeout):
            lockers.take(other)
    finally:
        release()


@_PAIRS
def test_who_gives_the_lock_back_leaves_it_to_the_other(lockers: Lockers, holder: str, other: str) -> None:
    lockers.take(holder)()
    lockers.take(other, timeout=_PATIENCE)()  # a release over SMB is on its way when it returns


@_PAIRS
def test_who_gave_up_waiting_does_not_keep_the_lock_from_the_holder(lockers: Lockers, holder: str, other: str) -> None:
    release = lockers.take(holder)
    with pytest.raises(LockTimeout):
        lockers.take(other, timeout=0.1)
    release()
    lockers.take(holder, timeout=_PATIENCE)()


@_PAIRS
def test_who_waits_is_granted_the_lock_soon_after_its_release(
    lockers: Lockers,
    threads: ThreadPoolExecutor,
    holder: str,
    other: str,
    record: Callable[[str, object], None],
) -> None:
    def wait() -> float:
        release = lockers.take(other, _PATIENCE, waiting.set)
        granted = time.monotonic()
        release()
        return granted

    release, waiting = lockers.take(holder), threading.Event()
    granted: Future[float] = threads.submit(wait)
    assert waiting.wait(_PATIENCE)
    released = time.monotonic()
    release()
    took = granted.result(_PATIENCE) - released
    record("seconds", took)
    assert took < 5  # seconds: the poll is 20 ms at most, and the machine may be busy


@pytest.mark.parametrize(("holder", "other"), [("smb", "posix"), ("posix", "smb")])
def test_a_timeout_names_the_holder_on_the_other_side(lockers: Lockers, holder: str, other: str) -> None:
    release = lockers.take(holder)
    with pytest.raises(LockTimeout) as caught:
        lockers.take(other)
    release()
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == f"by {holder}"


@pytest.mark.parametrize(("holder", "other"), [("smb", "posix"), ("posix", "smb")])
def test_a_holder_that_had_to_wait_is_named_too(
    lockers: Lockers, threads: ThreadPoolExecutor, holder: str, other: str
) -> None:
    release, waiting = lockers.take(other), threading.Event()
    granted = threads.submit(lockers.take, holder, _PATIENCE, waiting.set)
    assert waiting.wait(_PATIENCE)
    release()
    release = granted.result(_PATIENCE)
    with pytest.raises(LockTimeout) as caught:
        lockers.take(other)
    release()
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == f"by {holder}"


def test_a_holder_that_left_no_record_is_not_mistaken_for_the_smb_client_before_it(lockers: Lockers) -> None:
    lockers.take("smb")()
    release = lockers.take("byte 0", timeout=_PATIENCE)
    with pytest.raises(LockTimeout) as caught:
        lockers.take("smb")
    release()
    assert caught.value.holder is None


def test_a_document_is_read_over_smb_and_on_the_server_while_its_lock_is_held(smb: Store, local: Store) -> None:
    local.atomic_write("d.json", b"there")
    with smb.lock("d.json"):
        assert (smb.read_snapshot("d.json").data, local.read_snapshot("d.json").data) == (b"there", b"there")


def test_a_version_read_on_the_server_serves_for_a_conditional_write_over_smb(smb: Store, local: Store) -> None:
    local.atomic_write("d.json", b"1")
    smb.atomic_write("d.json", b"2", expect=local.read_snapshot("d.json").version)
    assert local.read_snapshot("d.json").data == b"2"


def test_neither_side_lists_the_lock_files_of_the_other(smb: Store, local: Store) -> None:
    smb.update("a/smb.json", lambda _: b"{}")
    local.update("a/local.json", lambda _: b"{}")
    listed = [sorted(store.list_keys()) for store in (smb, local)]
    assert listed == [["a/local.json", "a/smb.json"]] * 2


# From one SMB client to the next


def _serve(line: Any, place: _Place) -> None:
    """A client that takes and releases the lock when it is told to, and says when it waited, got it and let go."""
    with _opened(place) as store:
        line.send("ready")
        held = None
        while (order := line.recv()) != "end":
            if order == "take":
                asked = count(1)

                def says_so(asked: Iterator[int] = asked) -> bool:
                    if next(asked) == 2:
                        line.send("waiting")
                    return False

                held = store.lock("d.json", timeout=_PATIENCE, cancelled=says_so)
                line.send(time.monotonic())
            else:
                assert held is not None
                line.send(time.monotonic())
                held.release()


class SmbClient:
    """A process with a store of its own."""

    def __init__(self, place: _Place) -> None:
        self._line, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, place), daemon=True)
        self._process.start()

    def tell(self, order: str) -> None:
        self._line.send(order)

    def hear(self) -> Any:
        assert self._line.poll(_PATIENCE)
        return self._line.recv()

    def end(self) -> None:
        if self._process.is_alive():
            self.tell("end")
        self._process.join(_PATIENCE)
        self._line.close()


@pytest.fixture
def two_clients(over_smb: _Place) -> Iterator[tuple[SmbClient, SmbClient]]:
    clients = SmbClient(over_smb), SmbClient(over_smb)
    for client in clients:
        assert client.hear() == "ready"
    yield clients
    for client in clients:
        client.end()


def test_a_lock_goes_from_one_smb_client_to_the_next_in_under_twenty_milliseconds_in_the_median(
    two_clients: tuple[SmbClient, SmbClient], record: Callable[[str, object], None]
) -> None:
    holder, waiter = two_clients
    holder.tell("take")
    holder.hear()
    took: list[float] = []
    for _ in range(40):
        waiter.tell("take")
        assert waiter.hear() == "waiting"
        holder.tell("release")
        released, granted = holder.hear(), waiter.hear()
        took.append(1000 * (granted - released))
        holder, waiter = waiter, holder
    holder.tell("release")
    holder.hear()
    record("median_ms", statistics.median(took))
    record("worst_ms", max(took))
    print(f"hand-over: median {statistics.median(took):.2f} ms, worst {max(took):.2f} ms")
    assert statistics.median(took) < 20


# One order for all


def test_two_thousand_operations_of_smb_and_local_processes_have_an_order(
    over_smb: _Place, on_the_server: _Place
) -> None:
    operations = history_of_processes([over_smb, on_the_server] * 3, 2004)
    assert len(operations) == 2004
    assert check(operations) is None


def test_writes_of_smb_and_local_processes_that_ask_for_no_lock_have_an_order(
    over_smb: _Place, on_the_server: _Place
) -> None:
    assert check(history_of_processes([over_smb, on_the_server] * 2, 600, ["read", "write"])) is None
