"""What storage systems keep beside documents is left out of lists, by a list that a site can change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store import IGNORED, ConfigError, as_document, open_store
from exlab_store.ignored import ignoring
from exlab_store.migrating import migrate
from exlab_store.opening.configuration import Configuration

if TYPE_CHECKING:
    from samba_server import SambaServer

BESIDE = ["#recycle/a.json", "@eaDir/a.json/x", ".recycle/ada/a.json", "~snapshot/hourly.0/a.json", "Thumbs.db"]
BESIDE += [".snapshot/daily/a.json", "._a.json", "..data/a.json", "..2026_01_02_03/a.json", "E/#recycle/b.json"]
BESIDE += ["E/@eaDir/c", "E/._b.json", "lost+found/x", ".nfs000001", "$RECYCLE.BIN/x", ".Trash-1000/files/a.json"]
DOCUMENTS = [".hidden/a.json", "E/b.json", "E/recycle/c.json", "a.json", "snapshot/a.json"]


def fill(place: Path) -> None:
    for name in [*BESIDE, *DOCUMENTS]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"1")


@pytest.fixture
def nas(tmp_path: Path) -> Path:
    """A folder as a NAS leaves it."""
    place = tmp_path / "nas"
    fill(place)
    return place


def test_a_list_leaves_out_what_a_nas_keeps(nas: Path) -> None:
    with open_store(nas) as store:
        assert store.list_keys() == DOCUMENTS


def test_so_it_does_in_a_folder_and_in_memory() -> None:
    with open_store("memory://") as store:
        for name in [*BESIDE, *DOCUMENTS]:
            store.atomic_write(name, b"1")
        assert store.list_keys() == DOCUMENTS
        assert store.list_keys("E") == ["E/b.json", "E/recycle/c.json"]


@pytest.mark.one_interpreter
def test_so_it_does_over_smb(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        fill(samba.root)
        assert store.list_keys() == DOCUMENTS
        assert [found.name for found in store.list_leftovers() if "recycle" in found.name] == []


def test_what_is_left_out_is_not_migrated(nas: Path, tmp_path: Path) -> None:
    with open_store(nas) as source, open_store(tmp_path / "new", create=True) as target:
        migrate(source, target)
        assert target.list_keys() == DOCUMENTS
    assert not (tmp_path / "new" / "#recycle").exists()


def test_what_is_listed_is_what_read_many_gets(nas: Path) -> None:
    with open_store(nas) as store:
        assert sorted(key for key, _ in store.read_many(store.list_keys())) == DOCUMENTS


def test_nothing_in_it_is_taken_for_a_leftover(nas: Path) -> None:
    for name in ("#recycle/a.json.tmp.4711", "@eaDir/a.json.lock", "E/~snapshot/b.json.tmp.4711"):
        (nas / name).parent.mkdir(exist_ok=True)
        (nas / name).write_bytes(b"")
    with open_store(nas) as store:
        assert store.list_leftovers() == []


@pytest.mark.usefixtures("needs_root")
def test_a_folder_that_only_the_system_may_enter_does_not_stop_a_list(nas: Path) -> None:
    (nas / "lost+found").chmod(0)
    with open_store(nas) as store:
        assert store.list_keys() == DOCUMENTS


def test_a_document_in_it_can_be_read_by_its_key_and_listed_from_within(nas: Path) -> None:
    with open_store(nas) as store:
        assert store.read_snapshot("#recycle/a.json").data == b"1"
        assert store.list_keys("#recycle") == ["#recycle/a.json"]
    with open_store(nas / "#recycle") as store:
        assert store.list_keys() == ["a.json"]


def test_a_program_can_say_what_is_left_out(nas: Path) -> None:
    with open_store(nas, ignore=["#recycle", "snap*"]) as store:
        listed = store.list_keys()
    assert "@eaDir/a.json/x" in listed
    assert not [key for key in listed if "#recycle" in key or key.startswith("snapshot")]


def test_nothing_is_left_out_where_the_list_is_empty(nas: Path) -> None:
    with open_store(nas, ignore=[]) as store:
        assert sorted([*BESIDE, *DOCUMENTS]) == store.list_keys()


@pytest.fixture
def configured(nas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "exlab-store.toml"
    file.write_text(f'[stores.lab]\nurl = "{nas}"\nignore = ["E", "._*"]\n')
    monkeypatch.setenv("EXLAB_STORE_CONFIG", str(file))
    return file


def test_a_site_can_say_what_is_left_out(configured: Path) -> None:
    with open_store("@lab") as store:
        listed = store.list_keys()
    assert "#recycle/a.json" in listed
    assert not [key for key in listed if key.startswith(("E/", "._"))]


def test_what_a_program_says_comes_before_what_the_site_says(configured: Path) -> None:
    with open_store("@lab", ignore=IGNORED) as store:
        assert store.list_keys() == DOCUMENTS


def test_a_document_of_the_sites_store_is_in_a_store_that_leaves_out_the_same(configured: Path) -> None:
    assert "@eaDir/a.json/x" in as_document("@lab/a.json").store.list_keys()


@pytest.mark.parametrize("wrong", ['[""]', '["a/b"]', '["*"]', '["a*b"]', "[7]", '"#recycle"'])
def test_a_list_that_cannot_be_meant_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "exlab-store.toml"
    file.write_text(f'[stores.lab]\nurl = "/data/lab"\nignore = {wrong}\n')
    with pytest.raises(ConfigError, match=r"stores\.lab"):
        Configuration.read(file)


@pytest.mark.parametrize(("wrong", "error"), [("#recycle", TypeError), ([""], ValueError), (["a/b"], ValueError)])
def test_a_program_that_gives_such_a_list_is_told_so(tmp_path: Path, wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_store(tmp_path, ignore=wrong)


def test_the_page_lists_the_names_that_are_left_out() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert [name for name in IGNORED if f"`{name}`" not in page] == []


def test_case_does_not_count() -> None:
    ignores = ignoring()
    assert all(map(ignores, ["@EADIR", "@eaDir", "THUMBS.DB", ".DS_Store", "._X"]))
    assert not any(map(ignores, ["a", ".hidden", "...c", "..", "recycle", os.curdir]))
