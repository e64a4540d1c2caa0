"""How the SMB backend lists folders: over the store's own connection, whatever their size and names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from exlab_store_smb.file_system import SmbFileSystem
from exlab_store_smb.session.link import Link, LinkLost
from exlab_store_smb.steps.listing import ListingBudget, list_folder
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.limits import Limits
from exlab_store_smb.wire.messages import Reply

from exlab_store import AccessDenied, BackendUnavailable, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samba_server import SambaServer
    from wire_proxy import WireProxy


pytestmark = [pytest.mark.one_interpreter, pytest.mark.one_server]


@pytest.fixture
def lab(samba: SambaServer, wire: WireProxy) -> Iterator[Store]:
    with open_store(samba.url(port=wire.port), password=samba.password, timeout=2.0, connect_timeout=1.0) as store:
        yield store


def test_a_folder_of_five_thousand_documents_is_listed_whole(samba: SambaServer, lab: Store) -> None:
    folder = samba.root / "runs"
    folder.mkdir()
    keys = [f"runs/{number:04d}-{'measurement' * (number % 9)}.json" for number in range(5000)]
    for key in keys:
        (samba.root / key).touch()
    assert lab.list_keys() == keys


def test_names_in_every_script_are_listed_as_they_are(samba: SambaServer, lab: Store) -> None:
    keys = sorted(["Prüfstand/Größe.json", "日本/測定.json", "emoji/\N{MICROSCOPE}.json", "a/" + "ü" * 120])
    for key in keys:
        lab.atomic_write(key, b"")
    assert lab.list_keys() == keys
    assert lab.list_keys("Prüfstand") == ["Prüfstand/Größe.json"]


def test_a_folder_is_listed_in_one_round_trip(lab: Store, wire: WireProxy) -> None:
    for number in range(100):
        lab.atomic_write(f"runs/{number:03d}.json", b"")
    with wire.counting() as count:
        wire.delay = 0.05  # what is sent together overlaps
        assert len(lab.list_keys("runs")) == 100
    assert count.round_trips <= 2, count.log  # one of them asks whether the store's folder is still there


def test_an_empty_folder_and_a_link_are_listed_as_nothing(samba: SambaServer, lab: Store) -> None:
    (samba.root / "empty").mkdir()
    (samba.root / "circle").symlink_to(samba.root, target_is_directory=True)
    assert [key for key in lab.list_keys() if not key.startswith("circle")] == []
    assert lab.list_keys("empty") == []


def test_a_listing_after_a_lost_connection_goes_over_a_new_one(lab: Store, wire: WireProxy) -> None:
    lab.atomic_write("a.json", b"")
    wire.cut()
    assert lab.list_keys() == ["a.json"]


def test_a_large_folder_whose_connection_is_lost_in_the_middle_is_listed_over_a_new_one(
    samba: SambaServer, lab: Store, wire: WireProxy
) -> None:
    folder = samba.root / "runs"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04d}-{'measurement' * 5}.json").touch()
    wire.cut_at(3, "reply_lost")
    assert len(lab.list_keys("runs")) == 3000
    wire.refuse()
    wire.cut()
    with pytest.raises(BackendUnavailable):
        lab.list_keys()


def test_a_server_that_falls_silent_does_not_hold_a_listing_up(lab: Store, wire: WireProxy) -> None:
    wire.black_hole()
    began = time.monotonic()
    with pytest.raises(BackendUnavailable):
        lab.list_keys()
    assert time.monotonic() - began < 5.0


def test_a_folder_that_may_not_be_read_is_refused_by_name(samba: SambaServer, needs_root: None) -> None:
    (samba.root / "a" / "private").mkdir(parents=True)
    (samba.root / "a" / "private").chmod(0o700)
    with open_store(samba.url(user=False), **samba.add_account("visitor")) as visitor:
        with pytest.raises(AccessDenied, match="list the folder") as caught:
            visitor.list_keys("a")
        assert caught.value.key == "a/private"
        assert visitor.list_keys("nothing/here") == []


# What fsspec's users see


def test_the_file_system_lists_names_kinds_sizes_and_times(samba: SambaServer, lab: Store) -> None:
    lab.atomic_write("folder/a.json", b"12345")
    file_system = SmbFileSystem("127.0.0.1", port=samba.port, username=samba.user, password=samba.password)
    with pytest.raises(RuntimeError):
        file_system.ls("/lab")
    file_system.link = _link_of(lab)
    (entry,) = file_system.ls("/lab/folder")
    assert (entry["name"], entry["type"], entry["size"]) == ("/lab/folder/a.json", "file", 5)
    assert entry["mtime"] == pytest.approx((samba.root / "folder" / "a.json").stat().st_mtime, abs=1e-3)
    assert file_system.ls("/lab", detail=False) == ["/lab/folder"]


# Answers that no good server gives


class _Forged:
    """A connection to a server that answers QUERY_DIRECTORY with these bytes."""

    limits = Limits(read=1 << 16, written=1 << 16, listed=1 << 16)

    def __init__(self, data: bytes) -> None:
        self.alive = True
        self._data = data

    def start(self, messages: list[object], deadline: Deadline) -> list[Reply]:
        body = b"\x09\x00" + (72).to_bytes(2, "little") + len(self._data).to_bytes(4, "little") + self._data
        return [Reply(0, bytes(88)), Reply(0, body), Reply(0x80000006, b"")][: len(messages)]

    def wait(self, request: Reply, deadline: Deadline) -> Reply:
        return request

    def forget(self, requests: object) -> None:
        """There is nothing to come."""

    def end(self) -> None:
        self.alive = False


def entry(name: str, *, following: int = 0, length: int | None = None) -> bytes:
    text = name.encode("utf-16-le")
    fixed = following.to_bytes(4, "little") + bytes(56) + (length or len(text)).to_bytes(4, "little") + bytes(4)
    return fixed + text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(20), id="half an entry"),
        pytest.param(entry("", length=400), id="a name that is not there"),
        pytest.param(entry("", following=1), id="the next entry inside of this one"),
        pytest.param(entry("a" * 100, following=68) + entry("b"), id="a name that reaches into the next entry"),
        pytest.param(entry("a", following=400), id="the next entry is not there"),
        pytest.param(entry("a", following=65600).ljust(65600, b"\0") + entry("b"), id="more than was asked for"),
        pytest.param(entry("a", length=1), id="half a character"),
    ],
)
def test_a_list_that_makes_no_sense_ends_the_connection(data: bytes) -> None:
    link = _Forged(data)
    with pytest.raises(LinkLost, match="makes no sense"):
        list_folder(link, "", ListingBudget(Deadline(1)))  # type: ignore[arg-type]
    assert not link.alive


def test_a_list_of_more_than_the_memory_is_worth_is_given_up() -> None:
    link = _Forged(entry("a" * 100))
    with pytest.raises(BackendUnavailable, match="does not come to an end"):
        list_folder(link, "", ListingBudget(Deadline(1), most=200))  # type: ignore[arg-type]


def _link_of(store: Store) -> Link:
    backend = store._hooks._close.__self__  # type: ignore[attr-defined]
    link = backend._file_system.link
    if link is None:
        store.list_keys()
        link = backend._file_system.link
    assert isinstance(link, Link)
    return link
