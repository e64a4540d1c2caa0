"""Documents by path and URL: what was resolved once is remembered."""

from __future__ import annotations

import threading
from pathlib import Path, PurePosixPath

import pytest

from exlab_store import InvalidKey, Location, LocationError, Store, as_document


def test_a_path_a_text_and_a_url_name_the_same_document(tmp_path: Path) -> None:
    as_document(tmp_path / "a.json").atomic_write(b"1")
    assert as_document(str(tmp_path / "a.json")).read_snapshot().data == b"1"
    assert as_document(f"file://{tmp_path}/a.json").read_snapshot().data == b"1"


def test_a_store_path_is_itself(store: Store) -> None:
    assert as_document(store / "a") == store / "a"


def test_what_was_resolved_once_is_remembered(tmp_path: Path) -> None:
    assert as_document(tmp_path / "a.json") is as_document(tmp_path / "a.json")


def test_documents_of_one_folder_share_a_store(tmp_path: Path) -> None:
    assert as_document(tmp_path / "a.json").store is as_document(tmp_path / "b.json").store


def test_a_path_object_that_looks_like_a_url_is_not_what_the_url_is() -> None:
    with pytest.raises(LocationError):
        as_document(PurePosixPath("memory://box/a.json"))
    as_document("memory://box/a.json")
    with pytest.raises(LocationError):
        as_document(PurePosixPath("memory://box/a.json"))


def test_a_document_may_be_written_into_folders_that_do_not_exist(tmp_path: Path) -> None:
    as_document(tmp_path / "new" / "folder" / "a.json").atomic_write(b"1")
    assert (tmp_path / "new" / "folder" / "a.json").read_bytes() == b"1"


@pytest.mark.parametrize("location", ["memory://box", "/", "file:///"])
def test_a_location_without_a_document_is_refused(location: str) -> None:
    with pytest.raises(LocationError, match="names no document"):
        as_document(location)


def test_a_document_s_name_has_to_be_portable(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey):
        as_document(tmp_path / "a:b.json")


def test_folders_above_a_document_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "odd: folder.tmp.1 "
    folder.mkdir()
    as_document(folder / "a.json").atomic_write(b"1")
    assert (folder / "a.json").read_bytes() == b"1"


def test_a_place_that_does_not_answer_keeps_no_other_from_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exlab_store.opening import locations as resolving

    stuck, go_on = threading.Event(), threading.Event()
    real = resolving.open_store_at

    def open_slowly(location: Location) -> Store:
        if location.name == "dead":
            stuck.set()
            go_on.wait(30)
        return real(location)

    monkeypatch.setattr(resolving, "open_store_at", open_slowly)
    thread = threading.Thread(target=as_document, args=(tmp_path / "dead" / "a.json",))
    thread.start()
    stuck.wait(10)
    as_document(tmp_path / "alive" / "a.json")
    go_on.set()
    thread.join()
