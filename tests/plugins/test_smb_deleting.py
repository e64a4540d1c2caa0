"""A document that is deleted while others have it open: it is gone when that is said, and nothing goes in its stead."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from foreign_handles import ASKING, Program, program
from shared_samba import BOTH
from waiting import eventually

from exlab_store import BackendUnavailable, DocumentNotFound, Store, StoreError, WriteOutcomeUnknown, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

PATIENCE = 20.0
BRIEF = 2.0  # half of it is for whoever has the document open


@pytest.fixture(params=BOTH)
def samba_release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(samba: SambaServer, timeout: float = PATIENCE) -> Store:
    return open_store(samba.url(user=False), timeout=timeout, **samba.options)


@pytest.fixture
def store(samba: SambaServer) -> Iterator[Store]:
    with opened(samba) as store:
        store.atomic_write("a.json", b"old")
        yield store


@pytest.fixture
def other(samba: SambaServer) -> Iterator[Program]:
    with program(samba) as other:
        yield other


def names(samba: SambaServer) -> list[str]:
    return sorted(path.name for path in samba.root.iterdir())


def test_a_deletion_waits_until_a_viewer_closes_the_document(samba: SambaServer, store: Store, other: Program) -> None:
    viewer = other.open("a.json")
    deleting = threading.Thread(target=store.delete, args=("a.json",))
    deleting.start()
    deleting.join(0.2)
    assert deleting.is_alive()
    viewer.close()
    deleting.join(PATIENCE)
    eventually(lambda: names(samba) == [])


def test_a_document_that_a_viewer_keeps_open_is_not_deleted_and_the_error_says_so(
    samba: SambaServer, store: Store, other: Program
) -> None:
    viewer = other.open("a.json")
    with opened(samba, BRIEF) as impatient, pytest.raises(BackendUnavailable, match="open for too long") as caught:
        impatient.delete("a.json")
    assert caught.value.exhausted
    viewer.close()
    assert store.read_snapshot("a.json").data == b"old"
    eventually(lambda: names(samba) == ["a.json"])


def test_a_document_that_somebody_asks_about_is_gone_at_once(samba: SambaServer, store: Store, other: Program) -> None:
    asking = other.open("a.json", ASKING)
    store.delete("a.json")
    assert not (samba.root / "a.json").exists()
    asking.close()
    eventually(lambda: names(samba) == [])


def test_what_is_written_after_a_deletion_stays_when_the_others_close_the_old_document(
    samba: SambaServer, store: Store, other: Program
) -> None:
    asking = other.open("a.json", ASKING)
    store.delete("a.json")
    store.update("a.json", lambda _: b"new")
    asking.close()
    assert (samba.root / "a.json").read_bytes() == b"new"


def test_a_deleted_document_is_not_back_when_the_server_was_killed(
    samba: SambaServer, store: Store, other: Program
) -> None:
    other.open("a.json", ASKING)
    store.delete("a.json")
    samba.kill()
    samba.start()
    with pytest.raises(DocumentNotFound):
        store.read_snapshot("a.json")
    assert list(store.list_keys()) == []


def test_readers_do_not_keep_a_document_from_being_deleted(samba: SambaServer, store: Store) -> None:
    """Own readers hold a document for an instant: no deletion that they hinder may take away the next document."""
    over = threading.Event()
    wrong: list[BaseException] = []

    def read() -> None:
        with opened(samba) as reader:
            while not over.is_set():
                try:
                    reader.read_snapshot("a.json")
                except DocumentNotFound:
                    pass
                except BaseException as error:
                    wrong.append(error)
                    raise

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    lost = 0
    try:
        until = time.monotonic() + 2
        rounds = 0
        while time.monotonic() < until or rounds < 100:
            store.delete("a.json")
            lost += (samba.root / "a.json").exists()
            store.atomic_write("a.json", b"%d" % rounds)
            lost += store.read_snapshot("a.json").data != b"%d" % rounds
            rounds += 1
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert (lost, wrong) == (0, [])
    eventually(lambda: names(samba) == ["a.json"])


def test_a_write_waits_until_a_document_that_somebody_else_has_deleted_is_gone(
    samba: SambaServer, store: Store, other: Program
) -> None:
    viewer = other.open("a.json")
    assert other.delete("a.json")
    writing = threading.Thread(target=store.atomic_write, args=("a.json", b"new"))
    writing.start()
    writing.join(0.3)
    assert writing.is_alive()
    viewer.close()
    writing.join(PATIENCE)
    assert not writing.is_alive()
    eventually(lambda: names(samba) == ["a.json"])
    assert (samba.root / "a.json").read_bytes() == b"new"


def test_a_write_under_a_lock_waits_for_that_too(samba: SambaServer, store: Store, other: Program) -> None:
    viewer = other.open("a.json")
    assert other.delete("a.json")

    def write() -> None:
        with store.lock("a.json") as held:
            store.atomic_write("a.json", b"new", lock=held)

    writing = threading.Thread(target=write)
    writing.start()
    writing.join(0.3)
    assert writing.is_alive()
    viewer.close()
    writing.join(PATIENCE)
    assert (samba.root / "a.json").read_bytes() == b"new"


def test_a_write_over_a_document_that_is_kept_from_going_is_not_acknowledged(
    samba: SambaServer, store: Store, other: Program
) -> None:
    viewer = other.open("a.json")
    assert other.delete("a.json")
    with opened(samba, BRIEF) as impatient, pytest.raises((BackendUnavailable, WriteOutcomeUnknown)):
        impatient.atomic_write("a.json", b"new")
    viewer.close()
    eventually(lambda: names(samba) == [])


def test_an_update_of_such_a_document_is_not_acknowledged_when_it_is_lost(
    samba: SambaServer, store: Store, other: Program
) -> None:
    store.update("a.json", lambda _: b"older")  # the next one may release its lock with the write
    viewer = other.open("a.json")
    assert other.delete("a.json")
    with opened(samba, BRIEF) as impatient:
        impatient.update("b.json", lambda _: b"1")
        try:
            impatient.update("a.json", lambda _: b"new")
            acknowledged = True
        except StoreError:
            acknowledged = False
    viewer.close()
    assert (samba.root / "a.json").exists() == acknowledged
