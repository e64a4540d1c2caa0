"""Locks on an SMB server: free as soon as their holder is gone, no fence is passed, no ghost stays behind."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import socket
import statistics
import struct
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from standing_still import standing_still
from waiting import eventually, is_once_below

from exlab_store import BackendUnavailable, HeldLock, LockLost, LockTimeout, Store, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

KEY = "a.json"
FOREVER = 30.0  # seconds: far more than anything here may take
OLD, NEW = b"old", b"new"

_SPAWN = multiprocessing.get_context("spawn")


def opened(samba: SambaServer, port: int | None = None, timeout: float = 2.0) -> Store:
    return open_store(samba.url(user=False, port=port), **samba.options, timeout=timeout)


@contextmanager
def client(samba: SambaServer) -> Iterator[Store]:
    """A client at an address of its own: stores of one process with one address queue there, not at the server."""
    from wire_proxy import WireProxy

    with WireProxy("127.0.0.1", samba.port) as own, opened(samba, own.port) as store:
        yield store


@pytest.fixture
def one(samba: SambaServer) -> Iterator[Store]:
    """A client."""
    with client(samba) as store:
        yield store


@pytest.fixture
def other(samba: SambaServer) -> Iterator[Store]:
    """Another client."""
    with client(samba) as store:
        yield store


@pytest.fixture
def third(samba: SambaServer) -> Iterator[Store]:
    """One more."""
    with client(samba) as store:
        yield store


@pytest.fixture
def far(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    """A client whose network can fail."""
    with opened(samba, wire.port) as store:
        yield store


# A client that is a process of its own, does as it is told, and answers


def _obey(orders: Connection, url: str, options: dict[str, Any]) -> None:
    with open_store(url, **options) as store:
        orders.send("ready")
        held: Any = None
        while True:
            order, *words = orders.recv()
            try:
                if order == "lock":
                    held = store.lock(KEY, timeout=FOREVER)
                elif order == "write":
                    store.atomic_write(KEY, words[0], lock=held)
                elif order == "update":
                    store.update(KEY, lambda _, data=words[0]: data, lock=held)
                elif order == "delete":
                    store.delete(KEY, lock=held)
                elif order == "update, held up":

                    def change(current: bytes | None) -> bytes:
                        orders.send("changing")
                        orders.recv()
                        return (current or b"") + b", held up"

                    store.update(KEY, change)
            except Exception as error:
                orders.send(type(error).__name__)
            else:
                orders.send("done")


class Worker:
    """Such a process."""

    def __init__(self, samba: SambaServer, port: int | None = None) -> None:
        self._orders, theirs = _SPAWN.Pipe()
        options = {**samba.options, "timeout": 2.0}
        self.process: SpawnProcess = _SPAWN.Process(
            target=_obey, args=(theirs, samba.url(user=False, port=port), options), daemon=True
        )
        self._held_up = ExitStack()
        self.process.start()
        assert self.answer() == "ready"

    def tell(self, *order: Any) -> None:
        self._orders.send(order)

    def answer(self) -> str:
        assert self._orders.poll(FOREVER)
        return str(self._orders.recv())

    def ask(self, *order: Any) -> str:
        self.tell(*order)
        return self.answer()

    def hold_up(self) -> None:
        assert self.process.pid is not None
        self._held_up.enter_context(standing_still(self.process.pid))

    def go_on(self) -> None:
        self._held_up.close()

    def kill(self) -> None:
        self.process.kill()  # a process that is held up too
        self._held_up.close()
        self.process.join()
        self._orders.close()


@contextmanager
def worker(samba: SambaServer, port: int | None = None) -> Iterator[Worker]:
    found = Worker(samba, port)
    try:
        yield found
    finally:
        found.kill()


@contextmanager
def waiting(samba: SambaServer, store: Store, **how: Any) -> Iterator[Callable[[], float]]:
    """Has a thread wait for the lock; what is yielded waits for it and returns when it came, or raises.

    The server has the thread's request, for the lock file is open once more.
    """
    before = len(samba.holder_pids(samba.root / f"{KEY}.lock"))

    def wait() -> float:
        with store.lock(KEY, **how):
            return time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wait)
        eventually(lambda: len(samba.holder_pids(samba.root / f"{KEY}.lock")) > before)
        yield future.result


def lock_at_once(store: Store) -> None:
    """Takes the lock and releases it: one try, no waiting."""
    store.lock(KEY, timeout=0).release()


def lock_soon(store: Store) -> None:
    """As `lock_at_once`, where a release or the end of a connection may still be on its way to the server."""
    store.lock(KEY, timeout=5).release()


# Holders that are gone


def test_the_lock_of_a_killed_client_is_free_for_who_waits_in_under_a_second(samba: SambaServer, other: Store) -> None:
    def measure() -> float:
        seconds: list[float] = []
        for _ in range(5):
            with worker(samba) as holder:
                assert holder.ask("lock") == "done"
                with waiting(samba, other, timeout=FOREVER) as result:
                    began = time.monotonic()
                    holder.kill()
                    seconds.append(result() - began)
        return statistics.median(seconds)

    assert is_once_below(1.0, measure)


def test_a_client_that_was_silently_cut_off_gets_its_own_lock_again_at_once(
    samba: SambaServer, wire: WireProxy, far: Store
) -> None:
    lost = far.lock(KEY, timeout=FOREVER)
    wire.black_hole()
    wire.heal()
    far.list_keys()  # finds out, and comes back
    lost.release()
    assert samba.client_pids()
    began = time.monotonic()
    with far.lock(KEY, timeout=FOREVER):
        assert time.monotonic() - began < 5.0  # the server's own patience is longer


def test_what_a_client_had_locked_is_free_for_others_when_it_comes_back_from_silence(
    wire: WireProxy, far: Store, other: Store
) -> None:
    lost = far.lock(KEY, timeout=FOREVER)
    wire.black_hole()
    wire.heal()
    with pytest.raises(LockTimeout):
        lock_at_once(other)
    far.list_keys()
    lock_at_once(other)
    with pytest.raises(LockLost):
        lost.ensure_held()


def test_a_release_that_the_network_swallows_frees_the_lock_without_another_call(
    wire: WireProxy, far: Store, other: Store
) -> None:
    held = far.lock(KEY, timeout=FOREVER)
    wire.black_hole()
    wire.heal()
    held.release()
    lock_soon(other)


# AF_INET sockets drop what comes in when this filter says that 0 bytes of it are to be kept; not even ACKs go out.
_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


def _make_deaf(samba: SambaServer) -> None:
    """The kernel answers nothing any more on this process's connections to the server: its network has vanished."""
    code = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with found:
            try:
                to_server = found.family == socket.AF_INET and found.getpeername()[1] == samba.port
            except OSError:
                continue
            if to_server:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)  # nor does it ask, with what it hears not
                found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


