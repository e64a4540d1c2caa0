"""What an account without rights gets, each operation in a process of its own that has given its rights away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from places import NOBODY, OLD, contents, probed

from exlab_store import AccessDenied

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["bad_input_fixtures"]
pytestmark = [pytest.mark.usefixtures("needs_root"), pytest.mark.one_interpreter]


def as_nobody(operation: str, place: Path, key: str = "doc.json") -> Any:
    return probed(operation, place, key, "--uid", NOBODY)


@pytest.mark.parametrize("operation", ["write", "update", "lock", "delete"])
def test_without_the_right_to_write_nothing_is_changed(place: Path, operation: str) -> None:
    found = as_nobody(operation, place)
    assert found.flaws(AccessDenied, place.as_uri(), "doc.json", errno=13) == []
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"doc.json": OLD}


@pytest.mark.parametrize("operation", ["write", "update", "lock"])
def test_without_the_right_to_write_no_folder_is_made(place: Path, operation: str) -> None:
    found = as_nobody(operation, place, "new/doc.json")
    assert found.flaws(AccessDenied, place.as_uri(), "new/doc.json", errno=13) == []
    assert [path.name for path in place.iterdir()] == ["doc.json"]


def test_without_the_right_to_read_a_document_is_not_read(place: Path) -> None:
    (place / "doc.json").chmod(0o600)
    found = as_nobody("read", place)
    assert found.flaws(AccessDenied, place.as_uri(), "doc.json", errno=13) == []


@pytest.mark.parametrize("operation", ["read", "write", "update", "lock", "delete", "list"])
def test_without_the_right_to_enter_a_folder_nothing_in_it_is_touched(place: Path, operation: str) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "closed" / "doc.json").write_bytes(OLD)
    key = "closed" if operation == "list" else "closed/doc.json"
    before = contents(place)
    found = as_nobody(operation, place, key)
    assert found.flaws(AccessDenied, place.as_uri(), key, errno=13) == []
    assert contents(place) == before


def test_a_folder_that_may_not_be_listed_is_not_left_out_of_a_list_in_silence(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    found = as_nobody("list", place, "")
    assert found.flaws(AccessDenied, place.as_uri(), "closed", errno=13) == []


def test_a_document_of_another_account_is_replaced_where_the_folder_may_be_written(place: Path) -> None:
    place.chmod(0o777)
    assert isinstance(as_nobody("write", place), str)
    assert (place / "doc.json").read_bytes() == b"x"


@pytest.mark.parametrize("operation", ["write", "delete"])
def test_a_document_of_another_account_in_a_sticky_folder_stays(place: Path, operation: str) -> None:
    place.chmod(0o1777)
    found = as_nobody(operation, place)
    assert found.flaws(AccessDenied, place.as_uri(), "doc.json", errno=1) == []
    assert contents(place) == {"doc.json": OLD}


def test_a_write_into_a_folder_below_one_that_may_be_passed_but_not_read_is_acknowledged(place: Path) -> None:
    (place / "mine").mkdir()
    os.chown(place / "mine", NOBODY, NOBODY)
    place.chmod(0o711)
    assert isinstance(as_nobody("write", place, "mine/new.json"), str)


# ------------------------------------------------------------------------------------------- foreign locks


def test_a_lock_file_of_another_account_that_may_be_written_is_used(place: Path) -> None:
    (place / "doc.json.lock").touch()
    (place / "doc.json.lock").chmod(0o666)
    assert as_nobody("lock", place) is None


def test_a_lock_file_of_another_account_in_a_sticky_folder_is_used_if_it_may_be_written(place: Path) -> None:
    place.chmod(0o1777)
    (place / "doc.json.lock").touch()
    (place / "doc.json.lock").chmod(0o666)
    assert as_nobody("lock", place) is None


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777], ids=oct)
@pytest.mark.parametrize("operation", ["lock", "update"])
def test_a_lock_file_of_another_account_that_may_not_be_written_is_refused(
    place: Path, operation: str, mode: int
) -> None:
    place.chmod(mode)
    (place / "doc.json.lock").write_bytes(b"theirs")
    (place / "doc.json.lock").chmod(0o644)
    found = as_nobody(operation, place)
    assert found.flaws(AccessDenied, place.as_uri(), "doc.json", errno=13) == []
    assert (contents(place), (place / "doc.json.lock").read_bytes()) == ({"doc.json": OLD}, b"theirs")


def test_a_foreign_lock_file_does_not_hinder_a_reader(place: Path) -> None:
    (place / "doc.json.lock").touch(mode=0o600)
    assert as_nobody("read", place) == OLD.decode()


def test_the_lock_file_that_one_account_makes_can_be_used_by_another(place: Path) -> None:
    place.chmod(0o777)
    as_nobody("lock", place)
    assert (place / "doc.json.lock").stat().st_uid == NOBODY
    assert (place / "doc.json.lock").stat().st_mode & 0o006 == 0o006
