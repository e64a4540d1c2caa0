"""Lock files and temporary files of a share, seen by somebody who looks after it and disturbs nobody."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from exlab_store_smb.session.link import Link
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from lock_holders import holder
from waiting import eventually

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    Leftover,
    Store,
    WriteOutcomeUnknown,
    open_store,
)
from exlab_store.clients.process import ClientProcess
from exlab_store.testing.conformance.clients import KitRequests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from samba_server import SambaServer
    from wire_proxy import WireProxy

pytestmark = [pytest.mark.one_interpreter, pytest.mark.one_server]

DAY = 86400.0


@pytest.fixture
def lab(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    with open_store(samba.url(port=wire.port), password=samba.password, timeout=4.0, connect_timeout=2.0) as store:
        yield store


@pytest.fixture
def other(samba: SambaServer) -> Iterator[Store]:
    with open_store(samba.url(), password=samba.password) as store:
        yield store


@contextmanager
def client(samba: SambaServer) -> Iterator[ClientProcess]:
    with ClientProcess(KitRequests, 10.0) as process:
        yield process.open(samba.url(), {"password": samba.password})


def the_lock(store: Store) -> Leftover:
    (found,) = [leftover for leftover in store.list_leftovers() if leftover.name == "a.json.lock"]
    assert found.kind == "lock"
    return found


def temporary(folder: Path, age: float, name: str = "a.json") -> Path:
    path = folder / f"{name}.tmp.4711.{os.urandom(8).hex()}"
    path.write_bytes(b"half a docu")
    os.utime(path, (time.time() - age,) * 2)
    return path


# Locks


def test_a_lock_that_another_client_holds_is_held_and_says_by_whom(samba: SambaServer, lab: Store) -> None:
    with client(samba) as process:
        identifier = process.ask("lock", key="a.json", timeout=5)
        found = the_lock(lab)
        assert found.held is True
        assert found.owner is not None
        assert (found.owner.id, found.owner.purpose) == (identifier, "conformance")
        process.ask("release")
        eventually(lambda: not the_lock(lab).held)  # another connection may find it held for a moment
        assert the_lock(lab).owner is None


def test_a_lock_of_this_very_store_is_held_too(lab: Store) -> None:
    with lab.lock("a.json") as held:
        assert (the_lock(lab).held, the_lock(lab).owner) == (True, held.owner)
        held.ensure_held()


def test_the_lock_of_a_killed_client_is_free(samba: SambaServer, lab: Store) -> None:
    with client(samba) as process:
        process.ask("lock", key="a.json", timeout=5)
        process.kill()
        deadline = time.monotonic() + 10
        while the_lock(lab).held:  # until the server has noticed
            assert time.monotonic() < deadline
        assert (the_lock(lab).held, the_lock(lab).owner) == (False, None)


def test_a_lock_that_a_process_of_the_server_holds_is_held(samba: SambaServer, lab: Store) -> None:
    with holder("OFD", samba.root):
        assert (the_lock(lab).held, the_lock(lab).owner) == (True, None)
    with holder("this package", samba.root) as process:
        found = the_lock(lab)
        assert found.held is True
        assert found.owner is not None
        assert found.owner.pid == process.pid


def test_an_empty_lock_file_and_one_that_may_not_be_read_are_told_apart(samba: SambaServer, needs_root: None) -> None:
    (samba.root / "a.json.lock").touch()
    (samba.root / "b.json.lock").touch(0o600)
    with open_store(samba.url(user=False), **samba.add_account("visitor")) as visitor:
        assert [(found.name, found.held) for found in visitor.list_leftovers()] == [
            ("a.json.lock", False),
            ("b.json.lock", None),
        ]


def left_by_a_killed_holder_elsewhere(folder: Path) -> None:
    owner = {"id": "0" * 16, "host": "elsewhere", "user": "u", "pid": 1, "since": "2026-01-01T00:00:00Z"}
    (folder / "a.json.lock").write_bytes(b"\n" + json.dumps(owner).encode() + b"\n")


def test_the_lock_of_a_holder_that_was_killed_on_another_machine_is_free(samba: SambaServer, lab: Store) -> None:
    left_by_a_killed_holder_elsewhere(samba.root)
    assert (the_lock(lab).held, the_lock(lab).owner) == (False, None)
    assert os.listdir(samba.root) == ["a.json.lock"]


def test_where_locks_keep_no_reader_out_a_held_lock_is_not_taken_for_free(samba: SambaServer) -> None:
    samba.add_share("lax", samba.directory / "lax", strict_locking="no")
    with open_store(samba.url(share="lax"), password=samba.password) as store:
        store.lock("b.json").release()
        with store.lock("a.json") as held:
            assert {found.name: (found.held, found.owner) for found in store.list_leftovers()} == {
                "a.json.lock": (None, held.owner),
                "b.json.lock": (False, None),
            }
    assert sorted(os.listdir(samba.directory / "lax")) == ["a.json.lock", "b.json.lock"]


def test_who_may_only_read_cannot_tell_whether_a_holder_elsewhere_is_gone(samba: SambaServer) -> None:
    samba.add_share("seen", samba.directory / "seen", read_only="yes")
    left_by_a_killed_holder_elsewhere(samba.directory / "seen")
    (samba.directory / "seen" / "b.json.lock").write_bytes(b"\n-")
    with open_store(samba.url(share="seen"), password=samba.password) as store:
        found = {lock.name: (lock.held, lock.owner and lock.owner.host) for lock in store.list_leftovers()}
    assert found == {"a.json.lock": (None, "elsewhere"), "b.json.lock": (False, None)}


def test_a_waiter_gets_its_lock_while_somebody_looks(samba: SambaServer, lab: Store, other: Store) -> None:
    held = lab.lock("a.json")
    with client(samba) as process:
        process.send("lock", key="a.json", timeout=20)
        for _ in range(20):
            assert the_lock(other).held is True
        held.release()
        assert process.answer()
        assert the_lock(other).held is True


# Temporary files, sizes and times


def test_a_temporary_file_has_its_age_by_the_servers_clock(
    samba: SambaServer, lab: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = temporary(samba.root, 700)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 30 * DAY)  # this client's clock is a month ahead
    (found,) = lab.list_leftovers()
    assert found.age == pytest.approx(700, abs=30)
    assert (found.name, found.kind, found.size, found.held) == (path.name, "temporary", 11, None)
    assert found.modified == pytest.approx(path.stat().st_mtime, abs=0.01)


def test_nobody_can_tell_that_a_writer_on_another_machine_is_gone(samba: SambaServer, lab: Store) -> None:
    temporary(samba.root, 30 * DAY)
    assert [found.abandoned for found in lab.list_leftovers()] == [False]


def test_a_server_that_does_not_tell_its_time_gives_no_ages(
    samba: SambaServer, lab: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary(samba.root, 700)
    monkeypatch.setattr(Link, "server_time", lambda link: None)
    assert [found.age for found in lab.list_leftovers()] == [None]


def test_the_time_of_a_server_is_read_from_what_it_said_first(lab: Store) -> None:
    link = _link_of(lab)
    assert link.server_time() == pytest.approx(time.time(), abs=30)
    said = link.connection.preauth_integrity_hash_value
    for forged in (said[:1], [said[0], b"\xfeSMB"], [said[0], bytes(200)]):
        link.connection.preauth_integrity_hash_value = forged
        assert link.server_time() is None


# What is listed


def test_everything_below_a_folder_is_listed_and_no_document(samba: SambaServer, lab: Store) -> None:
    lab.atomic_write("a/b/Größe.json", b"{}")
    lab.lock("a/b/Größe.json").release()
    lab.lock("d.json").release()
    unfinished = temporary(samba.root / "a", 0)
    (samba.root / "a" / "old.json.tmp.12").touch()  # as other programs of the format name it
    (samba.root / "a" / "folder.lock").mkdir()
    names = [f"a/{unfinished.name}", "a/b/Größe.json.lock", "a/old.json.tmp.12", "d.json.lock"]
    assert [found.name for found in lab.list_leftovers()] == names
    assert [found.name for found in lab.list_leftovers("a/b")] == ["a/b/Größe.json.lock"]
    assert lab.list_leftovers("never/seen") == []
    assert lab.list_leftovers("a/b/Größe.json") == []


def test_many_lock_files_are_asked_about_several_at_a_time(samba: SambaServer, lab: Store, wire: WireProxy) -> None:
    for number in range(160):
        (samba.root / f"{number:03d}.json.lock").write_bytes(b"\n-")
    with lab.lock("007.json"), wire.counting() as count:
        wire.delay = 0.01  # what is sent together overlaps
        found = lab.list_leftovers()
    assert [lock.name for lock in found if lock.held] == ["007.json.lock"]
    assert len(found) == 160
    assert count.round_trips <= 14, count.log


def test_a_store_in_a_folder_shows_what_is_below_it_and_no_more(samba: SambaServer) -> None:
    (samba.root / "exlab").mkdir()
    temporary(samba.root, DAY)
    with open_store(samba.url("exlab"), password=samba.password, timeout=2.0) as store:
        store.lock("a.json").release()
        assert [found.name for found in store.list_leftovers()] == ["a.json.lock"]
        (samba.root / "exlab" / "a.json.lock").unlink()
        (samba.root / "exlab").rmdir()
        with pytest.raises(BackendUnavailable, match="gone"):
            store.list_leftovers()
    with open_store(samba.url("new"), password=samba.password, create=True) as store:
        assert store.list_leftovers() == []


def test_a_folder_that_may_not_be_listed_is_refused(samba: SambaServer, needs_root: None) -> None:
    (samba.root / "private").mkdir(mode=0o700)
    with (
        open_store(samba.url(user=False), **samba.add_account("stranger")) as stranger,
        pytest.raises(AccessDenied, match="list the folder"),
    ):
        stranger.list_leftovers()


def test_a_lost_connection_is_made_again(lab: Store, wire: WireProxy) -> None:
    lab.lock("a.json").release()
    wire.cut_at(1, "reply_lost")
    assert [found.held for found in lab.list_leftovers()] == [False]


def test_a_server_without_compounds_tells_the_same(lab: Store) -> None:
    backend: Any = lab._hooks._close.__self__  # type: ignore[attr-defined]
    backend._links.compounds = _link_of(lab).compounds = False
    lab.lock("b.json").release()
    with lab.lock("a.json") as held:
        found = {lock.name: (lock.held, lock.owner) for lock in lab.list_leftovers()}
    assert found == {"a.json.lock": (True, held.owner), "b.json.lock": (False, None)}


# Removing


@pytest.mark.parametrize(
    "name", ["a.json", "a.json.lock", "folder", "../a.tmp.1", "folder\\a.tmp.1", "/a.tmp.1", "dir.tmp.1", ""]
)
def test_nothing_but_a_temporary_file_is_removed(samba: SambaServer, lab: Store, name: str) -> None:
    lab.atomic_write("a.json", b"{}")
    lab.lock("a.json").release()
    for folder in ("folder", "dir.tmp.1"):
        (samba.root / folder).mkdir()
    (samba.root / "folder" / "a.tmp.1").touch()
    with pytest.raises(InvalidKey):
        lab.remove_leftover(Leftover(name=name, kind="temporary", size=0))
    assert sorted(os.listdir(samba.root)) == ["a.json", "a.json.lock", "dir.tmp.1", "folder"]
    assert (samba.root / "folder" / "a.tmp.1").exists()


def test_a_share_that_may_only_be_read_refuses_the_removal(samba: SambaServer) -> None:
    samba.add_share("fixed", samba.directory / "fixed", read_only="yes")
    path = temporary(samba.directory / "fixed", DAY)
    with open_store(samba.url(share="fixed"), password=samba.password) as store:
        (found,) = store.list_leftovers()
        with pytest.raises(AccessDenied, match="remove the temporary file"):
            store.remove_leftover(found)
    assert path.exists()


def test_a_writer_whose_file_was_swept_away_does_not_harm_the_document(samba: SambaServer, lab: Store) -> None:
    """Its rename finds nothing: it writes once more, or says that nothing was written, or that it cannot tell."""
    lab.atomic_write("a.json", b"old")
    over = threading.Event()

    def sweep() -> None:
        with open_store(samba.url(), password=samba.password) as store:
            while not over.is_set():
                for found in store.list_leftovers():
                    try:
                        store.remove_leftover(found)
                    except (DocumentNotFound, AccessDenied, BackendUnavailable):
                        continue

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    expected = b"old"
    try:
        for number in range(60):
            data, before = b"%d" % number, expected
            try:
                lab.atomic_write("a.json", data)
            except WriteOutcomeUnknown:
                expected = lab.read_snapshot("a.json").data
                assert expected in (before, data)
            except (BackendUnavailable, AccessDenied):
                pass
            else:
                expected = data
            assert lab.read_snapshot("a.json").data == expected
    finally:
        over.set()
        sweeper.join()


def _link_of(store: Store) -> Link:
    backend: Any = store._hooks._close.__self__  # type: ignore[attr-defined]
    link = backend._links.current(Deadline(4.0))
    assert isinstance(link, Link)
    link.run([messages.open_to_ask(""), messages.close()], Deadline(4.0))
    return link
