"""The page about PostgreSQL says what its server and its client do."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_postgresql import PostgresqlOptions
from postgresql_wire import PostgresqlFraming
from wire_proxy import WireProxy

from exlab_store import AccessDenied, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from postgresql_server import PostgresqlServer

pytestmark = pytest.mark.one_interpreter

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "keep-documents-in-postgresql.md").read_text(encoding="utf-8")


def _table(first_cell: str) -> dict[str, list[str]]:
    lines = PAGE.split(f"\n| {first_cell} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def _statements(caption: str) -> list[str]:
    block = PAGE.split(f":caption: {caption}\n\n", 1)[1].split("```", 1)[0]
    return [each.strip() for each in block.split(";") if each.strip()]


def test_the_table_of_options_has_every_option_with_its_default() -> None:
    shown = {name: cells[0] for names, cells in _table("Option").items() for name in re.findall(r"`(\w+)`", names)
             for cells in [cells]}  # fmt: skip
    defaults = {
        name: getattr(PostgresqlOptions(database="lab"), name)
        for name in PostgresqlOptions.__struct_fields__
        if name != "database"
    }
    words = {name: "libpq's" if value is None else f"{value:g}" if isinstance(value, (int, float)) else value
             for name, value in defaults.items()}  # fmt: skip
    assert shown == words


def test_the_table_of_round_trips_is_what_the_wire_says(postgresql: PostgresqlServer) -> None:
    options = postgresql.options(sslmode="disable")
    measured: dict[str, set[int]] = {}
    with (
        WireProxy("127.0.0.1", postgresql.port, framing=PostgresqlFraming) as wire,
        open_store(postgresql.url(port=wire.port), create=True, **options) as store,
    ):
        for _ in range(2):
            store.update("a.json", lambda _: b"1")  # every statement is prepared
            store.update("a.json", lambda _: b"2")
        held: list[Any] = []

        def locked_write() -> object:
            return store.atomic_write("a.json", b"5", lock=held[0])

        operations: dict[str, list[Callable[[], object]]] = {
            "read, stat, list": [
                lambda: store.read_snapshot("a.json"), lambda: store.stat("a.json"), store.list_keys,
                lambda: list(store.list_folder()),
            ],
            "write, also with `expect=`": [
                lambda: store.atomic_write("a.json", b"3"),
                lambda: store.atomic_write("a.json", b"4", expect=version_of(b"3")),
            ],
            "update": [lambda: store.update("a.json", lambda _: b"6")],
            "update of a new document": [lambda: store.update("new/b.json", lambda _: b"6")],
            "write of a new document": [lambda: store.atomic_write("new/c.json", b"6")],
            "lock and release": [lambda: store.lock("a.json").release()],
            "delete": [lambda: store.delete("new/c.json")],
        }  # fmt: skip
        wire.delay = 0.005  # what is sent together overlaps, however busy the machine is
        for name, calls in operations.items():
            measured[name] = set()
            for call in calls:
                with wire.counting() as count:
                    call()
                measured[name].add(count.round_trips)
        wire.delay = 0.0
        with store.lock("a.json") as lock:
            held.append(lock)
            with wire.counting() as count:
                locked_write()
            # A busy machine may let 0.1 s pass, and then the server is asked once more.
            assert count.round_trips in {1, 2}
    shown = {name: {int(cells[0])} for name, cells in _table("Operation").items() if "under a lock" not in name}
    assert shown == measured


def test_the_rights_of_the_page_are_enough(postgresql: PostgresqlServer) -> None:
    name = f"rights_{secrets.token_hex(4)}"
    postgresql.execute(f"create database {name}", database="postgres")
    with open_store(postgresql.url(database=name), create=True, password=postgresql.password) as store:
        store.atomic_write("a.json", b"1")
    roles = {role: f"{role}_{secrets.token_hex(4)}" for role in ("operator", "reader")}
    for role in roles.values():
        postgresql.execute(f"create role {role} login password '{postgresql.password}'", database=name)
    for statement in _statements("rights.sql"):
        for role, real in roles.items():
            statement = re.sub(rf"\b{role}$", real, statement)
        postgresql.execute(statement, database=name)
    with open_store(postgresql.url(database=name, user=roles["operator"]), password=postgresql.password) as store:
        store.update("a.json", lambda _: b"2")
        store.atomic_write("folder/b.json", b"1")
        store.delete_folder("folder")
    with open_store(postgresql.url(database=name, user=roles["reader"]), password=postgresql.password) as store:
        assert store.read_snapshot("a.json").data == b"2"
        assert store.list_leftovers() == []
        with pytest.raises(AccessDenied):
            store.atomic_write("a.json", b"3")
        with pytest.raises(AccessDenied):
            store.lock("a.json")


def test_the_statements_that_make_the_site_are_valid(postgresql: PostgresqlServer) -> None:
    suffix = secrets.token_hex(4)
    role, database = f"exlab_{suffix}", f"lab_{suffix}"
    make_role, make_database = _statements("site.sql")
    postgresql.execute(make_role.replace("role exlab", f"role {role}"), database="postgres")
    postgresql.execute(
        make_database.replace("database lab owner exlab", f"database {database} owner {role}"), database="postgres"
    )
    with open_store(postgresql.url(database=database, user=role), create=True, password="change-me") as store:
        store.update("a.json", lambda _: b"1")
        assert store.guarantees.durable
