"""What a store claims is what its server has shown: servers that cannot lock, flush a folder, or take compounds."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.session import claims
from exlab_store_smb.session.claims import Shown, guarantees_of
from impacket_server import running_impacket

from exlab_store import GuaranteeNotMet, Guarantees, NotSupported, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from impacket_server import ImpacketServer
    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = [pytest.mark.one_interpreter, pytest.mark.one_server]

KEY = "a.json"
EVERYTHING = Guarantees(
    atomic_replace=True,
    durable=True,
    conditional_write="locked",
    lock_scope="site",
    lock_release="crash",
    fenced=True,
    lists=True,
    deletes=True,
    fresh="always",
    watch="pushed",
)
WITHOUT_LOCKS = Guarantees(atomic_replace=True, durable=True, lists=True, deletes=True, fresh="always", watch="pushed")


@pytest.fixture(scope="module")
def server(server: SambaServer) -> SambaServer:
    """One server for all of this module, with a share that locks nothing."""
    server.add_share("lockless", server.directory / "lockless", locking="no")
    return server


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has met no server yet."""
    monkeypatch.setattr(claims, "_known", {})


@pytest.fixture(scope="module")
def simple_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImpacketServer]:
    with running_impacket(tmp_path_factory.mktemp("impacket")) as found:
        yield found


@pytest.fixture
def simple(simple_server: ImpacketServer) -> Iterator[Store]:
    """A store on a server that takes no compounds, flushes no folder, and locks nothing."""
    for path in simple_server.root.iterdir():
        path.unlink()
    with open_store(simple_server.url, **simple_server.options) as store:
        yield store


def share(samba: SambaServer, name: str = "") -> str:
    return samba.url(user=False, share=name or None)


# A server that nobody knows


def test_a_server_that_can_neither_lock_nor_flush_folders_is_not_claimed_to(simple: Store) -> None:
    assert simple.guarantees == Guarantees(
        atomic_replace=True, lists=True, deletes=True, fresh="always", watch="pushed"
    )


def test_it_is_said_what_a_server_cannot_do(simple_server: ImpacketServer, caplog: pytest.LogCaptureFixture) -> None:
    open_store(simple_server.url, **simple_server.options).close()
    said = "\n".join(caplog.messages)
    assert "takes no compound requests" in said
    assert "does not flush directories" in said
    assert "grants a lock to two at once" in said


def test_what_needs_a_lock_is_refused_there(simple: Store) -> None:
    with pytest.raises(NotSupported):
        simple.lock(KEY)
    with pytest.raises(NotSupported):
        simple.update(KEY, lambda _: b"new")


def test_documents_are_written_replaced_read_listed_and_deleted_there(simple: Store) -> None:
    simple.atomic_write(KEY, b"old, and longer")
    simple.atomic_write(KEY, b"new")
    assert simple.read_snapshot(KEY).data == b"new"
    assert list(simple.list_keys()) == [KEY]
    simple.delete(KEY)
    assert list(simple.list_keys()) == []


def test_nothing_is_left_there_of_what_was_tried(simple_server: ImpacketServer, simple: Store) -> None:
    assert simple.guarantees.atomic_replace
    assert list(simple_server.root.iterdir()) == []


def test_more_than_a_server_can_do_is_refused_when_the_store_is_opened(simple_server: ImpacketServer) -> None:
    needed = Guarantees.at_least(lock_scope="site")
    with pytest.raises(GuaranteeNotMet, match="lock_scope"):
        open_store(simple_server.url, require=needed, **simple_server.options)


# Samba


def test_a_share_with_good_settings_shows_everything_and_keeps_nothing(samba: SambaServer) -> None:
    with open_store(share(samba), **samba.options) as store:
        assert store.guarantees == EVERYTHING
        assert list(samba.root.iterdir()) == []
    assert list(claims._known.values()) == [Shown(True, True, True, True)]


def test_a_share_that_grants_a_lock_twice_is_found_out_when_it_is_opened(samba: SambaServer) -> None:
    with open_store(share(samba, "lockless"), **samba.options) as store:
        assert store.guarantees == WITHOUT_LOCKS


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.atomic_write(KEY, b"new"),
        lambda store: store.delete(KEY),
        lambda store: store.lock(KEY),
        lambda store: store.update(KEY, lambda _: b"new"),
    ],
    ids=["write", "delete", "lock", "update"],
)
def test_in_a_folder_that_is_yet_to_be_made_it_is_found_out_before_the_first_change(
    samba: SambaServer, change: Callable[[Store], object]
) -> None:
    location = samba.url("new", "folder", user=False, share="lockless")
    with open_store(location, create=True, **samba.options) as store:
        assert store.guarantees == EVERYTHING
        with pytest.raises(NotSupported, match="lock_scope is 'none' there, and not 'site'"):
            change(store)
    assert list((samba.directory / "lockless").iterdir()) == []


