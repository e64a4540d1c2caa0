"""The conformance kit over the PostgreSQL backend, on a real server."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from exlab_store_postgresql import PostgresqlBackend, open_backend

from exlab_store import Guarantees, Location, open_store
from exlab_store.backend import is_key
from exlab_store.testing import BackendConformance, Harness

if TYPE_CHECKING:
    from postgresql_server import PostgresqlServer

pytestmark = pytest.mark.one_interpreter


class PostgresqlHarness(Harness):
    """A table of its own; the oracle sees its rows through SQL alone."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        self.table = f"t_{secrets.token_hex(8)}"
        self.location = server.url()
        self.options = server.options(self.table)
        self.secrets = [server.password]
        with open_store(self.location, create=True, **self.options) as store:
            store.atomic_write("first", b"")
            store.delete("first")

    def open(self) -> PostgresqlBackend:
        assert self.location is not None
        return open_backend(Location.parse(self.location), self.options)

    def raw_read(self, key: str) -> bytes | None:
        rows = self._server.execute(f"select data from {self.table} where key = %s", key)
        return rows[0][0] if rows else None

    def raw_write(self, key: str, data: bytes) -> None:
        if not is_key(key):
            raise NotImplementedError  # a row of that name is no temporary file and no lock
        self._server.execute(
            f"insert into {self.table} (key, data) values (%s, %s) "
            "on conflict (key) do update set data = excluded.data",
            key,
            data,
        )

    def raw_list(self) -> list[str]:
        return [key for (key,) in self._server.execute(f"select key from {self.table}")]

    def cut(self) -> None:
        self._server.end_clients()

    def break_lock(self, key: str) -> None:
        rows = self._server.execute(
            f"select pg_terminate_backend(pid, 10000) from {self.table}_holders where key = %s", key
        )
        assert rows == [(True,)]


class TestPostgresql(BackendConformance):
    @pytest.fixture
    def harness(self, postgresql: PostgresqlServer) -> PostgresqlHarness:
        return PostgresqlHarness(postgresql)


def test_a_server_with_good_settings_gives_every_guarantee(postgresql: PostgresqlServer) -> None:
    with open_store(postgresql.url(), create=True, **postgresql.options()) as store:
        assert store.guarantees == Guarantees(
            atomic_replace=True,
            durable=True,
            conditional_write="native",
            lock_scope="site",
            lock_release="crash",
            fenced=True,
            lists=True,
            deletes=True,
            fresh="always",
            watch="pushed",
        )
