"""The doctor at a PostgreSQL server, with good settings and with bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from examined import BRIEF, finding, outcomes, seen
from postgresql_server import PostgresqlServer

from exlab_store import open_store
from exlab_store.doctor import examine

if TYPE_CHECKING:
    from exlab_store.doctor import Examination

pytestmark = pytest.mark.one_interpreter


def examined(server: PostgresqlServer, *only: str) -> Examination:
    database = "examined"
    server.execute(f"create database {database}", database="postgres")
    url = server.url(database=database).replace("lab@", f"lab:{server.password}@")
    with open_store(url, create=True) as store:
        store.atomic_write("kept.json", b"1")
    found = examine([url], seconds=BRIEF, only=only)
    with open_store(url) as store:
        assert store.list_keys() == ["kept.json"]
    assert [place.remains for place in found.places] == [""]
    return found


def test_a_server_as_it_comes_keeps_what_is_claimed() -> None:
    with PostgresqlServer() as server:
        found = examined(server)
    assert {probe: outcome for probe, outcome in outcomes(found).items() if outcome in {"warn", "fail"}} == {}
    assert {name for name, verdict in seen(found).items() if verdict != "held"} == {"durable"}
    assert seen(found)["durable"] == "not tested"


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_the_setting_that_is_to_blame_is_named(setting: str) -> None:
    with PostgresqlServer({setting: "off"}) as server:
        found = examined(server, "flush")
    assert f"{setting} = off" in finding(found, "flush").observed
    assert seen(found)["durable"] == "not claimed"
