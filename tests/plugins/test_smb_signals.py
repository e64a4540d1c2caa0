"""Exceptions out of signal handlers on an SMB share: the same comes out, and nothing stays behind on the server.

Struck are moments at which CPython runs handlers: after calls of C functions, and where functions begin, also those of
the standard library and of smbprotocol. It runs them at the end of each round of a loop too, which a profile function
does not see; the random strikes do.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from exlab_store_smb.session import claims, sharing
from exlab_store_smb.wire import blocking as blocking_calls
from exlab_store_smb.wire.blocking import blocking
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.transport import DeadlineTcp
from foreign_handles import program
from waiting import comes_to, eventually

from exlab_store import DocumentNotFound, Store, StoreError, open_store
from exlab_store.backend import Latch
from exlab_store.locks import turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from exlab_store_smb.session.link import Link
    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

KEY, LARGE_KEY = "folder/a.json", "folder/large.json"
FOLDER = "left"
PATIENCE = 15.0  # seconds for what takes milliseconds: a lock that is left on the server, or in here, outlasts it
_FEW = 10  # strikes of one operation in the short form
_COUNTING = -1  # a moment that does not come


class TimeUp(TimeoutError):
    """What job queues raise, and an `OSError` as those of a connection are."""


class Interrupted(BaseException):
    """As KeyboardInterrupt is, which would end the test run if a fault let it out."""


class Site(NamedTuple):
    """A server, a client that is struck, and another one."""

    samba: SambaServer
    store: Store
    other: Store

    @property
    def link(self) -> Link:
        """The connection of the client that is struck."""
        port = self.samba.port
        return next(
            shared._link
            for shared in list(sharing._shared.values())
            if shared._link is not None and shared._link.connection.port == port
        )


@pytest.fixture
def site(samba: SambaServer) -> Iterator[Site]:
    from wire_proxy import WireProxy

    options = {**samba.options, "timeout": 4 * PATIENCE}
    with (
        WireProxy("127.0.0.1", samba.port) as own,  # an address of its own: they would share a connection otherwise
        open_store(samba.url(user=False), **options) as store,
        open_store(samba.url(user=False, port=own.port), **options) as other,
    ):
        other.atomic_write(KEY, b"old")
        yield Site(samba, store, other)


def update(store: Store) -> None:
    store.update(KEY, lambda _: b"new", timeout=PATIENCE)


def write(store: Store) -> None:
    store.atomic_write(KEY, b"new")


def write_expected(store: Store) -> None:
    store.atomic_write(KEY, b"new", expect=store.read_snapshot(KEY).version)


def write_under_lock(store: Store) -> None:
    with store.lock(KEY, timeout=PATIENCE) as lock:
        store.atomic_write(KEY, b"new", lock=lock)


def lock(store: Store) -> None:
    with store.lock(KEY, timeout=PATIENCE):
        pass


def read(store: Store) -> None:
    store.read_snapshot(KEY)


def delete(store: Store) -> None:
    store.delete(KEY)


def list_keys(store: Store) -> None:
    store.list_keys("folder")


def list_folder(store: Store) -> None:
    list(store.list_folder("folder"))


def list_matching(store: Store) -> None:
    store.list_matching("folder", "*.json")


def delete_folder(store: Store) -> None:
    store.delete_folder(FOLDER)


def write_large(store: Store) -> None:
    store.atomic_write(LARGE_KEY, bytes(3 << 20))


def read_large(store: Store) -> None:
    store.read_snapshot(LARGE_KEY)


def connect(store: Store) -> None:
    for shared in tuple(sharing._shared.values()):
        if shared._link is not None:
            shared._link.end()
    store.read_snapshot(KEY)


OPERATIONS = [update, write, write_expected, write_under_lock, lock, read, delete, list_keys, connect]


@contextmanager
def striking(
    kind: type[BaseException], *, moment: int = 0, place: str = "", modules: tuple[str, ...] = ()
) -> Iterator[list[str]]:
    """Has a handler raise at one moment, or the first time that a function begins.

    Args:
        kind: What is raised.
        moment: Which one, counted from 1.
        place: The qualified name of a function, instead.
        modules: Only moments in functions of these.

    Yields:
        Where that was; empty if there are fewer moments. For `_COUNTING`, in the end, how many there are.
    """
    where: list[str] = []
    passed = 0

    def handler(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise kind("my time is over")

    before = signal.signal(signal.SIGALRM, handler)

    def watch(frame: FrameType, event: str, argument: object) -> None:
        nonlocal passed
        module = frame.f_globals.get("__name__", "")
        if event not in {"call", "c_return"} or module == __name__ or (modules and not module.startswith(modules)):
            return
        caller: FrameType | None = frame.f_back
        if module == "contextlib" and caller is not None and caller.f_globals.get("__name__") == __name__:
            return  # of this very function
        caller = frame
        while caller is not None:
            if caller.f_code.co_name in {"__del__", "_remove"}:
                return  # what is raised in a finaliser goes nowhere
            caller = caller.f_back
        passed += 1
        if (event == "call" and frame.f_code.co_qualname == place) if place else passed == moment:
            sys.setprofile(None)
            where.append(f"{frame.f_code.co_qualname}:{frame.f_lineno} {event} {getattr(argument, '__qualname__', '')}")
            handler(signal.SIGALRM, frame)

    sys.setprofile(watch)
    try:
        yield where
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGALRM, before)
        if moment == _COUNTING:
            where.append(str(passed))


def moments_of(operation: Callable[[Store], None], store: Store, modules: tuple[str, ...] = ()) -> int:
    """How many moments an operation has."""
    with striking(Interrupted, moment=_COUNTING, modules=modules) as passed:
        operation(store)
    return int(passed[0])


def struck(operation: Callable[[Store], None], store: Store) -> BaseException | None:
    """Carries out an operation; what it raised, with its traceback, which keeps what its frames refer to."""
    try:
        operation(store)
    except BaseException as error:
        return error
    return None


def without_lock(raised: BaseException | None, operation: Callable[[Store], None]) -> BaseException | None:
    """The same, without the traceback that keeps a lock.

    A lock that was struck where its with statement begins or ends is released when nothing refers to it any more.
    """
    return raised.with_traceback(None) if raised is not None and operation in {lock, write_under_lock} else raised


def found_wrong(site: Site, *, may_be_missing: bool = False, thorough: bool = True) -> list[str]:
    """Sentences on what a strike has left behind."""
    wrong = []
    if turns._turns:
        wrong.append("a turn was left")
        turns._turns.clear()
    for name, store in (("another client", site.other), ("the struck one", site.store)):
        try:
            store.lock(KEY, timeout=PATIENCE).release()
        except Exception as error:
            wrong.append(f"{name} cannot take the lock: {error!r}")
    try:
        data = site.store.read_snapshot(KEY).data
    except DocumentNotFound:
        data = None
    if data not in {b"old", b"new"} and not (data is None and may_be_missing):
        wrong.append(f"the document is {data!r}")
    if not thorough:
        return wrong
    if left := [found.name for found in site.store.list_leftovers() if found.kind == "temporary"]:
        wrong.append(f"temporary files: {left}")
    if not comes_to(lambda: not open_files(site.samba), PATIENCE):
        wrong.append(f"the server has open: {open_files(site.samba)}")
    if not comes_to(lambda: len(site.samba.established()) <= 2, PATIENCE):
        wrong.append("a connection was left")
    return wrong


def open_files(samba: SambaServer) -> list[str]:
    """What the server's processes have open below the share."""
    found = []
    for pid in samba.client_pids():
        try:
            numbers = os.listdir(f"/proc/{pid}/fd")
        except FileNotFoundError:
            continue
        for number in numbers:
            try:
                path = os.readlink(f"/proc/{pid}/fd/{number}")
            except FileNotFoundError:
                continue
            if path.startswith(f"{samba.root}/"):
                found.append(path)
    return found


