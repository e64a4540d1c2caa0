"""Looking at what is stored, through the store, its paths and its coroutines, with and without the hooks for it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory
from exlab_store_posix import PosixBackend

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    DocumentNotFound,
    FolderItem,
    InvalidKey,
    KeyPattern,
    NotSupported,
    PluginError,
    Retry,
    Stat,
    Store,
    hookimpl,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = ["a.json", "runs/1/creation.json", "runs/1/pictures/1.tif", "runs/2/creation.json", "runs/notes"]


@pytest.fixture(params=["posix", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    opened = open_store(tmp_path if request.param == "posix" else "memory://")
    for key in KEYS:
        opened.atomic_write(key, key.encode())
    return opened


def test_a_path_answers_as_pathlib_does(store: Store, tmp_path: Path) -> None:
    for key in KEYS:
        (tmp_path / "same" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / key).write_bytes(key.encode())
    same = tmp_path / "same"
    for key in ["a.json", "runs", "runs/1", "runs/1/creation.json", "nothing", "a.json/deeper", "runs/3/creation.json"]:
        path, known = store / key, same / key
        assert (path.exists(), path.is_file(), path.is_dir()) == (known.exists(), known.is_file(), known.is_dir())
        if known.is_file():
            assert path.stat().size == known.stat().st_size
    for folder in ["runs", "runs/1", "runs/1/pictures"]:
        assert [path.name for path in (store / folder).iterdir()] == sorted(os.listdir(same / folder))
        for pattern in ["*", "creation.json", "**/*.json", "pictures/*", "?", "[!1]", "nothing/*"]:
            for way in ("glob", "rglob"):
                found = [path.relative_to(folder).as_posix() for path in getattr(store / folder, way)(pattern)]
                known_paths = getattr(same / folder, way)(pattern)
                assert sorted(found) == sorted({each.relative_to(same / folder).as_posix() for each in known_paths})


def test_a_folder_that_is_not_there_and_a_document_cannot_be_iterated(store: Store) -> None:
    with pytest.raises(DocumentNotFound) as missing:
        (store / "nothing").iterdir()
    assert missing.value.key == "nothing"
    with pytest.raises(InvalidKey, match="names a document"):
        (store / "a.json").iterdir()


def test_the_store_itself_is_a_folder_that_is_there(store: Store) -> None:
    assert store.root.exists()
    assert store.root.is_dir()
    assert not store.root.is_file()
    assert [path.key for path in store.root.iterdir()][:1] == ["a.json"]
    assert [path.key for path in store.root.rglob("creation.json")] == ["runs/1/creation.json", "runs/2/creation.json"]
    with pytest.raises(InvalidKey):
        store.stat("")


def test_coroutines_look_as_the_store_does(store: Store) -> None:
    async def look() -> None:
        aio = store.aio
        assert await aio.stat("a.json") == store.stat("a.json")
        assert await aio.exists("a.json")
        assert not await (aio / "nothing").exists()
        assert await (aio / "runs").is_dir()
        assert await (aio / "a.json").is_file()
        assert [entry async for entry in aio.list_folder("runs", stat=True)] == [*store.list_folder("runs", stat=True)]
        assert await aio.list_keys("runs", pattern="*/creation.json") == [
            "runs/1/creation.json",
            "runs/2/creation.json",
        ]
        assert [path.key async for path in (aio / "runs").iterdir()] == ["runs/1", "runs/2", "runs/notes"]
        assert [path.key async for path in aio.root.rglob("*.tif")] == ["runs/1/pictures/1.tif"]
        for key, expected in {"nothing": DocumentNotFound, "a.json": InvalidKey}.items():
            with pytest.raises(expected):
                [path async for path in (aio / key).iterdir()]
        with pytest.raises(InvalidKey):
            [entry async for entry in aio.list_folder("..")]

    anyio.run(look)


@pytest.mark.parametrize("pattern", ["", "/a", "a//b", "../a", "a/.", "**.json", "a/b**"])
def test_a_pattern_that_no_key_fits_is_refused(store: Store, pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        store.list_keys(pattern=pattern)


class Poor(MemoryBackend):
    """Reads, writes and lists, and has no hook to look with."""

    stat_document = None  # type: ignore[assignment]


def poor() -> Store:
    return open_store(backend=Poor(Memory()))


def test_without_the_hooks_a_document_is_read_and_a_folder_is_what_has_documents_below_it() -> None:
    store = poor()
    version = store.atomic_write("runs/1/a.json", b"123")
    assert (store.stat("runs/1/a.json").size, store.stat("runs/1/a.json").version) == (3, version)
    assert store.stat("runs") == Stat(0, kind="folder")
    assert not store.exists("nothing")
    (entry,) = store.list_folder("runs/1", stat=True)
    assert (entry.key, entry.kind, entry.size) == ("runs/1/a.json", "document", 3)
    assert [*store.list_folder()] == [FolderItem("runs", "folder")]


def test_what_is_not_claimed_is_not_supported() -> None:
    class Unlisted(MemoryBackend):
        guarantees = msgspec.structs.replace(MemoryBackend.guarantees, lists=False, watch="none")

        @hookimpl
        def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
            return [FolderItem("a.json")]

    store = open_store(backend=Unlisted(Memory()))
    store.atomic_write("a.json", b"1")
    assert store.exists("a.json")
    for look in (
        lambda: store.list_folder(),
        lambda: store.list_matching("", "*"),
        lambda: store.list_keys(pattern="*"),
        lambda: store.root.iterdir(),
    ):
        with pytest.raises(NotSupported):
            look()


class Flaky(MemoryBackend):
    """Fails once before the first entry, or after it."""

    def __init__(self, at: int) -> None:
        super().__init__(Memory())
        self.at = at
        self.calls = 0

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> Iterator[FolderItem]:
        self.calls += 1
        for number in range(3):
            if number == self.at and self.calls == 1:
                raise BackendUnavailable("the connection was lost")
            yield FolderItem(f"{number}")


def test_a_listing_is_repeated_before_its_first_entry_and_not_after_it() -> None:
    retry = Retry(wait=0.001)
    before, after = Flaky(0), Flaky(2)
    assert len([*open_store(backend=before, retry=retry).list_folder()]) == 3
    with pytest.raises(BackendUnavailable):
        [*open_store(backend=after, retry=retry).list_folder()]
    assert (before.calls, after.calls) == (2, 1)


def test_an_error_after_the_first_entry_names_the_folder() -> None:
    with pytest.raises(BackendUnavailable) as failed:
        [*open_store(backend=Flaky(1)).list_folder("runs")]
    assert failed.value.key == "runs"


@pytest.mark.parametrize("result", [None, ["a.json"], [FolderItem("a"), None], 1])
def test_a_listing_of_something_else_is_a_fault_of_the_plugin(result: object) -> None:
    class Wrong(MemoryBackend):
        @hookimpl
        def list_folder(self, key: str, stat: bool) -> Any:
            return result

        @hookimpl
        def list_matching(self, prefix: str, pattern: KeyPattern) -> Any:
            return result

        @hookimpl
        def stat_document(self, key: str) -> Any:
            return result

    store = open_store(backend=Wrong(Memory()))
    for look in (lambda: [*store.list_folder()], lambda: store.list_matching("", "*"), lambda: store.stat("a")):
        with pytest.raises(PluginError):
            look()


# Files and what else stands in directories


@pytest.fixture
def lab(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def test_what_is_no_document_is_not_shown_in_a_folder(lab: Store, tmp_path: Path) -> None:
    lab.atomic_write("a.json", b"1")
    for name in ["b.json.lock", "c.json.tmp.1", "no:key", "con", "._a.json", "~$x.tmp.", "\udcff"]:
        with open(os.fsencode(tmp_path) + b"/" + os.fsencode(name), "wb"):
            pass
    for name in [".snapshot", "@eaDir", "x.lock", "no:folder"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "creation.json").touch()
    os.mkfifo(tmp_path / "pipe")
    for pattern in ("*", "**", "*/creation.json", "**/creation.json", ".snapshot/creation.json", "._a.json", "con"):
        expected = ["a.json"] if pattern in {"*", "**"} else []
        assert [entry.key for entry in lab.list_matching("", pattern)] == expected
    assert [entry.key for entry in lab.list_folder(stat=True)] == ["a.json"]
    with pytest.raises(InvalidKey, match="pipe"):
        lab.stat("pipe")


def test_links_are_documents_where_they_lead_to_files_and_are_not_followed_into_folders(
    lab: Store, tmp_path: Path
) -> None:
    lab.atomic_write("folder/a.json", b"123")
    for name, target in {
        "document": "folder/a.json",
        "circle": ".",
        "inner": "folder",
        "dangling": "nothing",
        "loop": "loop",
    }.items():
        (tmp_path / name).symlink_to(target)
    assert [(entry.key, entry.size) for entry in lab.list_folder(stat=True)] == [("document", 3), ("folder", None)]
    assert lab.list_keys() == ["document", "folder/a.json"]
    assert lab.list_keys(pattern="**/a.json") == lab.list_keys(pattern="*/a.json") == ["folder/a.json"]
    assert lab.list_keys(pattern="inner/a.json") == lab.list_keys(pattern="loop/a.json") == []
    assert [lab.list_keys(pattern=name) for name in ("document", "dangling", "loop", "inner")] == [
        ["document"],
        [],
        [],
        [],
    ]
    assert lab.stat("document").size == 3
    assert not lab.exists("dangling")
    with pytest.raises(AccessDenied):
        lab.stat("loop")


def test_a_document_that_goes_while_a_folder_is_listed_is_left_out(lab: Store) -> None:
    for number in range(300):
        lab.atomic_write(f"runs/{number:03}", b"1")
    entries = lab.list_folder("runs", stat=True)
    assert next(entries).key == "runs/000"
    for number in range(100, 300):
        lab.delete(f"runs/{number:03}")
    assert {entry.key for entry in entries} <= {f"runs/{number:03}" for number in range(1, 300)}
    assert len([*lab.list_folder("runs", stat=True)]) == 100


def test_a_folder_that_goes_while_a_search_is_under_way_is_left_out(lab: Store, tmp_path: Path) -> None:
    from exlab_store_posix.listing import Lister

    for number in range(3):
        lab.atomic_write(f"runs/{number}/a.json", b"1")
    found = Lister(f"{tmp_path}/", lambda _: False, lambda: None).matching("", KeyPattern("**/a.json"))
    first = next(found).key
    for number in range(3):
        (tmp_path / "runs" / f"{number}" / "a.json").unlink()
        (tmp_path / "runs" / f"{number}").rmdir()
    assert first in {f"runs/{number}/a.json" for number in range(3)}
    assert list(found) == []


def test_an_empty_folder_is_shown_where_the_file_system_has_one(lab: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert [*lab.list_folder()] == [FolderItem("empty", "folder")]
    assert (lab / "empty").is_dir()
    assert [*(lab / "empty").iterdir()] == []


def test_a_store_whose_directory_is_gone_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    store = open_store(tmp_path / "share")
    (tmp_path / "share").rmdir()
    for look in (
        lambda: store.list_folder(),
        lambda: store.list_matching("", "*"),
        lambda: store.list_keys(pattern="a/b.json"),
        lambda: store.stat("a.json"),
    ):
        with pytest.raises(BackendUnavailable):
            look()


def test_a_name_that_the_file_system_only_takes_for_another_is_not_found(
    lab: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that ignores case: what is asked for by its name is there under another spelling."""
    lab.atomic_write("Runs/creation.json", b"1")
    plain = os.lstat

    def ignoring_case(path: str, **options: Any) -> os.stat_result:
        spelt = re.sub("/runs", "/Runs", path, flags=re.IGNORECASE)
        return plain(re.sub("creation.json", "creation.json", spelt, flags=re.IGNORECASE), **options)

    monkeypatch.setattr(os, "lstat", ignoring_case)
    assert lab.list_keys(pattern="runs/creation.json") == []
    assert lab.list_keys(pattern="Runs/creation.json") == ["Runs/creation.json"]


def test_a_document_named_by_a_pattern_is_found_without_listing_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    backend = PosixBackend(str(tmp_path))
    store = open_store(backend=backend)
    for run in range(3):
        store.atomic_write(f"runs/{run}/.exlab/creation.json", b"1")
        store.atomic_write(f"runs/{run}/pictures/1.tif", b"1")
    plain = os.scandir

    def watched(path: str) -> Any:
        listed.append(os.path.relpath(path, tmp_path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert len(store.list_keys(pattern="runs/*/.exlab/creation.json")) == 3
    assert listed == ["runs"]
