"""A document that somebody has open while it is replaced.

Windows, and Samba 4.22 and later, refuse to replace a file that anybody has open. Samba before that refuses it only
while the same client has it open: a handle on the backend's own connection stands for the reader here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb import SmbBackend
from exlab_store_smb.file_system import SmbFileSystem
from exlab_store_smb.session.link import Link
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.messages import close, file_id_of, open_to_read
from waiting import eventually

from exlab_store import AccessDenied, BackendUnavailable, Store, open_store, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from samba_server import SambaServer

pytestmark = pytest.mark.one_interpreter

SOON = 20.0


@pytest.fixture
def backend(samba: SambaServer) -> SmbBackend:
    file_system = SmbFileSystem(
        "127.0.0.1", port=samba.port, username=samba.user, password=samba.password, timeout=SOON
    )
    return SmbBackend(file_system, samba.share, "")


@pytest.fixture
def store(backend: SmbBackend) -> Iterator[Store]:
    with open_store(backend=backend) as store:
        store.atomic_write("a.json", b"old")
        yield store


@pytest.fixture
def hold_open(backend: SmbBackend) -> Callable[[], Callable[[], None]]:
    """Opens the document on the backend's own connection; returns what closes it."""

    def held() -> Callable[[], None]:
        link = backend._links.current(Deadline(SOON))
        (opened,) = link.run([open_to_read("a.json")], Deadline(SOON))
        assert opened.ok
        return lambda: (link.run([close(file_id_of(opened))], Deadline(SOON)), None)[1]

    return held


def test_a_handle_of_the_same_client_makes_the_server_refuse_to_replace(
    backend: SmbBackend, store: Store, hold_open: Callable[[], Callable[[], None]]
) -> None:
    let_go = hold_open()
    link = backend._links.current(Deadline(SOON))
    compound = [messages.create_document("b.tmp"), messages.rename("a.json"), messages.close()]
    renamed = link.run(compound, Deadline(SOON))[1]
    let_go()
    assert renamed.status == 0xC0000022  # ACCESS_DENIED: what these tests rest on


def test_a_write_waits_until_the_document_is_closed(
    samba: SambaServer, store: Store, hold_open: Callable[[], Callable[[], None]]
) -> None:
    let_go = hold_open()
    writing = threading.Thread(target=store.atomic_write, args=("a.json", b"new"))
    writing.start()
    writing.join(0.2)
    assert writing.is_alive()
    assert (samba.root / "a.json").read_bytes() == b"old"
    let_go()
    writing.join(SOON)
    assert (samba.root / "a.json").read_bytes() == b"new"


def test_a_write_that_waited_leaves_no_temporary_file(
    samba: SambaServer, store: Store, hold_open: Callable[[], Callable[[], None]]
) -> None:
    let_go = hold_open()
    writing = threading.Thread(target=store.atomic_write, args=("a.json", b"new"))
    writing.start()
    writing.join(0.2)
    let_go()
    writing.join(SOON)
    assert [path.name for path in samba.root.iterdir()] == ["a.json"]


@pytest.fixture
def impatient(samba: SambaServer) -> Iterator[tuple[SmbBackend, Store]]:
    file_system = SmbFileSystem("127.0.0.1", port=samba.port, username=samba.user, password=samba.password, timeout=1.0)
    backend = SmbBackend(file_system, samba.share, "")
    with open_store(backend=backend) as store:
        store.atomic_write("a.json", b"old")
        yield backend, store


def test_a_document_that_stays_open_ends_the_write_at_its_deadline(
    samba: SambaServer, impatient: tuple[SmbBackend, Store]
) -> None:
    backend, store = impatient
    backend._links.current(Deadline(SOON)).run([open_to_read("a.json")], Deadline(SOON))
    with pytest.raises(BackendUnavailable, match="open for too long") as caught:
        store.atomic_write("a.json", b"new")
    assert caught.value.exhausted
    assert [path.name for path in samba.root.iterdir()] == ["a.json"]
    assert (samba.root / "a.json").read_bytes() == b"old"


@pytest.mark.usefixtures("needs_root")
def test_a_refusal_is_told_apart_and_comes_at_once(samba: SambaServer) -> None:
    # In a sticky folder only the owner may replace a file: the server answers as it does for a file in use.
    folder = samba.root / "sticky"
    folder.mkdir()
    folder.chmod(0o1777)
    (folder / "a.json").write_bytes(b"old")
    (folder / "a.json").chmod(0o644)
    options = samba.add_account("technician")
    with open_store(samba.url("sticky", user=False), timeout=SOON, **options) as store:
        began = threading.Event()
        done: list[Exception] = []

        def write() -> None:
            began.set()
            try:
                store.atomic_write("a.json", b"new")
            except AccessDenied as error:
                done.append(error)

        writing = threading.Thread(target=write)
        writing.start()
        began.wait()
        writing.join(SOON / 4)
        assert done
    assert [path.name for path in folder.iterdir()] == ["a.json"]


# An update whose compound releases the lock, and whose rename is refused


def once_refused(backend: SmbBackend, then: Callable[[], None]) -> threading.Thread:
    """Does something when the server has refused a write whose lock it has released."""

    def wait() -> None:
        eventually(lambda: not backend._links.chains.may_release)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def add_one(current: bytes | None) -> bytes:
    return str(int(current or b"0") + 1).encode()


