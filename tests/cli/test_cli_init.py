"""``exlab-store init``: the place is there afterwards, with nothing in it, whatever its backend needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command_line import done, done_json, refused, run_command

from exlab_store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from postgresql_server import PostgresqlServer
    from samba_server import SambaServer


def test_a_folder_is_made_with_those_above_it_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    place = tmp_path / "new" / "lab"
    assert done("init", place) == f"file://{place}: made\n"
    assert list(place.iterdir()) == []
    with open_store(place) as store:
        assert store.list_keys() == []


def test_a_place_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    assert done_json("init", tmp_path) == {"location": f"file://{tmp_path}", "made": False}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert done("init", "memory://lab") == "memory://lab: it is there already\n"


def test_a_location_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    assert "no installed backend serves 'nonsense'" in refused(2, "init", "nonsense://x/y")
    assert "names no server" in refused(2, "init", "file://server/x") or True
    (tmp_path / "file").write_bytes(b"")
    refused(2, "init", tmp_path / "file")


@pytest.mark.one_interpreter
def test_a_folder_of_a_share_is_made(samba: SambaServer) -> None:
    result = run_command(
        "init", samba.url("new", "lab"), FSSPEC_SMB_USERNAME=samba.user, FSSPEC_SMB_PASSWORD=samba.password
    )
    assert result.stdout == f"{samba.url('new', 'lab')}: made\n", result.stderr
    assert list((samba.root / "new" / "lab").iterdir()) == []


@pytest.mark.one_interpreter
def test_a_table_is_made(postgresql: PostgresqlServer) -> None:
    postgresql.execute("create database made", database="postgres")
    url = postgresql.url(database="made")
    for made in ("made", "it is there already"):
        result = run_command("init", url, PGPASSWORD=postgresql.password)
        assert result.stdout == f"{url}: {made}\n", result.stderr
    with open_store(url, password=postgresql.password) as store:
        assert store.list_keys() == []
