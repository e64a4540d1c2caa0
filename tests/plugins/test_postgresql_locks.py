"""Locks on a PostgreSQL server: free as soon as their holder is gone, fenced, and never kept alive by a copy."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from postgresql_holder import HoldingRequests
from standing_still import standing_still
from waiting import eventually

from exlab_store import BackendUnavailable, LockLost, LockTimeout, Store, open_store
from exlab_store.clients.process import ClientProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgresql_server import PostgresqlServer

pytestmark = pytest.mark.one_interpreter

KEY = "a.json"
LONG = 30.0


@pytest.fixture
def options(postgresql: PostgresqlServer) -> dict[str, Any]:
    found = postgresql.options()
    with open_store(postgresql.url(), create=True, **found) as store:
        store.atomic_write(KEY, b"0")
    return found


@pytest.fixture
def store(postgresql: PostgresqlServer, options: dict[str, Any]) -> Iterator[Store]:
    with open_store(postgresql.url(), **options) as found:
        yield found


@pytest.fixture
def other(postgresql: PostgresqlServer, options: dict[str, Any]) -> Iterator[Store]:
    """A store of another location, so that the two meet on the server, and not in the queue of this process."""
    with open_store(postgresql.url().replace("127.0.0.1", "localhost"), **options) as found:
        yield found


@contextmanager
def holder(postgresql: PostgresqlServer, options: dict[str, Any]) -> Iterator[ClientProcess]:
    client = ClientProcess(HoldingRequests, LONG).open(postgresql.url(), options)
    try:
        client.ask("lock", key=KEY, timeout=LONG)
        yield client
    finally:
        client.kill()


def end_holder(postgresql: PostgresqlServer, table: str) -> None:
    """As an administrator does, or a proxy that has lost its patience."""
    rows = postgresql.execute(f"select pg_terminate_backend(pid, 10000) from {table}_holders where key = %s", KEY)
    assert rows == [(True,)]


def test_the_lock_of_a_killed_process_is_free_for_who_waits(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store
) -> None:
    with holder(postgresql, options) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.lock, KEY, timeout=LONG)
        eventually(lambda: postgresql.execute("select 1 from pg_locks where locktype = 'advisory' and not granted"))
        client.kill()
        waiting.result(LONG).release()


def test_who_waits_is_told_who_holds_the_lock(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store, other: Store
) -> None:
    with store.lock(KEY, purpose="calibration") as held:
        for timeout in (0, 0.1):
            with pytest.raises(LockTimeout, match="calibration") as caught:
                other.lock(KEY, timeout=timeout)
            assert caught.value.holder == held.owner
        (leftover,) = other.list_leftovers()
        assert (leftover.name, leftover.held, leftover.owner) == ("a.json.lock", True, held.owner)
    assert other.list_leftovers() == []


def test_the_record_of_a_holder_that_has_gone_names_nobody(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store
) -> None:
    with holder(postgresql, options) as client:
        client.kill()
        eventually(lambda: store.list_leftovers() == [])
        store.lock(KEY, timeout=LONG).release()


def test_a_wait_does_not_ask_again_and_again(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store, other: Store
) -> None:
    with ThreadPoolExecutor(1) as pool, store.lock(KEY):
        waiting = pool.submit(other.lock, KEY, timeout=LONG)
        query = "select pid, query_start from pg_stat_activity where wait_event_type = 'Lock'"
        eventually(lambda: postgresql.execute(query))
        first = postgresql.execute(query)
        time.sleep(0.3)
        assert postgresql.execute(query) == first
    waiting.result(LONG).release()


def test_a_wait_that_is_cancelled_leaves_no_one_in_the_queue(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store, other: Store
) -> None:
    with store.lock(KEY):
        for _ in range(3):
            with pytest.raises(LockTimeout):
                other.lock(KEY, timeout=LONG, cancelled=iter([False, False, True]).__next__)
        assert postgresql.execute("select 1 from pg_locks where locktype = 'advisory' and not granted") == []
    other.lock(KEY, timeout=0).release()


def test_a_wait_longer_than_the_timeout_of_an_operation_goes_on(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store
) -> None:
    url = postgresql.url().replace("127.0.0.1", "localhost")
    with open_store(url, **options, timeout=0.5) as hasty, ThreadPoolExecutor(1) as pool:
        with store.lock(KEY):
            waiting = pool.submit(hasty.lock, KEY, timeout=LONG)
            time.sleep(1.0)
            assert not waiting.done()
        held = waiting.result(LONG)
        hasty.atomic_write(KEY, b"1", lock=held)
        held.release()


def test_locks_have_a_connection_of_their_own_and_some_are_left_for_other_work(
    postgresql: PostgresqlServer, options: dict[str, Any]
) -> None:
    with open_store(postgresql.url(), retry=None, **options, max_connections=4, timeout=4.0) as store:
        held = [store.lock(f"{number}.json") for number in range(2)]
        with pytest.raises(BackendUnavailable, match="connections of this process are in use, 2 for locks"):
            store.lock("third.json", timeout=0.1)
        store.atomic_write(KEY, b"1")
        held.pop().release()
        store.lock("third.json").release()
        held.pop().release()


def test_closing_a_store_frees_its_locks(postgresql: PostgresqlServer, options: dict[str, Any], other: Store) -> None:
    store = open_store(postgresql.url(), **options)
    held = store.lock(KEY)
    store.close()
    other.lock(KEY, timeout=0).release()
    held.release()


# Holders that were held up past the loss of their lock


def lose_and_write(postgresql: PostgresqlServer, options: dict[str, Any], successor: Store) -> str:
    """Freezes a holder, ends its session, lets a successor write, and has the holder write: the holder's error."""
    with holder(postgresql, options) as client:
        with ExitStack() as order:
            with standing_still(client._process.pid):
                end_holder(postgresql, options["table"])
                held = order.enter_context(successor.lock(KEY, timeout=LONG))
                successor.atomic_write(KEY, b"successor", lock=held)
                client.send("write_held", key=KEY, data=b"zombie")
            try:
                client.answer(LONG)
            except Exception as error:
                said = type(error).__name__
            else:
                said = "written"
        assert successor.read_snapshot(KEY).data == b"successor"
    return said


def test_a_holder_that_was_frozen_past_the_end_of_its_session_is_refused(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store
) -> None:
    assert lose_and_write(postgresql, options, store) == "LockLost"


@pytest.mark.slow
def test_two_hundred_frozen_holders_are_refused(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store
) -> None:
    said = [lose_and_write(postgresql, options, store) for _ in range(200)]
    assert said == ["LockLost"] * 200


# Forks


def test_a_fork_does_not_use_the_connections_of_its_parent_nor_keep_its_lock_alive(
    postgresql: PostgresqlServer, options: dict[str, Any], store: Store, other: Store
) -> None:
    held = store.lock(KEY)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  # in the child
        said = "nothing"
        try:
            try:
                store.atomic_write(KEY, b"child", lock=held)
            except LockLost:
                said = "LockLost"
            held.release()
            said += f" {store.read_snapshot(KEY).data.decode()}"
            store.atomic_write("child.json", b"1")
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        signal.pause()
        os._exit(0)
    try:
        assert os.read(reading, 1000) == b"LockLost 0"
        held.ensure_held()
        with pytest.raises(LockTimeout):
            other.lock(KEY, timeout=0)
        assert other.read_snapshot("child.json").data == b"1"
        held.release()
        other.lock(KEY, timeout=0).release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
