"""What the kit cannot know: URLs, the file itself, and what SQLite reports."""

from __future__ import annotations

import os
import resource
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from exlab_store_sqlite import open_backend
from exlab_store_sqlite.faults import translated

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    Location,
    LocationError,
    LockAlreadyHeld,
    LockLost,
    StorageFull,
    Store,
    WriteOutcomeUnknown,
    as_document,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that does not exist yet, in folders that do not either."""
    return f"sqlite://{tmp_path}/data/lab.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A database with one document."""
    with open_store(url, create=True, retry=None) as store:
        store.atomic_write("a/b.json", b"1")
        yield store


def test_a_missing_database_is_not_opened(url: str) -> None:
    with pytest.raises(LocationError, match="no such database file"):
        open_store(url)


def test_with_create_the_first_write_makes_the_database_and_reading_does_not(url: str, tmp_path: Path) -> None:
    with open_store(url, create=True) as store:
        assert store.list_keys() == []
        with pytest.raises(DocumentNotFound):
            store.read_snapshot("a")
        assert list(tmp_path.iterdir()) == []
        store.atomic_write("a", b"1")
    assert (tmp_path / "data" / "lab.db").is_file()


def test_the_first_write_synchronises_every_folder_above_the_database(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised: set[int] = set()
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        synchronised.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    with open_store(url, create=True) as store:
        store.atomic_write("a", b"1")
        assert {(tmp_path / "data").stat().st_ino, tmp_path.stat().st_ino} <= synchronised
        synchronised.clear()
        store.atomic_write("a", b"2")
        assert not synchronised


def test_what_follows_the_file_is_a_folder_of_documents(store: Store, url: str) -> None:
    with open_store(f"{url}/a") as folder:
        assert folder.list_keys() == ["b.json"]
        assert folder.read_snapshot("b.json").data == b"1"
        with store.lock("a/b.json"), pytest.raises(LockAlreadyHeld):
            folder.lock("b.json")


def test_a_document_can_be_named_by_its_url(url: str) -> None:
    document = as_document(f"{url}/folder/doc.json")
    document.atomic_write(b"{}")
    with open_store(url) as store:
        assert store.list_keys() == ["folder/doc.json"]
    document.store.close()


def test_the_database_is_the_file_in_the_path_whatever_its_name(store: Store, tmp_path: Path) -> None:
    store.close()
    (tmp_path / "data").rename(tmp_path / "old.db")
    (tmp_path / "old.db" / "lab.db").rename(tmp_path / "old.db" / "lab")
    with open_store(f"sqlite://{tmp_path}/old.db/lab/a/x.db", create=True) as folder:
        folder.atomic_write("new", b"2")
    with open_store(f"sqlite://{tmp_path}/old.db/lab") as store:
        assert store.list_keys() == ["a/b.json", "a/x.db/new"]


@pytest.mark.parametrize(
    ("location", "options", "reason"),
    [
        ("sqlite://lab.db", {}, "names no server"),
        ("sqlite://user@/data/lab.db", {}, "names no server"),
        ("sqlite:///nowhere/lab", {}, "no part of the path"),
        ("sqlite:///nowhere/lab.db/../x", {}, "not a valid folder"),
        ("sqlite:///nowhere/lab.db", {"timeout": 3}, "no option 'timeout'"),
    ],
)
def test_a_location_that_makes_no_sense_is_refused(location: str, options: dict[str, object], reason: str) -> None:
    with pytest.raises(LocationError, match=reason):
        open_store(location, create=True, **options)


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = file.read_bytes()
    with pytest.raises(LocationError, match="another program"):
        open_store(f"sqlite://{file}")
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.db").write_text("no database, but more than the hundred bytes of its header" * 10)
    with pytest.raises(LocationError, match="not an SQLite database"):
        open_store(f"sqlite://{tmp_path}/lab.db")


def test_a_full_database_is_storage_full_and_the_document_is_as_it_was(store: Store, url: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))
    try:
        # SQLite calls a limit of the account an I/O error, and cannot know how far the log was written.
        with pytest.raises((StorageFull, BackendUnavailable, WriteOutcomeUnknown)):
            store.atomic_write("a/b.json", bytes(4 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert store.read_snapshot("a/b.json").data == b"1"
    store.atomic_write("a/b.json", b"2")
    with open_store(url) as other:
        assert other.read_snapshot("a/b.json").data == b"2"


@pytest.mark.usefixtures("store")
def test_a_database_that_is_kept_busy_is_unavailable(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exlab_store_sqlite.database._PATIENCE", 0.1)
    with closing(sqlite3.connect(tmp_path / "data" / "lab.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with open_store(url, retry=None) as waiting:
            assert waiting.read_snapshot("a/b.json").data == b"1"
            with pytest.raises(BackendUnavailable, match="locked"):
                waiting.atomic_write("a/b.json", b"2")


@pytest.mark.usefixtures("store")
def test_a_file_that_may_only_be_read_denies_the_write(tmp_path: Path) -> None:
    # Not through a store: nothing is read-only to the account that usually runs tests in a container.
    path = tmp_path / "data" / "lab.db"
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    with closing(connection), pytest.raises(sqlite3.OperationalError) as refused:
        connection.execute("DELETE FROM document")
    error = translated(refused.value, "write the document", str(path))
    assert isinstance(error, AccessDenied)
    assert "write the document" in str(error)


def test_a_damaged_database_says_so(store: Store, url: str, tmp_path: Path) -> None:
    store.atomic_write("big", bytes(100_000))
    store.close()
    file = tmp_path / "data" / "lab.db"
    data = file.read_bytes()
    with open_store(url, retry=None) as damaged:
        file.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
        with pytest.raises(BackendUnavailable, match="malformed"):
            damaged.read_snapshot("big")


def test_a_database_that_was_deleted_is_gone_and_comes_back_when_it_is_restored(store: Store, url: str) -> None:
    store.close()
    with open_store(url, retry=None) as open_all_the_time:
        path = url.removeprefix("sqlite://")
        os.rename(path, f"{path}.backup")
        with pytest.raises(BackendUnavailable, match="gone"):
            open_all_the_time.atomic_write("a/b.json", b"lost")
        with pytest.raises(BackendUnavailable, match="gone"):
            open_all_the_time.lock("a/b.json", timeout=0)
        os.rename(f"{path}.backup", path)
        assert open_all_the_time.read_snapshot("a/b.json").data == b"1"


def test_a_deleted_lock_file_fences_off_the_first_holder(store: Store, url: str, tmp_path: Path) -> None:
    with closing(open_backend(Location.parse(url), {})) as other, store.lock("a/b.json") as first:
        for file in (tmp_path / "data" / "lab.db-locks").iterdir():
            file.unlink()
        with other.lock("a/b.json", first.owner, 0, lambda: False):
            with pytest.raises(LockLost):
                store.atomic_write("a/b.json", b"late", lock=first)
            with pytest.raises(LockLost):
                first.ensure_held()
    assert store.read_snapshot("a/b.json").data == b"1"


def test_the_log_does_not_grow_for_ever(store: Store, tmp_path: Path) -> None:
    for number in range(60):
        store.atomic_write("a/b.json", bytes([number]) * 300_000)
    assert (tmp_path / "data" / "lab.db-wal").stat().st_size < 6 << 20
    assert store.read_snapshot("a/b.json").data == bytes([59]) * 300_000


def test_a_closed_store_leaves_the_database_the_locks_and_nothing_else(store: Store, tmp_path: Path) -> None:
    with store.lock("a/b.json"):
        pass
    store.close()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lab.db", "lab.db-locks"]
    (lock,) = (tmp_path / "data" / "lab.db-locks").iterdir()
    assert lock.stat().st_size == 0
