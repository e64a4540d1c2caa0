"""What the S3 backend claims is what the server was shown to keep; some keep nothing and say otherwise."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from s3_stand_in import FLAWS, running_stand_in

from exlab_store import (
    ABSENT,
    AccessDenied,
    BackendUnavailable,
    DocumentExists,
    LocationError,
    NotSupported,
    VersionConflict,
    open_store,
)

pytest.importorskip("obstore")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from s3_stand_in import StandIn

pytestmark = pytest.mark.one_interpreter

NO_SWAPS = ("ignores If-None-Match", "ignores If-Match", "does not know conditions")


@pytest.fixture
def server() -> Iterator[StandIn]:
    with running_stand_in() as found:
        yield found


def test_a_server_that_keeps_conditions_gives_locks_and_native_conditions(server: StandIn) -> None:
    with open_store(server.url, **server.options) as store:
        claims = store.guarantees
    assert (claims.conditional_write, claims.lock_scope, claims.lock_release) == ("native", "site", "lease")


@pytest.mark.parametrize("flaw", NO_SWAPS)
def test_a_server_that_ignores_conditions_gives_neither_locks_nor_conditions(flaw: str) -> None:
    with running_stand_in(flaw) as server, open_store(server.url, **server.options) as store:
        assert store.guarantees.conditional_write == "none"
        assert store.guarantees.lock_scope == "none"
        version = store.atomic_write("a", b"1")
        with pytest.raises(NotSupported):
            store.atomic_write("a", b"2", expect=version)
        with pytest.raises(NotSupported, match="server does not keep If-"):
            store.lock("a")
        with pytest.raises(NotSupported):
            store.update("a", lambda _: b"2")
        assert store.read_snapshot("a").data == b"1"


def test_a_server_that_matches_unquoted_etags_alone_is_asked_with_those() -> None:
    with running_stand_in("matches no quoted ETag") as server, open_store(server.url, **server.options) as store:
        version = store.atomic_write("a", b"1")
        version = store.atomic_write("a", b"2", expect=version)
        with pytest.raises(VersionConflict):
            store.atomic_write("a", b"3", expect=store.atomic_write("b", b"other"))
        store.update("a", lambda current: (current or b"") + b"!")
        store.delete("a", expect=store.read_snapshot("a").version)
        assert not store.exists("a")


def test_a_server_that_deletes_whatever_the_condition_is_refuses_conditions_of_deletions_alone() -> None:
    flaw = "ignores If-Match of DELETE"
    with running_stand_in(flaw) as server, open_store(server.url, **server.options) as store:
        version = store.atomic_write("a", b"1")
        with pytest.raises(NotSupported, match="deletes whatever"):
            store.delete("a", expect=version)
        with pytest.raises(DocumentExists):
            store.atomic_write("a", b"2", expect=ABSENT)
        store.update("a", lambda _: b"2")
        store.delete("a")
        assert not store.exists("a")


@pytest.mark.parametrize("flaw", [None, *FLAWS])
def test_the_proof_leaves_nothing_in_the_bucket(flaw: str | None) -> None:
    with running_stand_in(*([flaw] if flaw else [])) as server:
        open_store(server.url, **server.options).close()
        assert server.objects == {}


def test_the_proof_is_made_once_in_a_process(server: StandIn) -> None:
    open_store(server.url, **server.options).close()
    asked = len(server.seen)
    open_store(f"{server.url}/folder", **server.options).close()
    assert len(server.seen) == asked


def test_clients_that_prove_at_the_same_time_do_not_disturb_each_other(server: StandIn) -> None:
    claims: list[str] = []

    def prove() -> None:
        with open_store(server.url, **server.options) as store:
            claims.append(store.guarantees.conditional_write)

    threads = [threading.Thread(target=prove) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert claims == ["native"] * 8
    assert server.objects == {}


def test_an_account_that_may_only_read_opens_the_store_and_writes_nothing(server: StandIn) -> None:
    server.objects["a"] = b"1", {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    server.answer = lambda method, _: (403, "AccessDenied") if method in {"PUT", "POST", "DELETE"} else None
    with open_store(server.url, **server.options) as store:
        assert store.guarantees.lock_scope == "none"
        assert store.read_snapshot("a").data == b"1"
        with pytest.raises(AccessDenied):
            store.atomic_write("a", b"2")


def test_what_was_refused_is_tried_again_when_the_account_may_write(server: StandIn) -> None:
    server.answer = lambda method, _: (403, "AccessDenied") if method == "PUT" else None
    open_store(server.url, **server.options).close()
    server.answer = lambda _method, _name: None
    with open_store(server.url, **server.options) as store:
        assert store.guarantees.lock_scope == "site"


def test_a_bucket_that_is_missing_is_a_wrong_location_and_is_not_made(server: StandIn) -> None:
    with pytest.raises(LocationError, match="no such bucket"):
        open_store("s3://other", **server.options)
    assert {method for method, _ in server.seen} == {"GET"}


def test_a_server_that_is_busy_at_the_proof_is_not_taken_for_one_that_ignores_conditions(server: StandIn) -> None:
    server.answer = lambda method, _: (503, "SlowDown") if method == "DELETE" else None
    with pytest.raises(BackendUnavailable, match="SlowDown"):
        open_store(server.url, **server.options, retry=None)
    server.answer = lambda _method, _name: None
    with open_store(server.url, **server.options) as store:
        store.delete("a", expect=store.atomic_write("a", b"1"))
