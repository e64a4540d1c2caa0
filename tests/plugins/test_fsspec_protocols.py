"""Locations of fsspec's protocols: how they are found, why they are refused, and what is read over some of them."""

from __future__ import annotations

import http.server
import socket
import threading
import zipfile
from functools import partial
from typing import TYPE_CHECKING

import pytest
from exlab_store_fsspec import FsspecOptions

from exlab_store import (
    ABSENT,
    BackendUnavailable,
    DocumentNotFound,
    Location,
    LocationError,
    NotSupported,
    Secret,
    Store,
    UnknownScheme,
    open_store,
)
from exlab_store.opening import offers, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSWORD = "secret-4711-Weiß"


# The scheme


def test_a_family_of_schemes_is_served_by_its_entry_point() -> None:
    with open_store("fsspec+memory://here", create=True) as store:
        assert str(store.location) == "fsspec+memory://here"


def test_a_scheme_of_its_own_comes_before_the_family(monkeypatch: pytest.MonkeyPatch) -> None:
    own = offers.Offer("fsspec+toy", "toy:open_backend", "exlab_store.backends", "toy", "1")
    family = offers.Offer("fsspec+*", "exlab_store_fsspec:open_backend", "exlab_store.backends", "exlab-store", "1")
    assert registry._serving("fsspec+toy", [family, own]) == [own]
    assert registry._serving("fsspec+webdav", [family, own]) == [family]
    assert registry._serving("fsspec", [family, own]) == []
    assert registry._serving("other+webdav", [family, own]) == []


@pytest.mark.parametrize(("scheme", "written"), [("webdav", "webdav"), ("davs", "webdav"), ("http", "http")])
def test_a_protocol_without_the_family_is_told_how_to_be_written(scheme: str, written: str) -> None:
    with pytest.raises(UnknownScheme, match=rf"Write fsspec\+{written}://"):
        open_store(f"{scheme}://server/folder")


# What cannot be opened


def test_a_protocol_whose_package_is_missing_names_the_package() -> None:
    with pytest.raises(UnknownScheme, match="pip install gcsfs"):
        open_store("fsspec+gcs://bucket/folder")


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(UnknownScheme, match=r"fsspec has no protocol 'webdaw'. Is it 'webdav'\?"):
        open_store("fsspec+webdaw://server/folder")


@pytest.mark.parametrize("name", ["filecache", "simplecache", "blockcache", "cached"])
def test_a_protocol_that_keeps_copies_is_refused(name: str) -> None:
    with pytest.raises(LocationError, match="a read would be of an older one"):
        open_store(f"fsspec+{name}:///data")


def test_a_folder_that_is_missing_is_refused_unless_it_may_be_made(tmp_path: Path) -> None:
    location = f"fsspec+file://{tmp_path}/new"
    with pytest.raises(LocationError, match="there is no such folder"):
        open_store(location)
    with open_store(location, create=True) as store:
        store.atomic_write("a/b.json", b"1")
    assert (tmp_path / "new" / "a" / "b.json").read_bytes() == b"1"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocationError, match="names a file"):
        open_store(f"fsspec+file://{tmp_path}/file")


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        ("fsspec+memory://x", {"tiemout": 3}, "no option 'tiemout'"),
        ("fsspec+memory://x", {"timeout": 0}, "positive number of seconds"),
        ("fsspec+memory://x", {"timeout": "3"}, "timeout has another type"),
        ("fsspec+memory://x", {"storage_options": "token"}, "must be a table"),
        (
            "fsspec+webdav://server/x",
            {"storage_options": {"nothing_like_it": 1}},
            "do not fit fsspec's WebdavFileSystem",
        ),
        ("fsspec+webdav:///x", {}, "names a server"),
        ("fsspec+zip:///data/folder", {}, "names no zip archive"),
        ("fsspec+webdav://me@server/x", {"password": 4711}, "password is not text"),
        ("fsspec+http://me@server/x", {"password": "two"}, "takes no account"),
        ("fsspec+webdav://me:one@server/x", {"password": "two"}, "password is in the URL and among the options"),
    ],
)
def test_what_is_wrong_with_a_location_is_said(location: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(LocationError, match=message):
        open_store(location, create=True, **options)


def test_a_password_that_is_hidden_already_is_used() -> None:
    location = Location.parse("fsspec+webdav://me@server/x")
    assert FsspecOptions.of(location, {"password": Secret(PASSWORD)}).password == Secret(PASSWORD)


def test_no_option_of_fsspec_is_shown() -> None:
    options = {"token": PASSWORD, "inner": {"deep": [PASSWORD]}, "base_url": 7}
    with pytest.raises(LocationError) as caught:
        open_store("fsspec+webdav://me@server/x", password=PASSWORD, storage_options=options)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert PASSWORD not in f"{chain} {chain!r}"
        chain = chain.__cause__ or chain.__context__


# What is not claimed


@pytest.fixture
def memory_of_fsspec() -> Iterator[Store]:
    with open_store("fsspec+memory://unclaimed", create=True) as store:
        yield store
        for key in store.list_keys():
            store.delete(key)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.lock("a"), id="lock"),
        pytest.param(lambda store: store.update("a", lambda _: b"1"), id="update"),
        pytest.param(lambda store: store.atomic_write("a", b"1", expect=ABSENT), id="expect"),
    ],
)
def test_what_fsspec_cannot_do_is_refused_with_what_would_give_it(
    memory_of_fsspec: Store, call: Callable[[Store], object]
) -> None:
    with pytest.raises(NotSupported, match=r"in fsspec.*; memory: serves the same storage, and gives more"):
        call(memory_of_fsspec)
    assert memory_of_fsspec.list_keys() == []


