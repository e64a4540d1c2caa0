"""What the store costs over the bare statement of psycopg, in turns with it."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from postgresql_server import PostgresqlServer

pytestmark = [pytest.mark.one_interpreter, pytest.mark.slow]

ROUNDS = 1500


def _ratio(ours: Callable[[bytes], object], bare: Callable[[bytes], object]) -> float:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for way, taken in zip((ours, bare), times, strict=True):
            data = os.urandom(1000).hex().encode()
            began = time.perf_counter()
            way(data)
            if number > ROUNDS // 10:  # statements are prepared by then
                taken.append(time.perf_counter() - began)
    medians = [statistics.median(taken) for taken in times]
    print(f"ours {medians[0] * 1000:.3f} ms, bare {medians[1] * 1000:.3f} ms, ratio {medians[0] / medians[1]:.3f}")
    return medians[0] / medians[1]


def test_a_write_costs_little_more_than_the_bare_statement(postgresql: PostgresqlServer) -> None:
    import psycopg

    options = postgresql.options()
    with (
        open_store(postgresql.url(), create=True, **options) as store,
        psycopg.connect(
            f"host=127.0.0.1 port={postgresql.port} user=lab dbname=lab",
            password=postgresql.password,
            autocommit=True,
        ) as connection,
    ):
        for key in ("ours.json", "bare.json"):
            store.atomic_write(key, b"1")
        statement = (
            f"update {options['table']} set data = %b, mark = %b, modified = clock_timestamp(), "
            "xact = pg_current_xact_id() where key = %s returning xact"
        )
        ratio = _ratio(
            lambda data: store.atomic_write("ours.json", data),
            lambda data: connection.execute(statement, (data, os.urandom(16), "bare.json")).fetchone(),
        )
    assert ratio < 1.15


def test_a_read_costs_little_more_than_the_bare_statement(postgresql: PostgresqlServer) -> None:
    import psycopg

    options = postgresql.options()
    with (
        open_store(postgresql.url(), create=True, **options) as store,
        psycopg.connect(
            f"host=127.0.0.1 port={postgresql.port} user=lab dbname=lab",
            password=postgresql.password,
            autocommit=True,
        ) as connection,
    ):
        store.atomic_write("a.json", b"x" * 2000)
        statement = f"select data from {options['table']} where key = %s"
        ratio = _ratio(
            lambda _: store.read_snapshot("a.json"),
            lambda _: connection.execute(statement, ("a.json",), binary=True).fetchone(),
        )
    assert ratio < 1.3
