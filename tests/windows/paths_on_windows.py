"""Locations and names on Windows: run by `test_on_windows`, in Windows."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from exlab_store import ABSENT, DocumentNotFound, InvalidKey, LocationError, open_store
from exlab_store.doctor import examine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exlab_store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        opened.atomic_write("Run/Catalogue.json", b"1")
        yield opened


@pytest.mark.parametrize("form", ["{}", "{:/}", "file:///{:/}", "file://localhost/{:/}", r"\\?\{}", "{}\\"])
def test_a_directory_is_opened_in_every_form_of_its_path(store: Store, tmp_path: Path, form: str) -> None:
    location = form.replace("{:/}", tmp_path.as_posix()).replace("{}", str(tmp_path))
    with open_store(location) as opened:
        assert opened.read_snapshot("Run/Catalogue.json").data == b"1"
        assert opened.location == store.location


def test_a_whole_drive_is_a_store() -> None:
    with open_store("C:\\") as store:
        store.atomic_write("at-the-top.json", b"1")
        assert store.read_snapshot("at-the-top.json").data == b"1"
        store.delete("at-the-top.json")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("C:lab", "relative"),
        (r"\lab", "relative"),
        ("lab", "relative"),
        (r"C:\no-such-directory", "no such directory"),
        (r"Q:\lab", "no drive Q:"),
        (r"\\server", "no share"),
    ],
)
def test_what_is_wrong_with_a_location_is_said(location: str, said: str) -> None:
    with pytest.raises(LocationError, match=said):
        open_store(location)


def test_a_share_is_shown_as_a_url(tmp_path: Path) -> None:
    with pytest.raises(LocationError) as caught:
        open_store(r"\\server\share\lab")
    assert str(caught.value.location) == "file://server/share/lab"


@pytest.mark.parametrize("key", ["run/Catalogue.json", "Run/catalogue.json", "RUN/CATALOGUE.JSON", "run/new.json"])
def test_a_key_that_differs_in_case_is_refused_and_finds_nothing(store: Store, key: str) -> None:
    for change in (
        lambda: store.atomic_write(key, b"2"),
        lambda: store.atomic_write(key, b"2", expect=ABSENT),
        lambda: store.update(key, lambda _: b"2"),
    ):
        with pytest.raises(InvalidKey, match="in another spelling, which Windows does not tell apart"):
            change()
    for use in (store.read_snapshot, store.stat, store.delete):
        with pytest.raises(DocumentNotFound):
            use(key)
    assert store.list_keys() == ["Run/Catalogue.json"]
    assert store.read_snapshot("Run/Catalogue.json").data == b"1"


def test_a_folder_that_differs_in_case_lists_nothing_and_is_not_deleted(store: Store) -> None:
    assert store.list_keys("run") == []
    assert list(store.list_folder("RUN")) == []
    with pytest.raises(DocumentNotFound):
        store.delete_folder("run")
    assert store.list_keys() == ["Run/Catalogue.json"]


def test_paths_may_be_longer_than_260_characters(store: Store, tmp_path: Path) -> None:
    key = "/".join(["folder-of-40-characters" + "x" * 17] * 10) + "/document.json"
    store.update(key, lambda _: b"1")
    assert store.read_snapshot(key).data == b"1"
    assert key in store.list_keys()
    store.delete_folder(key.partition("/")[0])
    assert store.list_keys() == ["Run/Catalogue.json"]


@pytest.mark.parametrize("key", ["nul", "CON.json", "a/com1.txt", "trailing.", "trailing ", "a:b", "a*b", "a\\b"])
def test_names_that_windows_keeps_for_itself_are_refused(store: Store, key: str) -> None:
    with pytest.raises(InvalidKey):
        store.atomic_write(key, b"1")


def test_a_listing_gives_keys_with_slashes(store: Store, tmp_path: Path) -> None:
    store.atomic_write("Run/deeper/a.json", b"1")
    (tmp_path / "Run" / "deeper" / "b.json").write_bytes(b"2")
    assert store.list_keys("Run/deeper") == ["Run/deeper/a.json", "Run/deeper/b.json"]
    assert [item.key for item in store.list_matching("", "**/b.json")] == ["Run/deeper/b.json"]
    assert os.listdir(tmp_path / "Run" / "deeper") == ["a.json", "b.json"]


def test_the_doctor_says_what_becomes_of_names_that_differ_in_case(tmp_path: Path) -> None:
    [found] = [each for each in examine([str(tmp_path)], seconds=0.3, only={"names"}).findings if each.probe == "names"]
    assert "the second is refused" in found.observed
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_says_how_much_room_is_left(tmp_path: Path) -> None:
    [found] = [each for each in examine([str(tmp_path)], seconds=0.3, only={"space"}).findings if each.probe == "space"]
    assert re.fullmatch(r"[0-9.]+ GB of [0-9.]+ GB are free", found.observed)