def test_a_folder_is_not_deleted_as_nobody_knows_what_else_is_in_it(memory_of_fsspec: Store) -> None:
    memory_of_fsspec.atomic_write("a/b", b"1")
    with pytest.raises(NotSupported):
        memory_of_fsspec.delete_folder("a")
    assert memory_of_fsspec.list_keys() == ["a/b"]


def test_ignored_names_are_left_out_of_lists(memory_of_fsspec: Store) -> None:
    for key in ("a.json", "#recycle/b.json", "c/._c.json"):
        memory_of_fsspec.atomic_write(key, b"1")
    assert memory_of_fsspec.list_keys() == ["a.json"]
    assert [item.key for item in memory_of_fsspec.list_folder()] == ["a.json", "c"]
    for key in ("#recycle/b.json", "c/._c.json"):
        memory_of_fsspec.delete(key)


# ZIP


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "lab.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.json", b"1")
        made.writestr("CONFOCAL_01/equipment.json", b"22")
    return path


def test_an_archive_is_read_and_listed(archive: Path) -> None:
    with open_store(f"fsspec+zip://{archive}") as store:
        assert store.list_keys() == ["CONFOCAL_01/equipment.json", "a.json"]
        assert store.read_snapshot("CONFOCAL_01/equipment.json").data == b"22"
        assert store.stat("a.json").size == 1
        with pytest.raises(DocumentNotFound):
            store.read_snapshot("b.json")


def test_a_folder_in_an_archive_is_a_store(archive: Path) -> None:
    with open_store(f"fsspec+zip://{archive}/CONFOCAL_01") as store:
        assert store.list_keys() == ["equipment.json"]
        assert store.read_snapshot("equipment.json").data == b"22"


def test_an_archive_that_was_replaced_is_read_anew(archive: Path) -> None:
    with open_store(f"fsspec+zip://{archive}") as store:
        assert store.read_snapshot("a.json").data == b"1"
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("a.json", b"new")
        assert store.read_snapshot("a.json").data == b"new"
        assert store.list_keys() == ["a.json"]


def test_an_archive_is_not_written(archive: Path) -> None:
    before = archive.read_bytes()
    with open_store(f"fsspec+zip://{archive}") as store:
        assert not store.guarantees.deletes
        for call in (lambda: store.atomic_write("a.json", b"2"), lambda: store.delete("a.json")):
            with pytest.raises(NotSupported):
                call()
    assert archive.read_bytes() == before


def test_an_archive_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="there is no such file"):
        open_store(f"fsspec+zip://{tmp_path}/no.zip")


# HTTP


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A server that gives files away, and nothing else."""
    pytest.importorskip("aiohttp")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"fsspec+http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_documents_of_a_web_server_are_read(web: str, tmp_path: Path) -> None:
    names = ["a.json", "folder/50%25 #1 Größe.json", "empty"]
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 70_000 if name != "empty" else b"")
    with open_store(web) as store:
        for name in names:
            assert store.read_snapshot(name).data == (tmp_path / name).read_bytes()
        with pytest.raises(DocumentNotFound):
            store.read_snapshot("missing.json")
        (tmp_path / "a.json").write_bytes(b"new")
        assert store.read_snapshot("a.json").data == b"new"


@pytest.mark.parametrize("ask", [Store.read_snapshot, Store.stat], ids=["read", "stat"])
def test_a_web_server_that_is_away_is_not_one_without_the_document(ask: Callable[[Store, str], object]) -> None:
    pytest.importorskip("aiohttp")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        away = f"fsspec+http://127.0.0.1:{closed.getsockname()[1]}"
        with open_store(away, retry=None) as store, pytest.raises(BackendUnavailable, match="cannot be reached"):
            ask(store, "a.json")


@pytest.mark.parametrize("ask", [Store.read_snapshot, Store.stat], ids=["read", "stat"])
def test_a_document_that_a_web_server_has_not_is_not_found(web: str, ask: Callable[[Store, str], object]) -> None:
    with open_store(web) as store, pytest.raises(DocumentNotFound):
        ask(store, "missing.json")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.atomic_write("a.json", b"2"), id="write"),
        pytest.param(lambda store: store.delete("a.json"), id="delete"),
        pytest.param(lambda store: store.list_keys(), id="list"),
        pytest.param(lambda store: store.lock("a.json"), id="lock"),
    ],
)
def test_a_web_server_is_for_reading_only(web: str, tmp_path: Path, call: Callable[[Store], object]) -> None:
    (tmp_path / "a.json").write_bytes(b"1")
    with open_store(web) as store, pytest.raises(NotSupported):
        call(store)
    assert (tmp_path / "a.json").read_bytes() == b"1"
