"""A document that somebody has open while it is replaced.

Windows, and Samba 4.22 and later, refuse to replace a file that anybody has open. Samba before that refuses it only
while the same client has it open: a handle on the backend's own connection stands for the reader here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb import SmbBackend, messages
from exlab_store_smb.deadline import Deadline
from exlab_store_smb.file_system import SmbFileSystem
from exlab_store_smb.messages import close, file_id_of, open_to_read

from exlab_store import AccessDenied, BackendUnavailable, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from samba_server import SambaServer

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