@pytest.mark.slow
def test_the_servers_keepalive_hands_over_the_lock_of_a_client_whose_network_has_vanished(samba: SambaServer) -> None:
    with opened(samba) as gone:
        lost = gone.lock(KEY, timeout=FOREVER)
        _make_deaf(samba)
        with client(samba) as other:
            began = time.monotonic()
            with other.lock(KEY, timeout=60):
                assert 3 < time.monotonic() - began < 20  # 5 + 3 x 2 s by the server's socket options
        with pytest.raises((LockLost, WriteOutcomeUnknown)):
            gone.atomic_write(KEY, NEW, lock=lost)


# Writers that are held up past the loss of their lock


ORDERS = [("write", OLD), ("update", OLD), ("delete",)]


@pytest.fixture(params=["the server ends the connection", "the network cuts the connection"])
def lose(request: pytest.FixtureRequest, samba: SambaServer, wire: WireProxy) -> Callable[[], None]:
    """Ends the connection that holds the lock."""

    def by_server() -> None:
        (pid,) = samba.holder_pids(samba.root / f"{KEY}.lock", locked=True)
        samba.kill_client(pid)

    return by_server if "server" in request.param else wire.cut


@pytest.mark.parametrize(
    "written_before", [pytest.param(False, marks=pytest.mark.slow), True], ids=["its first write", "its second write"]
)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
def test_a_writer_that_was_held_up_past_the_loss_of_its_lock_is_refused(
    samba: SambaServer, wire: WireProxy, lose: Callable[[], None], order: tuple[Any, ...], written_before: bool
) -> None:
    with worker(samba, wire.port) as held_up:
        assert held_up.ask("lock") == "done"
        if written_before:
            assert held_up.ask("write", b"first") == "done"
        held_up.hold_up()
        lose()
        with opened(samba) as successor:
            with successor.lock(KEY, timeout=FOREVER) as held:
                successor.atomic_write(KEY, NEW, lock=held)
            held_up.tell(*order)  # it finds out that it may write, and that its connection has ended, at once
            held_up.go_on()
            assert held_up.answer() == "LockLost"
            assert successor.read_snapshot(KEY).data == NEW


def test_an_update_that_is_held_up_between_reading_and_writing_is_made_again_of_what_is_there_now(
    samba: SambaServer, wire: WireProxy, lose: Callable[[], None]
) -> None:
    with worker(samba, wire.port) as held_up, opened(samba) as successor:
        successor.atomic_write(KEY, OLD)
        assert held_up.ask("update, held up") == "changing"
        held_up.hold_up()
        lose()
        successor.update(KEY, lambda current: (current or b"") + b" and more")
        held_up.tell("go on")
        held_up.go_on()
        assert held_up.answer() == "changing"
        held_up.tell("go on")
        assert held_up.answer() == "done"
        assert successor.read_snapshot(KEY).data == OLD + b" and more, held up"


