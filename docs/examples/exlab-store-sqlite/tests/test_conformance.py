"""The backend keeps every promise that its guarantees make."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from exlab_store_sqlite import open_backend
from exlab_store_sqlite.locking import lock_file

from exlab_store import Location, open_store
from exlab_store.testing import BackendConformance, Harness

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Backend


class SqliteHarness(Harness):
    """A database file that the first write makes; the oracle sees its rows through SQLite alone."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "data" / "lab.db"
        self.location = f"sqlite://{self.file}"
        self.options = {"create": True}

    def open(self) -> Backend:
        return open_backend(Location.parse(self.location, create=True), {})

    def raw_read(self, key: str) -> bytes | None:
        rows = self._execute("SELECT data FROM document WHERE key = ?", key)
        return rows[0][0] if rows else None

    def raw_write(self, key: str, data: bytes) -> None:
        self._execute("REPLACE INTO document (key, data) VALUES (?, ?)", key, data)

    def raw_list(self) -> list[str]:
        return [key for (key,) in self._execute("SELECT key FROM document")]

    def break_lock(self, key: str) -> None:
        os.unlink(lock_file(str(self.file), key))

    def _execute(self, statement: str, *values: object) -> list[tuple]:
        if not self.file.exists():
            with open_store(self.location, create=True) as store:
                store.atomic_write("first", b"")
                store.delete("first")
        with closing(sqlite3.connect(self.file, timeout=10, isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()


class TestSqlite(BackendConformance):
    """All of the kit."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> SqliteHarness:
        return SqliteHarness(tmp_path)
