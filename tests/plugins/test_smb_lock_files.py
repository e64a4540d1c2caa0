"""Lock files on an SMB share that are another program's: databases, and files that it has made and left empty."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_smb.session.link import Link
from exlab_store_smb.steps import lock_file as lock_files
from filelock import ReadWriteLock
from shared_samba import DEBIAN_13, OWN
from smbprotocol.header import Commands
from waiting import eventually

from exlab_store import LockTimeout, Store, open_store
from exlab_store.doctor import space
from exlab_store.locks.held import new_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply
    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter

KEY = "a.json"
PATIENCE = 20.0  # seconds for what takes milliseconds


@pytest.fixture(params=[OWN, pytest.param(DEBIAN_13, marks=pytest.mark.slow)])
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(samba: SambaServer) -> Iterator[Store]:
    with open_store(samba.url(user=False), **samba.options) as opened:
        yield opened


@pytest.fixture
def other(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    """Another client: its address is another one."""
    with open_store(samba.url(user=False, port=wire.port), **samba.options) as opened:
        yield opened


@pytest.fixture
def lock_file(samba: SambaServer) -> Path:
    return samba.root / f"{KEY}.lock"


@pytest.fixture
def database(lock_file: Path) -> Path:
    """A lock file that is a database with something in it."""
    with sqlite3.connect(lock_file) as made:
        made.execute("create table kept (text)")
        made.execute("insert into kept values ('a')")
    made.close()
    return lock_file


def content_of(database: Path) -> list[tuple[str]]:
    reading = sqlite3.connect(database)
    try:
        return reading.execute("select text from kept").fetchall()
    finally:
        reading.close()


def lock(store: Store) -> None:
    with store.lock(KEY, timeout=PATIENCE):
        pass


def update(store: Store) -> None:
    store.update(KEY, lambda _: b"new", timeout=PATIENCE)


@pytest.mark.parametrize("operation", [lock, update])
def test_nothing_is_written_into_a_database(store: Store, database: Path, operation: Callable[[Store], None]) -> None:
    before = database.read_bytes()
    for _ in range(3):
        operation(store)
    assert database.read_bytes() == before
    assert content_of(database) == [("a",)]


def test_nothing_is_written_into_a_database_whose_lock_is_waited_for(
    store: Store, other: Store, database: Path
) -> None:
    before = database.read_bytes()
    with ThreadPoolExecutor(1) as pool:
        with store.lock(KEY):
            waiting = pool.submit(update, other)
            with pytest.raises(LockTimeout) as refused:
                other_process(other)
            assert not waiting.done()
        waiting.result()
    assert refused.value.holder is None
    assert database.read_bytes() == before


def other_process(store: Store) -> None:
    """Asks for the lock past the queue of this process."""
    store._hooks.lock(KEY, new_owner(""), 0.0, lambda: False)  # type: ignore[arg-type]


def test_an_empty_lock_file_of_another_program_stays_usable_as_a_database(store: Store, lock_file: Path) -> None:
    readers_and_writers = ReadWriteLock(str(lock_file), is_singleton=False)
    with readers_and_writers.read_lock(timeout=PATIENCE):
        pass
    assert lock_file.stat().st_size == 0
    with store.lock(KEY), readers_and_writers.write_lock(timeout=PATIENCE):  # they do not exclude each other
        assert lock_file.stat().st_size == 0
    update(store)
    assert lock_file.stat().st_size == 0
    with readers_and_writers.read_lock(timeout=PATIENCE):
        pass


def test_a_lock_file_that_the_store_has_made_keeps_the_holder_s_record(store: Store, lock_file: Path) -> None:
    for _ in range(2):
        with store.lock(KEY, purpose="re-sync"):
            assert json.loads(lock_file.read_bytes()[1:].partition(b"\n")[0])["purpose"] == "re-sync"
        eventually(lambda: lock_file.read_bytes()[1:2] == b"-")


def test_a_lock_file_that_keeps_records_already_gets_that_of_a_client_which_has_not_seen_it(
    store: Store, other: Store, lock_file: Path
) -> None:
    lock(store)
    with other.lock(KEY, purpose="re-sync", timeout=PATIENCE):
        assert json.loads(lock_file.read_bytes()[1:].partition(b"\n")[0])["purpose"] == "re-sync"


def test_a_lock_file_that_is_made_costs_one_round_trip_and_one_that_is_there_one_more_once(
    other: Store, store: Store, wire: WireProxy
) -> None:
    def round_trips() -> int:
        with wire.counting() as counted:
            held = other.lock(KEY)
        held.release()
        return counted.round_trips

    lock(store)
    assert [round_trips(), round_trips()] == [2, 1]


def test_lock_files_that_are_databases_are_called_so(store: Store, database: Path, samba: SambaServer) -> None:
    store.lock("ours.json").release()
    (samba.root / "empty.json.lock").touch()
    expected = {database.name: True, "ours.json.lock": False, "empty.json.lock": False}
    assert {found.name: found.database for found in store.list_leftovers()} == expected
    with store.lock(KEY):
        found = {found.name: (found.held, found.database) for found in store.list_leftovers()}
    assert found[database.name] == (True, True)


def test_the_doctor_advises_to_give_the_other_program_a_file_of_its_own(store: Store, database: Path) -> None:
    assert database.name in str(space._judged(store.list_leftovers(), []))


def test_nothing_is_written_into_a_database_where_the_server_takes_no_chains(
    store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "may_chain", False)
    before = database.read_bytes()
    lock(store)
    update(store)
    assert database.read_bytes() == before


def test_a_lock_file_that_was_deleted_is_looked_at_again_after_a_while(
    store: Store, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(store)
    eventually(lambda: lock_file.read_bytes()[1:2] == b"-")
    lock_file.unlink()
    sqlite3.connect(lock_file).execute("create table kept (text)").connection.close()
    before = lock_file.read_bytes()
    monkeypatch.setattr(lock_files, "_FORGOTTEN_AFTER", 0.0)
    lock(store)
    assert lock_file.read_bytes() == before


def test_a_lock_file_that_a_program_on_the_server_removes_before_it_is_locked_is_not_held(
    samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is given the requests of the compound one after the other, as one with few credits is."""
    key = "removed/a.json"
    wait, removed = Link.wait, list[None]()
    with open_store(samba.root) as local, open_store(samba.url(user=False), **samba.options) as store:
        store.lock(key).release()

        def wait_and_remove(link: Link, request: Any, deadline: Deadline) -> Reply:
            reply = wait(link, request, deadline)
            asked = getattr(request, "asked", None)
            if not removed and asked is not None and asked.command == Commands.SMB2_CREATE:
                local.delete_folder("removed")
                removed.append(None)
            return reply

        monkeypatch.setattr(Link, "fits", lambda _, messages: len(messages) == 1)
        monkeypatch.setattr(Link, "wait", wait_and_remove)
        with store.lock(key, timeout=10):
            assert removed
            with pytest.raises(LockTimeout):
                local.lock(key, timeout=0)
