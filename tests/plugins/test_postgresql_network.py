"""What becomes of an operation when the network, or the server, fails at any message of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import pytest
from postgresql_server import PostgresqlServer
from postgresql_wire import PostgresqlFraming
from standing_still import standing_still
from waiting import eventually
from wire_proxy import When, WireProxy

from exlab_store import ABSENT, LockLost, Store, StoreError, WriteOutcomeUnknown, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.one_interpreter

KEY = "folder/a.json"
OLD, NEW = b"old", b"new"
TIMEOUT = 3.0
LATE = 20.0  # seconds beyond the timeout on a busy machine
WHENS: tuple[When, ...] = ("before_request", "after_request", "reply_lost")


class Site(NamedTuple):
    """A store whose network can fail, and the table as the administrator sees it."""

    server: PostgresqlServer
    wire: WireProxy
    store: Store
    table: str

    def put(self, data: bytes | None) -> None:
        self.server.execute(f"delete from {self.table}")
        if data is not None:
            self.server.execute(f"insert into {self.table} (key, data) values (%s, %s)", KEY, data)

    def stored(self) -> bytes | None:
        rows = self.server.execute(f"select data from {self.table} where key = %s", KEY)
        return rows[0][0] if rows else None


@contextmanager
def failing_site(server: PostgresqlServer) -> Iterator[Site]:
    options = server.options(sslmode="disable", timeout=TIMEOUT)
    with (
        WireProxy("127.0.0.1", server.port, framing=PostgresqlFraming) as wire,
        open_store(server.url(port=wire.port), create=True, retry=None, **options) as store,
    ):
        store.atomic_write("other.json", b"1")
        yield Site(server, wire, store, options["table"])


@pytest.fixture
def site(postgresql: PostgresqlServer) -> Iterator[Site]:
    with failing_site(postgresql) as found:
        yield found


def locked_write(store: Store) -> object:
    with store.lock(KEY, timeout=5) as held:
        return store.atomic_write(KEY, NEW, lock=held)


OPERATIONS: dict[str, tuple[bytes | None, bytes | None, Callable[[Store], object]]] = {
    "write": (OLD, NEW, lambda store: store.atomic_write(KEY, NEW)),
    "create": (None, NEW, lambda store: store.atomic_write(KEY, NEW, expect=ABSENT)),
    "swap": (OLD, NEW, lambda store: store.atomic_write(KEY, NEW, expect=version_of(OLD))),
    "update": (OLD, NEW, lambda store: store.update(KEY, lambda _: NEW)),
    "locked write": (OLD, NEW, locked_write),
    "delete": (OLD, None, lambda store: store.delete(KEY)),
}


def outcome(site: Site, name: str, plan: Callable[[], None]) -> str:
    """What an operation says that meets a fault; checked against what is stored, and against its deadline."""
    before, after, operate = OPERATIONS[name]
    site.put(before)
    if before is not None:
        assert site.store.read_snapshot(KEY).data == before
    plan()
    began = time.monotonic()
    try:
        operate(site.store)
    except WriteOutcomeUnknown:
        said = "unknown"
    except StoreError as error:
        said = type(error).__name__
        assert site.stored() == before, f"{said}, and it has happened"
    else:
        said = "done"
        assert site.stored() == after, "it was acknowledged, and has not happened"
    assert time.monotonic() - began < TIMEOUT + LATE
    assert site.stored() in (before, after)
    site.wire.heal()
    with suppress(StoreError):
        site.store.read_snapshot("other.json")  # a connection that was idle may have ended meanwhile
    site.store.atomic_write("other.json", b"2")
    with site.store.lock(KEY, timeout=10):  # nobody is left who holds it
        assert site.stored() in (before, after)
    return said


def messages_of(site: Site, name: str) -> int:
    site.put(OPERATIONS[name][0])
    with site.wire.counting() as count:
        OPERATIONS[name][2](site.store)
    return count.requests


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("name", ["swap", "update"])
def test_a_cut_at_a_message_never_makes_an_outcome_wrong(site: Site, name: str, when: When) -> None:
    for number in (0, messages_of(site, name) - 1):
        outcome(site, name, lambda number=number: site.wire.cut_at(number, when, everything=True))  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*WHENS, "black hole before", "black hole after"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_fault_at_every_message_never_makes_an_outcome_wrong(
    site: Site, name: str, fault: str, record_property: Callable[[str, object], None]
) -> None:
    said: dict[str, int] = {}
    for number in range(messages_of(site, name)):

        def plan(number: int = number) -> None:
            if fault.startswith("black hole"):
                site.wire.black_hole_at(number, "request" if fault.endswith("before") else "reply")
            else:
                site.wire.cut_at(number, fault, everything=True)  # type: ignore[arg-type]

        word = outcome(site, name, plan)
        said[word] = said.get(word, 0) + 1
    record_property("outcomes", said)
    print(f"{name}, {fault}: {said}")


@pytest.mark.parametrize("name", ["write", "create", "swap"])
def test_a_write_whose_answer_was_lost_is_found_to_have_happened(site: Site, name: str) -> None:
    assert outcome(site, name, lambda: site.wire.cut_at(0, "reply_lost")) == "done"


@pytest.mark.parametrize("name", ["write", "swap", "delete"])
def test_a_change_that_the_server_never_saw_is_found_not_to_have_happened(site: Site, name: str) -> None:
    # It has read the document: so it knows which transactions are later than that.
    assert outcome(site, name, lambda: site.wire.cut_at(0, "before_request")) == "BackendUnavailable"


def test_a_write_under_a_lock_whose_connection_is_cut_says_that_the_lock_is_lost(site: Site) -> None:
    site.put(OLD)
    with site.store.lock(KEY) as held:
        site.wire.cut()
        with pytest.raises(LockLost):
            site.store.atomic_write(KEY, NEW, lock=held)
    assert site.stored() == OLD


def test_a_server_that_falls_silent_is_given_up_in_time(site: Site) -> None:
    outcome(site, "write", lambda: site.wire.black_hole_at(0, "request"))
    began = time.monotonic()
    site.wire.black_hole()
    with pytest.raises(StoreError):
        site.store.read_snapshot(KEY)
    assert time.monotonic() - began < TIMEOUT + LATE


def test_connections_that_fell_silent_together_cost_one_operation_its_patience(site: Site) -> None:
    with ThreadPoolExecutor(3) as pool:  # so that several connections wait for the next operation
        for _ in range(3):
            list(pool.map(lambda _: site.store.list_keys(), range(6)))
    assert outcome(site, "write", lambda: site.wire.black_hole_at(0, "request", everything=True)) == (
        "BackendUnavailable"
    )


def test_a_role_that_cannot_see_what_became_of_its_session_says_so(postgresql: PostgresqlServer) -> None:
    """`alter role ... set role` makes it another role, which may neither see nor end the session."""
    options = postgresql.options(sslmode="disable", timeout=20.0, password="svc")
    role, group = f"svc_{options['table']}", f"group_{options['table']}"
    postgresql.execute(f"create role {group}")
    postgresql.execute(f"create role {role} login password 'svc' in role {group}")
    postgresql.execute(f"alter role {role} set role = '{group}'")
    postgresql.execute(f"grant create, usage on schema public to {group}")
    with (
        WireProxy("127.0.0.1", postgresql.port, framing=PostgresqlFraming) as wire,
        open_store(postgresql.url(port=wire.port, user=role), create=True, retry=None, **options) as store,
    ):
        store.atomic_write(KEY, OLD)
        store.read_snapshot(KEY)
        [(pid,)] = postgresql.execute("select pid from pg_stat_activity where usename = %s", role)
        with standing_still(pid):
            wire.cut_at(0, "after_request")
            with pytest.raises(WriteOutcomeUnknown):
                store.atomic_write(KEY, NEW)


# Round trips


def test_an_update_takes_two_round_trips_and_three_for_a_new_document(site: Site) -> None:
    site.put(OLD)
    site.store.update(KEY, lambda _: NEW)
    taken: dict[str, int] = {}
    operations: dict[str, Callable[[], object]] = {
        "read": lambda: site.store.read_snapshot(KEY),
        "write": lambda: site.store.atomic_write(KEY, OLD),
        "swap": lambda: site.store.atomic_write(KEY, NEW, expect=version_of(OLD)),
        "update": lambda: site.store.update(KEY, lambda _: OLD),
        "update of a new document": lambda: site.store.update("folder/b.json", lambda _: OLD),
        "new document": lambda: site.store.atomic_write("folder/c.json", OLD),
        "lock and release": lambda: site.store.lock(KEY).release(),
        "stat": lambda: site.store.stat(KEY),
        "list": lambda: site.store.list_keys(),
        "delete": lambda: site.store.delete(KEY),
    }
    for name, operate in operations.items():
        with site.wire.counting() as count:
            operate()
        taken[name] = count.round_trips
    assert taken == {
        "read": 1,
        "write": 1,
        "swap": 1,
        "update": 2,
        "update of a new document": 3,
        "new document": 2,
        "lock and release": 2,
        "stat": 1,
        "list": 1,
        "delete": 1,
    }


# A server that crashes


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_in_the_middle() -> None:
    with PostgresqlServer() as server:
        options = server.options(timeout=20.0)
        with open_store(server.url(), create=True, **options) as store:
            store.atomic_write(KEY, b"0")
            stop: list[bool] = []

            def count(name: str) -> tuple[int, int]:
                """How many writes were acknowledged, and how many have an unknown outcome."""
                done = unknown = 0
                while not stop:
                    key = f"counters/{name}.json"
                    try:
                        store.update(key, lambda current: b"%d" % (int(current or b"0") + 1), timeout=20)
                        done += 1
                    except WriteOutcomeUnknown:
                        unknown += 1
                    except StoreError:
                        time.sleep(0.05)
                return done, unknown

            with ThreadPoolExecutor(3) as pool:
                counters = {name: pool.submit(count, name) for name in "abc"}
                eventually(lambda: len(store.list_keys("counters")) == 3)
                for _ in range(2):
                    server.crash()
                    server.start()
                    eventually(lambda: _moves(store, "counters/a.json"))
                stop.append(True)
                results = {name: future.result(60) for name, future in counters.items()}
            for name, (done, unknown) in results.items():
                stored = int(store.read_snapshot(f"counters/{name}.json").data)
                assert done <= stored <= done + unknown, f"{name}: {done} acknowledged, {unknown} unknown"


def _moves(store: Store, key: str) -> bool:
    with suppress(StoreError):
        before = store.read_snapshot(key).data
        time.sleep(0.02)
        return store.read_snapshot(key).data != before
    return False
