"""What threads share in the newer backends is free after a signal handler's exception, wherever that has struck."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_fsspec.call_threads import CallThreads
from exlab_store_sftp.event_loop import run
from fsspec.implementations.memory import MemoryFileSystem
from signal_strikes import TimeUp, striking
from waiting import PATIENCE, eventually

from exlab_store import BackendUnavailable, open_store
from exlab_store.backend import Latch, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from postgresql_server import PostgresqlServer
    from signal_strikes import Alarm

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers"),
    # What a handler raises within a finaliser, anybody's, is lost; a coroutine that was not begun is dropped.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


def in_another_thread(call: Callable[[], object]) -> object:
    """What a call gives in another thread; a text where it does not come back."""
    results: list[object] = ["it does not come back"]
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return results[-1]


def strike_everywhere(
    alarm: Alarm, call: Callable[[], object], check: Callable[[], object], modules: tuple[str, ...]
) -> None:
    """Calls again and again, struck at one moment more each time, and checks after each strike."""
    where = [""]
    moment = 0
    while where:
        moment += 1
        with striking(alarm, moment, modules=modules) as where:
            try:
                call()
            except TimeUp:
                pass
        assert check() == "works", where
    assert moment > 5


def test_a_strike_in_a_call_of_fsspec_holds_up_no_other_thread(alarm: Alarm) -> None:
    threads = CallThreads(MemoryFileSystem, lambda _: None, kept=True)

    def call() -> str:
        return threads.run(lambda _: "works", PATIENCE, AssertionError)

    strike_everywhere(alarm, call, lambda: in_another_thread(call), ("exlab_store_fsspec", "exlab_store.mutex"))
    threads.close()
    eventually(lambda: not threads._busy and not threads._given_up)
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "exlab-store-fsspec"])


def test_a_strike_in_a_wait_for_a_free_thread_of_fsspec_holds_up_no_other_thread(alarm: Alarm) -> None:
    threads = CallThreads(MemoryFileSystem, lambda _: None, kept=True)
    busy = Latch()

    def block(_: Any) -> None:
        busy.wait(PATIENCE)

    blocked = [threading.Thread(target=threads.run, args=(block, PATIENCE, AssertionError)) for _ in range(8)]
    for each in blocked:
        each.start()
    eventually(lambda: len(threads._busy) == 8)

    def wait() -> None:
        with pytest.raises(BackendUnavailable, match="still waiting"):
            threads.run(lambda _: "works", 0.01, AssertionError)

    try:
        strike_everywhere(
            alarm,
            wait,
            lambda: in_another_thread(lambda: len(threads._busy)) == 8 and "works",
            ("exlab_store_fsspec", "exlab_store.mutex"),
        )
    finally:
        busy.open()
    for each in blocked:
        each.join(PATIENCE)
    assert threads.run(lambda _: "works", PATIENCE, AssertionError) == "works"
    threads.close()


def test_a_strike_in_a_wait_for_the_thread_of_ssh_holds_up_no_other_thread(alarm: Alarm) -> None:
    async def answer() -> str:
        return "works"

    def call() -> str:
        return run(answer(), PATIENCE)

    strike_everywhere(
        alarm, call, lambda: in_another_thread(call), ("exlab_store_sftp", "exlab_store.mutex", "threading")
    )


def test_a_strike_in_the_start_of_a_thread_leaves_none_that_waits_for_ever(alarm: Alarm) -> None:
    ended: list[int] = []

    def call() -> None:
        start_thread(threading.Thread(target=ended.append, args=(1,), name="struck", daemon=True))

    strike_everywhere(alarm, call, lambda: "works", ("exlab_store.mutex",))
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "struck"])
    assert ended


@pytest.mark.one_interpreter
def test_a_strike_in_an_operation_on_postgresql_takes_no_connection_away(
    alarm: Alarm, postgresql: PostgresqlServer
) -> None:
    options = postgresql.options() | {"max_connections": 3}
    with open_store(postgresql.url(), create=True, **options) as store:
        store.atomic_write("a.json", b"works")

        def check() -> str:
            with store.lock("a.json", timeout=PATIENCE):
                return str(in_another_thread(lambda: store.read_snapshot("a.json").data.decode()))

        for call in (lambda: store.read_snapshot("a.json"), lambda: store.lock("a.json").release()):
            strike_everywhere(alarm, call, check, ("exlab_store_postgresql.pool", "exlab_store.mutex"))