def outcomes_of_strikes(
    site: Site,
    operation: Callable[[Store], None],
    kind: type[BaseException],
    most: int,
    modules: tuple[str, ...] = (),
) -> list[str]:
    """Strikes an operation at so many of its moments; sentences on what went wrong."""
    operation(site.store)  # so that what happens once is not counted
    site.store.atomic_write(KEY, b"old")
    count = moments_of(operation, site.store, modules)
    wrong: list[str] = []
    for moment in range(1, count + 1, max(1, count // most)):
        site.store.atomic_write(KEY, b"old")
        began = time.monotonic()
        with striking(kind, moment=moment, modules=modules) as where:
            raised = struck(operation, site.store)
        if not modules:
            raised = without_lock(raised, operation)
        if not where:
            continue  # one wait less than before
        if time.monotonic() - began > PATIENCE:
            wrong.append(f"{where[0]}: it took {time.monotonic() - began:.0f} s")
        if type(raised) is not kind:
            wrong.append(f"{where[0]}: {raised!r}")
        wrong += [f"{where[0]}: {what}" for what in found_wrong(site, may_be_missing=operation is delete)]
        del raised
    return wrong


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [TimeUp, Interrupted])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_strike_at_each_moment_comes_out_and_leaves_nothing(
    site: Site, operation: Callable[[Store], None], kind: type[BaseException]
) -> None:
    assert outcomes_of_strikes(site, operation, kind, 100_000) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("operation", [update, connect])
def test_a_strike_at_some_moments_comes_out_and_leaves_nothing(site: Site, operation: Callable[[Store], None]) -> None:
    assert outcomes_of_strikes(site, operation, Interrupted, _FEW) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("operation", [write_under_lock, read])
def test_a_strike_in_the_standard_library_s_synchronisation_leaves_nothing_locked(
    site: Site, operation: Callable[[Store], None]
) -> None:
    """There, a lock may be held by a frame, which an exception keeps; and a generator holds what it holds until it is
    collected."""
    assert outcomes_of_strikes(site, operation, Interrupted, 25, ("contextlib", "threading", "queue")) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("operation", "strikes"),
    [
        *((operation, 15) for operation in (update, read, connect)),
        *(pytest.param(operation, 2300, marks=pytest.mark.slow) for operation in OPERATIONS),  # 20,700 in all
    ],
)
def test_a_strike_at_a_random_moment_comes_out_and_leaves_nothing(
    site: Site, operation: Callable[[Store], None], strikes: int
) -> None:
    armed = False

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal armed
        del number, frame
        if armed:
            armed = False
            raise TimeUp("my time is over")

    chance = random.Random(7)
    operation(site.store)
    began = time.monotonic()
    operation(site.store) if operation is not delete else write(site.store)
    longest = 1.2 * (time.monotonic() - began)
    wrong: list[str] = []
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(strikes):
            site.store.atomic_write(KEY, b"old")
            raised: BaseException | None = None
            armed = True
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.000001, longest))
                raised = without_lock(struck(operation, site.store), operation)
            except TimeUp:
                pass  # before or after the operation
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            if raised is not None and type(raised) is not TimeUp:
                wrong.append(f"strike {number}: {raised!r}")
            thorough = number % 25 == 24
            found = found_wrong(site, may_be_missing=operation is delete, thorough=thorough)
            wrong += [f"strike {number}: {what}" for what in found]
            del raised
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not wrong, "\n".join(wrong)


