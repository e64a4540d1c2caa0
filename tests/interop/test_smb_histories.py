"""No acknowledged write is lost, and no deleted document is back, whoever has the documents open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deleting_and_writing import Site
from exlab_store_smb.session.link import Link
from foreign_handles import ASKING, program
from shared_samba import BOTH

from exlab_store import open_store
from exlab_store.testing.history import Recorder, check

if TYPE_CHECKING:
    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter


@pytest.fixture(params=BOTH)
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("rounds", "parts"), [(300, 3), pytest.param(20_000, 20, marks=pytest.mark.slow)], ids=["300", "20000"]
)
def test_deletions_and_writes_of_six_clients_have_an_order_also_when_the_server_is_killed(
    samba: SambaServer, rounds: int, parts: int
) -> None:
    site = Site(samba)
    site.work(rounds, parts)
    print(dict(site.done))
    assert site.violations() == []
    assert site.done["held open"] > parts


def test_a_write_that_a_pending_deletion_takes_away_is_found(samba: SambaServer) -> None:
    """The deletion as most programs make it: a file that others have open goes by its name when they close it."""
    recorder = Recorder()
    with open_store(samba.url(user=False), **samba.options) as store, program(samba) as other:
        with recorder.operation("w", "write", new="old"):
            store.atomic_write("a.json", b"old")
        asking = other.open("a.json", ASKING)
        with recorder.operation("d", "delete"):
            assert other.delete("a.json")
        local = open_store(samba.root)  # it replaces a file whatever the server thinks of it
        with local, recorder.operation("w", "write", new="new"):
            local.atomic_write("a.json", b"new")
        asking.close()
        with recorder.operation("r", "read") as entry:
            entry.found = "new" if (samba.root / "a.json").exists() else None
    violation = check(recorder.operations)
    assert violation is not None
    assert (violation.operation.kind, violation.operation.found) == ("read", None)


def test_a_write_that_went_elsewhere_is_found(samba: SambaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    (samba.root / "elsewhere").mkdir()
    recorder = Recorder()
    with open_store(samba.url(user=False), **samba.options) as store:
        with recorder.operation("w", "write", new="old"):
            store.atomic_write("a.json", b"old")
        monkeypatch.setattr(Link, "within_share", lambda _, path: f"elsewhere\\{path}")
        with recorder.operation("w", "write", new="new"):
            store.atomic_write("a.json", b"new")
        monkeypatch.undo()
        with recorder.operation("r", "read") as entry:
            entry.found = store.read_snapshot("a.json").data.decode()
    violation = check(recorder.operations)
    assert violation is not None
    assert violation.operation.kind == "read"