def test_an_update_that_is_refused_when_its_lock_is_gone_takes_the_lock_again(
    samba: SambaServer, backend: SmbBackend, store: Store, hold_open: Callable[[], Callable[[], None]]
) -> None:
    store.atomic_write("a.json", b"1")
    store.update("a.json", add_one)
    assert backend._links.chains.may_release
    let_go = hold_open()
    calls: list[bytes | None] = []

    def change(current: bytes | None) -> bytes:
        calls.append(current)
        return add_one(current)

    closing = once_refused(backend, let_go)
    store.update("a.json", change)
    closing.join()
    assert (samba.root / "a.json").read_bytes() == b"3"
    assert calls == [b"2"], "the document had not changed meanwhile"
    assert not backend._links.chains.may_release, "such a server refuses again and again"
    assert [path.name for path in samba.root.glob("*.tmp.*")] == []
    store.lock("a.json", timeout=SOON).release()


def test_an_update_that_is_refused_without_its_lock_counts_what_others_have_counted_since(
    samba: SambaServer, backend: SmbBackend, store: Store, hold_open: Callable[[], Callable[[], None]]
) -> None:
    store.atomic_write("a.json", b"1")
    store.update("a.json", add_one)
    let_go = hold_open()
    waits = threading.Event()

    def looked() -> bool:  # asked while it waits
        waits.set()
        return False

    with open_store(samba.url(), password=samba.password) as other:

        def count() -> None:
            # It waits for the lock below, and gets it when the server has released that with the refusal.
            with other.lock("a.json", timeout=SOON, cancelled=looked) as held:
                other.atomic_write("a.json", add_one(other.read_snapshot("a.json").data), lock=held)

        def change(current: bytes | None) -> bytes:
            if current == b"2":
                others.start()
                assert waits.wait(SOON)
            return add_one(current)

        others = threading.Thread(target=count, daemon=True)

        def close_at_last() -> None:
            others.join(SOON / 8)  # not for ever: the store may have its lock again before the one who waits
            let_go()

        closing = once_refused(backend, close_at_last)
        store.update("a.json", change)
        others.join(SOON)
        closing.join()
    assert (samba.root / "a.json").read_bytes() == b"4"


def test_an_account_that_may_not_replace_the_document_is_told_so_by_an_update(
    samba: SambaServer, store: Store, needs_root: None
) -> None:
    store.update("a.json", lambda _: b"1")
    other = samba.add_account("other")
    samba.root.chmod(0o1777)
    (samba.root / "a.json.lock").chmod(0o666)
    with open_store(samba.url(user=False), **other) as stranger:
        stranger.update("b.json", add_one)
        with pytest.raises(AccessDenied):
            stranger.update("a.json", lambda _: b"2")
        stranger.update("b.json", add_one)
    assert (samba.root / "a.json").read_bytes() == b"1"
    store.lock("a.json", timeout=SOON).release()


# A server that carries out the chains of a compound in another order, or not at all


def test_a_server_that_was_not_seen_to_keep_the_order_never_releases_the_lock_with_the_write(
    backend: SmbBackend, store: Store
) -> None:
    backend._links.chains.in_order = False
    store.atomic_write("a.json", b"1")
    for _ in range(3):
        store.update("a.json", add_one)
    assert store.read_snapshot("a.json").data == b"4"
    assert backend._links.chains.in_order is False


def test_a_server_that_refuses_chains_is_asked_without_them(
    backend: SmbBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, refused = Link.start, 0

    def start(link: Link, requests: Sequence[messages.SmbRequest], deadline: Deadline, **how: bool) -> list[object]:
        nonlocal refused
        if any(request.anew for request in requests[1:]):  # [MS-SMB2 3.3.5.2.7]
            refused += 1
            return [messages.Reply(0xC000000D, b"") for _ in requests]
        return send(link, requests, deadline, **how)

    monkeypatch.setattr(Link, "start", start)
    store.atomic_write("a.json", b"1")
    for _ in range(3):
        store.update("a.json", add_one)
    store.atomic_write("a.json", b"9", expect=version_of(b"4"))
    assert store.read_snapshot("a.json").data == b"9"
    assert refused == 1
    assert backend._links.chains.refused


def test_a_read_that_may_have_come_before_the_lock_does_not_count(
    samba: SambaServer, backend: SmbBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Link.start

    def start(link: Link, requests: Sequence[messages.SmbRequest], deadline: Deadline, **how: bool) -> list[object]:
        """A server that carries out the last chain of a compound first, and is overtaken by another writer."""
        chains = [number for number, request in enumerate(requests) if request.anew and number]
        if not chains:
            return send(link, requests, deadline, **how)
        last = send(link, requests[chains[-1] :], deadline, **how)
        last = [link.wait(request, deadline) for request in last]
        (samba.root / "a.json").write_bytes(b"5")
        return [*[link.wait(each, deadline) for each in send(link, requests[: chains[-1]], deadline, **how)], *last]

    store.atomic_write("a.json", b"1")
    monkeypatch.setattr(Link, "start", start)
    store.update("a.json", add_one)
    assert (samba.root / "a.json").read_bytes() == b"6"
    assert not backend._links.chains.may_release
