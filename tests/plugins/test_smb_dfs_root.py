"""A share that the server advertises as the root of a DFS namespace: most names begin with the server and the share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.session.link import Link
from shared_samba import BOTH, running_server
from smb_stores import age

from exlab_store import Store, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(params=BOTH)
def samba(request: pytest.FixtureRequest) -> Iterator[SambaServer]:
    """A folder of the share stands where a rename would lead that begins with the server and the share."""
    with running_server(
        request.param, global_settings={"host msdfs": "yes"}, share_settings={"msdfs root": "yes"}
    ) as server:
        (server.root / "127.0.0.1" / server.share / "d").mkdir(parents=True)
        yield server


@pytest.fixture
def store(samba: SambaServer) -> Iterator[Store]:
    with open_store(samba.url(user=False), **samba.options) as store:
        yield store


def elsewhere(samba: SambaServer) -> list[str]:
    return [path.name for path in (samba.root / "127.0.0.1").rglob("*.json*")]


def test_a_document_is_written_at_its_name(samba: SambaServer, store: Store) -> None:
    store.atomic_write("d/a.json", b"new")
    assert (samba.root / "d/a.json").read_bytes() == b"new"
    assert elsewhere(samba) == []


def test_a_document_is_replaced_at_its_name(samba: SambaServer, store: Store) -> None:
    (samba.root / "a.json").write_bytes(b"old")
    store.update("a.json", lambda _: b"new")
    assert (samba.root / "a.json").read_bytes() == b"new"
    assert elsewhere(samba) == []


def test_a_large_document_is_written_at_its_name(samba: SambaServer, store: Store) -> None:
    store.atomic_write("a.json", bytes(3 << 20))
    assert (samba.root / "a.json").stat().st_size == 3 << 20


def test_a_document_is_deleted_by_its_name(samba: SambaServer, store: Store) -> None:
    store.atomic_write("a.json", b"1")
    store.delete("a.json")
    assert [path.name for path in samba.root.iterdir()] == ["127.0.0.1"]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_write_that_went_elsewhere_is_not_acknowledged(
    samba: SambaServer, store: Store, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    if old is not None:
        (samba.root / "a.json").write_bytes(old)
        age(samba.root / "a.json", 2.0)  # by its age it is told that nobody has written it since
    # A server that takes the name of a rename otherwise than is documented.
    monkeypatch.setattr(Link, "within_share", lambda _, path: f"127.0.0.1\\lab\\{path.rpartition(chr(92))[2]}")
    with pytest.raises(WriteOutcomeUnknown, match="not there by its name"):
        store.atomic_write("a.json", b"new")


def test_the_document_is_read_back_once_for_a_connection(samba: SambaServer, wire: WireProxy) -> None:
    with open_store(samba.url(user=False, port=wire.port), **samba.options) as store:
        store.atomic_write("a.json", b"1")
        with wire.counting() as count:
            store.atomic_write("a.json", b"2")
    assert (count.round_trips, count.requests) == (1, 1), count.log
