"""A site moves from files to a database and back, also when the move is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from waiting import eventually

from exlab_store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from postgresql_server import PostgresqlServer

pytestmark = pytest.mark.one_interpreter


def made_site(folder: Path, count: int) -> dict[str, bytes]:
    documents = {f"INSTRUMENT_{n % 20:02}/run {n}.json": os.urandom(16).hex().encode() * (n % 50) for n in range(count)}
    with open_store(folder, create=True) as store:
        for key, data in documents.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        assert len(store.list_keys()) == count
    return documents


def migration(source: str, target: str, password: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "exlab_store.cli", "migrate", source, target, "--create"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=os.environ | {"PGPASSWORD": password}, stdout=quiet, stderr=quiet)


def moved(source: str, target: str, password: str) -> None:
    assert migration(source, target, password).wait(300) == 0


def killed_half_way(source: str, target: str, password: str, half: int) -> None:
    """Kills a migration when half of the documents are there."""
    process = migration(source, target, password)
    with open_store(target, create=True, **({"password": password} if "postgresql" in target else {})) as store:
        eventually(lambda: len(store.list_keys()) >= half or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(30)


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_site_that_is_killed_half_way_is_moved_into_a_database_and_back(
    postgresql: PostgresqlServer, tmp_path: Path, count: int
) -> None:
    name = f"site_{count}"
    postgresql.execute(f"create database {name}", database="postgres")
    url, password = postgresql.url("lab", database=name), postgresql.password
    documents = made_site(tmp_path / "old", count)
    killed_half_way(str(tmp_path / "old"), url, password, count // 2)
    moved(str(tmp_path / "old"), url, password)
    killed_half_way(url, str(tmp_path / "new"), password, count // 2)
    moved(url, str(tmp_path / "new"), password)
    with open_store(url, password=password) as there, open_store(tmp_path / "new") as back:
        for store in (there, back):
            assert {key: store.read_snapshot(key).data for key in store.list_keys()} == documents