def test_what_was_found_out_then_is_not_claimed_by_the_next_store(samba: SambaServer) -> None:
    location = samba.url("new", user=False, share="lockless")
    with open_store(location, create=True, **samba.options) as store, pytest.raises(NotSupported):
        store.lock(KEY)
    with open_store(location, create=True, **samba.options) as store:
        assert store.guarantees == WITHOUT_LOCKS
        store.atomic_write(KEY, b"new")
    (samba.directory / "lockless" / "new" / KEY).unlink()
    (samba.directory / "lockless" / "new").rmdir()


@pytest.mark.usefixtures("needs_root")
def test_an_account_that_may_only_read_opens_and_reads_and_is_refused_as_before(samba: SambaServer) -> None:
    (samba.root / KEY).write_bytes(b"old")
    with open_store(share(samba), **samba.add_account("onlooker")) as store:
        assert store.read_snapshot(KEY).data == b"old"
        with pytest.raises(PermissionError):
            store.atomic_write(KEY, b"new")
    assert [path.name for path in samba.root.iterdir()] == [KEY]


# What it costs


def test_a_server_that_is_known_costs_one_round_trip_and_one_that_is_not_four(
    samba: SambaServer, wire: WireProxy
) -> None:
    def asked() -> int:
        with wire.counting() as count, open_store(samba.url(user=False, port=wire.port), **samba.options):
            requests = [names for way, names in count.log if way == "request"]
        return sum("CREATE" in names for names in requests)

    at_first, later = asked(), asked()
    # In one round trip each: two requests to the folder; three that replace, lock and flush; the second lock;
    # and a compound whose first CREATE fails.
    assert (at_first, later) == (2 + 3 + 1 + 1, 2)


def test_the_first_write_into_a_new_folder_shows_it_once(samba: SambaServer) -> None:
    with open_store(samba.url("new", user=False), create=True, **samba.options) as store:
        store.atomic_write(KEY, b"old")
        assert [shown.enough for shown in claims._known.values()] == [True]
    assert sorted(str(path.relative_to(samba.root)) for path in samba.root.rglob("*")) == ["new", f"new/{KEY}"]


_KILLED = """
import os, sys
from exlab_store import open_store
from exlab_store_smb.session.link import Link
run = Link.run_all
def killed(link, compounds, deadline):
    started = [link.start(messages, deadline) for messages in compounds]
    if len(compounds) == 3:
        os._exit(1)
    return [[link.wait(request, deadline) for request in requests] for requests in started]
Link.run_all = killed
open_store(sys.argv[1], username=sys.argv[2], password=sys.argv[3])
"""


def test_a_client_that_is_killed_meanwhile_leaves_temporary_files_at_most(samba: SambaServer) -> None:
    program = [sys.executable, "-c", _KILLED, share(samba), samba.user, samba.password]
    assert subprocess.run(program, timeout=60, check=False).returncode == 1
    with open_store(share(samba), **samba.options) as store:
        for leftover in store.list_leftovers():
            assert leftover.kind == "temporary"
            store.remove_leftover(leftover)
        assert list(samba.root.iterdir()) == []


# What follows from what was shown


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (Shown(), set()),
        (Shown(replaces=True, flushes_folders=True, locks=True), set()),
        (Shown(replaces=False), {"atomic_replace", "durable", "conditional_write", "fenced"}),
        (Shown(flushes_folders=False), {"durable"}),
        (Shown(locks=False), {"conditional_write", "lock_scope", "lock_release", "fenced"}),
        (Shown(keeps_readers_out=False, compounds=False), set()),
    ],
)
def test_only_what_depends_on_it_is_not_claimed(shown: Shown, missing: set[str]) -> None:
    fewer = guarantees_of(shown).shortfalls(EVERYTHING)
    assert {each.guarantee for each in fewer} - {"watch"} == missing


def test_a_store_that_cannot_replace_is_read_and_not_written(
    samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (samba.root / KEY).write_bytes(b"old")
    monkeypatch.setattr(claims, "_replaces", lambda _: False)  # no server at hand does this
    with open_store(share(samba), **samba.options) as store:
        assert store.read_snapshot(KEY).data == b"old"
        with pytest.raises(NotSupported, match="does not replace"):
            store.atomic_write(KEY, b"new")