# Places at which each of the precautions is needed


@pytest.mark.parametrize("kind", [Interrupted, pytest.param(TimeUp, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("operation", "place"),
    [
        (update, "Snapshot.__init__"),  # the lock is held, and what was read with it is made a result
        (write_under_lock, "Changes.make"),  # the lock is held
        (list_keys, "OpenFolder.entries"),  # the server has opened the folder
        (list_folder, "OpenFolder.entries"),
        (list_matching, "OpenFolder.entries"),
        (delete_folder, "OpenFolder.entries"),
        (delete_folder, "remove"),  # the lock file is open for nobody else
        (read_large, "Reader._read_all"),  # the server has opened the document
        (read_large, "file_id_of"),
        (connect, "Latch.wait"),  # another thread connects
    ],
)
def test_a_strike_at_a_place_comes_out_and_leaves_nothing(
    site: Site, operation: Callable[[Store], None], place: str, kind: type[BaseException]
) -> None:
    if operation is read_large:
        (site.samba.root / LARGE_KEY).write_bytes(bytes(9 << 20))
    site.store.lock(f"{FOLDER}/a.json").release()
    operation(site.store)
    site.store.atomic_write(KEY, b"old")
    site.store.lock(f"{FOLDER}/a.json").release()
    with striking(kind, place=place) as where:
        raised = struck(operation, site.store)
    assert where
    assert type(raised) is kind
    assert found_wrong(site) == []


@pytest.mark.parametrize("kind", [Interrupted, pytest.param(TimeUp, marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", ["Pending.__init__", "DeadlineTcp.send"])
def test_a_number_of_a_message_that_is_not_sent_is_not_missing_from_the_connection(
    site: Site, place: str, kind: type[BaseException]
) -> None:
    read(site.store)
    with striking(kind, place=place) as where:
        raised = struck(read, site.store)
    assert where
    assert type(raised) is kind
    read(site.store)
    window = site.link.connection.sequence_window
    granted = window["high"] - window["low"]
    assert granted == site.link.connection.sender.most_credits


def test_a_message_that_is_interrupted_half_way_is_not_followed_by_another() -> None:
    interrupted, ending = threading.Event(), threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Interrupted

    with socket.create_server(("127.0.0.1", 0)) as listening:
        tcp = DeadlineTcp("127.0.0.1", listening.getsockname()[1], PATIENCE)
        tcp.connect()
        peer, _ = listening.accept()
        main = threading.main_thread().native_id

        def interrupt() -> None:
            while not ending.is_set():  # it sends until nothing more fits, and waits for the peer
                if in_poll(main) and peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    interrupted.set()
                    os.kill(os.getpid(), signal.SIGALRM)
                    return
                time.sleep(0.001)

        before = signal.signal(signal.SIGALRM, handler)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(Interrupted):
                tcp.send(bytes(64 << 20))
        finally:
            ending.set()
            thread.join()
            signal.signal(signal.SIGALRM, before)
        assert interrupted.is_set()
        received: list[int] = []

        def read_all() -> None:
            with suppress(ConnectionResetError):
                while part := peer.recv(1 << 20):
                    received.append(len(part))

        reading = threading.Thread(target=read_all)
        reading.start()
        try:
            with pytest.raises(ConnectionError):
                tcp.send(b"the next message")
        finally:
            tcp.close()
            reading.join()
            peer.close()
        assert 0 < sum(received) < 64 << 20


def in_poll(thread: int | None) -> bool:
    """Whether a thread of this process waits for a socket."""
    with open(f"/proc/self/task/{thread}/wchan") as file:
        return "poll" in file.read()


def test_a_strike_leaves_no_slot_of_the_calls_that_may_block(site: Site) -> None:
    del site  # signals are handled in the same way
    free = blocking_calls._slots.qsize()

    def call(_: Any) -> None:
        blocking(lambda: None, Deadline(PATIENCE))

    where = [""]
    moment = 0
    while where:
        moment += 1
        with striking(Interrupted, moment=moment) as where:
            struck(call, None)  # type: ignore[arg-type]
    assert moment > 5
    eventually(lambda: blocking_calls._slots.qsize() == free)


def test_a_strike_in_a_wait_for_an_answer_does_not_hold_up_the_thread_that_brings_it() -> None:
    where = [""]
    moment = 0
    while where:
        moment += 1
        latch = Latch()
        with striking(Interrupted, moment=moment) as where:
            struck(lambda _, latch=latch: latch.wait(0), None)  # type: ignore[misc, arg-type]
        opening = threading.Thread(target=latch.open, daemon=True)
        opening.start()
        opening.join(PATIENCE)
        assert not opening.is_alive(), where
        assert latch.wait(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_strike_while_credentials_are_looked_for_is_not_taken_for_a_want_of_them(site: Site) -> None:
    assert outcomes_of_strikes(site, connect, TimeUp, _FEW, ("spnego",)) == []


def test_files_that_a_strike_has_left_are_removed_after_a_second_one(site: Site) -> None:
    write(site.store)
    with striking(Interrupted, place="Replacer._write_all") as where:  # the file has been made
        assert type(struck(write_large, site.store)) is Interrupted
    assert where
    with striking(Interrupted, place="discard") as where:
        assert type(struck(read, site.store)) is Interrupted
    assert where
    assert found_wrong(site) == []


def test_a_file_that_a_strike_has_left_and_that_somebody_looks_at_is_removed_afterwards(site: Site) -> None:
    with striking(Interrupted, place="Replacer._write_all"):
        assert type(struck(write_large, site.store)) is Interrupted
    eventually(lambda: not open_files(site.samba))
    (left,) = (found.name for found in site.other.list_leftovers() if found.kind == "temporary")
    with program(site.samba) as scanner:
        handle = scanner.open(left.replace("/", "\\"))
        read(site.store)
        handle.close()
    assert site.samba.root.joinpath(left).exists()
    read(site.store)
    assert not site.samba.root.joinpath(left).exists()


def test_a_strike_while_the_server_is_tried_leaves_nothing(site: Site) -> None:
    """On the connection of another store, which stays open."""
    samba = site.samba
    read(site.store)

    def open_another(_: Store) -> None:
        claims._known.clear()
        open_store(samba.url(user=False), **samba.options, timeout=4 * PATIENCE).close()

    with striking(Interrupted, place="_refused_lock") as where:
        assert type(struck(open_another, site.store)) is Interrupted
    assert where
    assert found_wrong(site) == []


def test_a_strike_while_a_watch_begins_leaves_no_folder_open(site: Site) -> None:
    samba = site.samba
    with open_store(samba.url("folder", user=False), **samba.options, timeout=3 * PATIENCE) as store:
        with striking(Interrupted, place="file_id_of") as where:  # the server has opened the folder
            assert type(struck(lambda watched: watched.watch().close(), store)) is Interrupted
        assert where
        eventually(lambda: not open_files(samba))


@pytest.mark.parametrize(
    ("place", "locked"),
    [
        ("leave", True),
        *((place, False) for place in ("leave", "SharedLink._part_from", "SmbConnection.say_goodbye")),
        ("DeadlineTcp.close", False),
    ],
)
def test_a_strike_while_a_store_is_closed_leaves_no_connection_and_no_lock(
    site: Site, place: str, locked: bool
) -> None:
    options = {**site.samba.options, "timeout": 3 * PATIENCE}  # another connection than that of the others
    closing = open_store(site.samba.url(user=False), **options)
    held = closing.lock(KEY if locked else LARGE_KEY)
    if not locked:
        held.release()
        closing.read_snapshot(KEY)
    with striking(Interrupted, place=place) as where:
        assert type(struck(Store.close, closing)) is Interrupted
    assert where
    del held  # kept until here: a lock that nothing refers to is released
    turns._turns.clear()
    assert found_wrong(site) == []


@pytest.mark.slow
def test_threads_that_share_the_connection_get_answers_or_clear_errors(site: Site) -> None:
    samba, ending = site.samba, threading.Event()
    unclear: list[BaseException] = []
    answered = [0, 0]

    def work(number: int, store: Store) -> None:
        while not ending.is_set():
            try:
                store.atomic_write(f"folder/{number}.json", b"data")
                assert store.read_snapshot(f"folder/{number}.json").data == b"data"
                answered[number] += 1
            except StoreError:
                pass
            except BaseException as error:
                unclear.append(error)
                return

    with open_store(samba.url(user=False), **samba.options, timeout=4 * PATIENCE) as beside:
        threads = [threading.Thread(target=work, args=(number, beside)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            for moment in range(20, 300, 10):
                with striking(Interrupted, moment=moment):
                    struck(read, site.store)
        finally:
            before = list(answered)
            deadline = time.monotonic() + 3 * PATIENCE
            while answered[0] == before[0] or answered[1] == before[1]:
                if time.monotonic() > deadline or unclear:
                    break
                time.sleep(0.005)
            ending.set()
            for thread in threads:
                thread.join(3 * PATIENCE)
    assert unclear == []
    assert not any(thread.is_alive() for thread in threads)
    assert all(now > then for now, then in zip(answered, before, strict=True))