def test_a_writer_whose_lock_its_own_store_has_lost_and_taken_again_is_refused(wire: WireProxy, far: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(far.lock, KEY, timeout=FOREVER).result()
        wire.cut()
        far.atomic_write("another.json", NEW)
        lost.release()
        with far.lock(KEY, timeout=FOREVER) as held:
            far.atomic_write(KEY, NEW, lock=held)
            with pytest.raises(LockLost):
                pool.submit(far.atomic_write, KEY, OLD, lock=lost).result()
    assert far.read_snapshot(KEY).data == NEW


# Waits that come to nothing


def test_a_wait_that_has_timed_out_leaves_no_lock_behind(one: Store, other: Store, third: Store) -> None:
    held = one.lock(KEY, timeout=FOREVER)
    with pytest.raises(LockTimeout):
        other.lock(KEY, timeout=0.1)
    held.release()
    lock_soon(third)


def test_a_wait_that_was_cancelled_leaves_no_lock_behind(
    samba: SambaServer, one: Store, other: Store, third: Store
) -> None:
    stop = threading.Event()
    held = one.lock(KEY, timeout=FOREVER)
    with waiting(samba, other, timeout=FOREVER, cancelled=stop.is_set) as result:
        stop.set()
        with pytest.raises(LockTimeout):
            result()
    held.release()
    lock_soon(third)


def test_a_client_that_is_killed_while_it_waits_leaves_no_lock_behind(
    samba: SambaServer, one: Store, other: Store
) -> None:
    path = samba.root / f"{KEY}.lock"

    def measure() -> float:
        seconds: list[float] = []
        for _ in range(3):
            held = one.lock(KEY, timeout=FOREVER)
            with worker(samba) as waiter:
                waiter.tell("lock")
                eventually(lambda: len(samba.holder_pids(path)) == 2)
                waiter.kill()
            began = time.monotonic()
            held.release()
            other.lock(KEY, timeout=FOREVER).release()
            seconds.append(time.monotonic() - began)
        return statistics.median(seconds)

    assert is_once_below(1.0, measure)


def test_a_client_that_is_cut_off_while_it_waits_leaves_no_lock_behind(
    samba: SambaServer, wire: WireProxy, far: Store, one: Store, other: Store
) -> None:
    held = one.lock(KEY, timeout=FOREVER)
    with waiting(samba, far, timeout=1.0) as result:
        wire.refuse()
        wire.cut()
        began = time.monotonic()
        held.release()
        other.lock(KEY, timeout=FOREVER).release()
        assert time.monotonic() - began < 5.0  # the server's own patience is longer
        with pytest.raises((BackendUnavailable, LockTimeout)):
            result()


def test_a_client_that_falls_silent_while_it_waits_leaves_no_lock_behind_when_it_has_given_up(
    samba: SambaServer, wire: WireProxy, far: Store, one: Store, other: Store
) -> None:
    held = one.lock(KEY, timeout=FOREVER)
    with waiting(samba, far, timeout=0.5) as result:
        wire.black_hole()
        wire.heal()
        held.release()  # the server gives the lock to the one that does not hear of it
        try:
            result()
        except (BackendUnavailable, LockTimeout):
            pass
    lock_soon(other)


def release_at(pool: ThreadPoolExecutor, held: HeldLock, moment: float) -> Future[None]:
    """Releases a lock at a precise moment, in another thread."""

    def wait_and_release() -> None:
        while time.perf_counter() < moment:
            pass
        held.release()

    return pool.submit(wait_and_release)


def test_a_wait_that_is_cancelled_at_the_very_moment_of_the_grant_has_the_lock_or_leaves_it(
    one: Store, other: Store, third: Store
) -> None:
    chance = random.Random(1)

    def race(pool: ThreadPoolExecutor) -> None:
        held = one.lock(KEY, timeout=FOREVER, holder="one")
        releasing: list[Future[None]] = []
        looks = 0

        def cancelled() -> bool:
            nonlocal looks
            looks += 1
            if looks < 3:  # by then, the wait is at the server
                return False
            if not releasing:
                now = time.perf_counter()
                releasing.append(release_at(pool, held, now + chance.uniform(0, 0.002)))
                while time.perf_counter() < now + 0.001:
                    pass
            return True

        try:
            other.lock(KEY, timeout=FOREVER, cancelled=cancelled).release()
        except LockTimeout:
            pass
        releasing[0].result()
        lock_soon(third)

    with ThreadPoolExecutor(1) as pool:
        for _ in range(60):
            race(pool)


def test_a_wait_that_times_out_at_the_very_moment_of_the_grant_has_the_lock_or_leaves_it(
    one: Store, other: Store, third: Store
) -> None:
    chance = random.Random(2)

    def race(pool: ThreadPoolExecutor) -> None:
        held = one.lock(KEY, timeout=FOREVER, holder="one")
        timeout = chance.uniform(0.01, 0.02)
        releasing = release_at(pool, held, time.perf_counter() + timeout + chance.uniform(-0.003, 0.005))
        try:
            other.lock(KEY, timeout=timeout).release()
        except LockTimeout:
            pass
        releasing.result()
        lock_soon(third)

    with ThreadPoolExecutor(1) as pool:
        for _ in range(100):
            race(pool)
