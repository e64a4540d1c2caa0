"""A folder where a document is expected, a document where a folder is, and things that are neither."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from conftest import lacking
from places import OLD, OPERATIONS, contents, refusal

from exlab_store import AccessDenied, DocumentNotFound, InvalidKey, Store, StoreError

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["bad_input_fixtures"]


@pytest.mark.parametrize("verb", ["read", "write", "update", "delete"])
@pytest.mark.parametrize("full", [True, False], ids=["full folder", "empty folder"])
def test_a_folder_where_a_document_is_expected_is_refused(place: Path, lab: Store, verb: str, full: bool) -> None:
    (place / "folder").mkdir()
    if full:
        (place / "folder" / "inner.json").write_bytes(OLD)
    before = contents(place)
    assert refusal(lambda: OPERATIONS[verb](lab, "folder")).flaws(InvalidKey, str(lab.location), "folder") == []
    assert contents(place) == before
    assert (place / "folder").is_dir()


@pytest.mark.parametrize("verb", ["write", "update", "lock"])
@pytest.mark.parametrize("key", ["doc.json/below.json", "doc.json/far/below.json"])
def test_a_document_where_a_folder_is_expected_is_refused(place: Path, lab: Store, verb: str, key: str) -> None:
    before = contents(place)
    assert refusal(lambda: OPERATIONS[verb](lab, key)).flaws(InvalidKey, str(lab.location), key) == []
    assert contents(place) == before


@pytest.mark.parametrize("verb", ["read", "delete"])
def test_below_a_document_there_is_no_document(place: Path, lab: Store, verb: str) -> None:
    key = "doc.json/below.json"
    found = refusal(lambda: OPERATIONS[verb](lab, key))
    assert [flaw for flaw in found.flaws(DocumentNotFound, str(lab.location), key) if "hint" not in flaw] == []
    assert contents(place) == {"doc.json": OLD}


def test_below_a_document_nothing_is_listed(lab: Store) -> None:
    assert lab.list_keys("doc.json") == []


@pytest.mark.parametrize("verb", ["read", "delete"])
def test_a_missing_document_is_refused_with_the_place_and_a_hint(store: Store, verb: str) -> None:
    found = refusal(lambda: OPERATIONS[verb](store, "missing.json"))
    assert found.flaws(DocumentNotFound, str(store.location), "missing.json", errno=2) == []


@pytest.mark.parametrize("verb", ["write", "update"])
def test_a_folder_and_a_document_of_one_name_exclude_each_other_in_every_store(store: Store, verb: str) -> None:
    store.atomic_write("folder/inner.json", OLD)
    with pytest.raises(InvalidKey):
        OPERATIONS[verb](store, "folder")
    assert store.read_snapshot("folder/inner.json").data == OLD


@pytest.mark.parametrize("verb", ["write", "update"])
def test_a_document_is_no_folder_in_any_store(store: Store, verb: str) -> None:
    store.atomic_write("doc.json", OLD)
    with pytest.raises(InvalidKey):
        OPERATIONS[verb](store, "doc.json/below.json")
    assert store.list_keys() == ["doc.json"]


# ------------------------------------------------------------------------------------------- neither


def plant(path: Path, what: str) -> None:
    match what:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        case "device":
            if os.geteuid() != 0:
                lacking("run the tests as root (sudo) to make the node of a device")
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # /dev/null
        case "folder":
            path.mkdir()


special = pytest.mark.parametrize("what", ["pipe", "socket", "device"])


@pytest.mark.parametrize("verb", ["read", "update"])
@special
def test_what_is_no_file_is_not_read_as_a_document(place: Path, lab: Store, verb: str, what: str) -> None:
    plant(place / "odd.json", what)
    assert refusal(lambda: OPERATIONS[verb](lab, "odd.json")).flaws(InvalidKey, str(lab.location), "odd.json") == []
    assert contents(place) == {"doc.json": OLD, "odd.json": "special file"}


@special
def test_what_is_no_file_is_never_written_into(place: Path, lab: Store, what: str) -> None:
    plant(place / "odd.json", what)
    try:
        lab.atomic_write("odd.json", b"{}")
    except InvalidKey:
        assert contents(place)["odd.json"] == "special file"
    else:
        assert contents(place)["odd.json"] == b"{}"


@special
def test_what_is_no_file_is_not_listed(place: Path, lab: Store, what: str) -> None:
    plant(place / "odd.json", what)
    assert lab.list_keys() == ["doc.json"]


@pytest.mark.parametrize("verb", ["lock", "update"])
@special
def test_what_is_no_file_is_not_taken_for_a_lock(place: Path, lab: Store, verb: str, what: str) -> None:
    plant(place / "doc.json.lock", what)
    with pytest.raises(StoreError) as caught:
        OPERATIONS[verb](lab, "doc.json")
    assert (caught.value.key, caught.value.location) == ("doc.json", str(lab.location))
    assert contents(place)["doc.json"] == OLD


@pytest.mark.parametrize("verb", ["lock", "update"])
def test_a_folder_at_the_locks_name_is_refused(place: Path, lab: Store, verb: str) -> None:
    plant(place / "doc.json.lock", "folder")
    with pytest.raises(StoreError) as caught:
        OPERATIONS[verb](lab, "doc.json")
    assert (caught.value.key, caught.value.location) == ("doc.json", str(lab.location))
    assert contents(place) == {"doc.json": OLD}


@pytest.mark.parametrize("what", ["socket", "folder"])
def test_the_hint_about_something_at_the_locks_name_is_about_the_lock(place: Path, lab: Store, what: str) -> None:
    plant(place / "doc.json.lock", what)
    assert "lock" in str(refusal(lambda: OPERATIONS["lock"](lab, "doc.json")).hint)


# ------------------------------------------------------------------------------------------- links


@pytest.fixture
def victim(place: Path) -> Path:
    """A file outside the store that a planted link leads to."""
    (place / "outside").mkdir()
    victim = place / "outside" / "victim"
    victim.write_bytes(b"precious")
    return victim


@pytest.mark.parametrize("verb", ["write", "update"])
def test_a_link_at_the_targets_name_is_replaced_and_never_written_through(
    place: Path, lab: Store, victim: Path, verb: str
) -> None:
    (place / "doc.json").unlink()
    (place / "doc.json").symlink_to(victim)
    OPERATIONS[verb](lab, "doc.json")
    assert (victim.read_bytes(), (place / "doc.json").is_symlink()) == (b"precious", False)


def test_a_deletion_takes_the_link_and_not_what_it_leads_to(place: Path, lab: Store, victim: Path) -> None:
    (place / "link.json").symlink_to(victim)
    lab.delete("link.json")
    assert contents(place) == {"doc.json": OLD, "outside/victim": b"precious"}


@pytest.mark.parametrize("verb", ["lock", "update"])
@pytest.mark.parametrize("target", ["outside/victim", "outside/missing", "doc.json.lock", "outside"])
def test_a_link_at_the_locks_name_is_refused_and_nothing_is_made_or_changed(
    place: Path, lab: Store, victim: Path, verb: str, target: str
) -> None:
    (place / "doc.json.lock").symlink_to(place / target)
    before = contents(place)
    found = refusal(lambda: OPERATIONS[verb](lab, "doc.json"))
    assert found.flaws(AccessDenied, str(lab.location), "doc.json", errno=40) == []
    assert contents(place) == before


@pytest.mark.parametrize("verb", ["write", "update"])
@pytest.mark.parametrize("target", ["outside/victim", "outside/missing"])
def test_a_link_at_the_temporary_files_name_is_refused_and_nothing_is_made_or_changed(
    place: Path, lab: Store, victim: Path, monkeypatch: pytest.MonkeyPatch, verb: str, target: str
) -> None:
    monkeypatch.setattr(os, "urandom", bytes)  # all zeros: the name can be foretold
    planted = place / f"doc.json.tmp.{os.getpid()}.{'00' * 8}"
    planted.symlink_to(place / target)
    before = contents(place)
    found = refusal(lambda: OPERATIONS[verb](lab, "doc.json"))
    assert found.flaws(AccessDenied, str(lab.location), "doc.json", errno=17) == []
    assert contents(place) == before
    planted.unlink()


def test_a_second_name_of_a_document_at_the_locks_name_does_not_cost_its_bytes(place: Path, lab: Store) -> None:
    (place / "doc.json.lock").hardlink_to(place / "doc.json")
    try:
        OPERATIONS["lock"](lab, "doc.json")
    except StoreError as error:
        assert error.key == "doc.json"
    assert (place / "doc.json").read_bytes() == OLD


def test_a_link_that_leads_to_itself_is_refused_by_the_reader(place: Path, lab: Store) -> None:
    (place / "loop.json").symlink_to(place / "loop.json")
    found = refusal(lambda: lab.read_snapshot("loop.json"))
    assert found.flaws(AccessDenied, str(lab.location), "loop.json", errno=40) == []


def test_a_folder_that_is_a_link_to_a_folder_above_does_not_make_the_list_endless(place: Path, lab: Store) -> None:
    (place / "circle").symlink_to(place)
    assert lab.list_keys() == ["doc.json"]
