"""Who may use a document after it was rewritten: run by `test_on_windows`, in Windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exlab_store_posix.windows.security import DACL, OWNER, Descriptor, of_file, owner_alone, set_of_file

from exlab_store import LocationError, NotSupported, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERYONE = bytes([1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])  # S-1-1-0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        opened.atomic_write("a.json", b"old")
        yield opened


@pytest.fixture
def alone(tmp_path: Path) -> Descriptor:
    """The rules of a file that is its owner's alone."""
    with open_store(tmp_path, mode=0o600) as opened:
        opened.atomic_write("private.json", b"1")
    return of_file(str(tmp_path / "private.json"))


def test_a_document_with_a_list_of_its_own_keeps_it(store: Store, tmp_path: Path, alone: Descriptor) -> None:
    path = str(tmp_path / "a.json")
    assert EVERYONE in of_file(path, DACL)
    set_of_file(path, alone, DACL)
    given = of_file(path)
    store.atomic_write("a.json", b"new")
    assert of_file(path) == given
    assert store.read_snapshot("a.json").data == b"new"


def test_a_document_without_one_has_the_rules_of_its_folder(store: Store, tmp_path: Path) -> None:
    path = str(tmp_path / "a.json")
    given = of_file(path)
    store.atomic_write("a.json", b"new")
    assert of_file(path) == given
    store.atomic_write("b.json", b"1")
    assert of_file(str(tmp_path / "b.json"), DACL) == of_file(path, DACL)


def test_a_private_document_is_its_owners_alone_when_it_is_made_and_rewritten(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.atomic_write("open.json", b"1")
    with open_store(tmp_path, mode=0o600) as store:
        for data in (b"1", b"2"):
            store.atomic_write("open.json", data)
            store.atomic_write("a.json", data)
            assert store.read_snapshot("a.json").data == data
    rules = of_file(str(tmp_path / "a.json"), DACL)
    assert rules == of_file(str(tmp_path / "open.json"), DACL)
    assert EVERYONE not in rules


def test_the_owner_of_a_private_document_is_this_account(tmp_path: Path) -> None:
    assert owner_alone().lpSecurityDescriptor
    with open_store(tmp_path, mode=0o600) as store:
        store.atomic_write("a.json", b"1")
    (tmp_path / "b.json").write_bytes(b"1")
    assert of_file(str(tmp_path / "a.json"), OWNER).owner == of_file(str(tmp_path / "b.json"), OWNER).owner != b""


@pytest.mark.parametrize("mode", [0o640, 0o666, 0o400])
def test_other_modes_are_not_to_be_had(tmp_path: Path, mode: int) -> None:
    with pytest.raises(NotSupported, match="no mode"):
        open_store(tmp_path, mode=mode)


@pytest.mark.parametrize("mode", ["600", 0o1600, 1.5])
def test_what_is_no_mode_is_refused(tmp_path: Path, mode: object) -> None:
    with pytest.raises(LocationError):
        open_store(tmp_path, mode=mode)


def test_a_copy_has_no_more_rights_than_its_document(store: Store, tmp_path: Path, alone: Descriptor) -> None:
    set_of_file(str(tmp_path / "a.json"), alone, DACL)
    from exlab_store_posix import PosixBackend

    assert PosixBackend(str(tmp_path)).keep_copy("a.json", "copy.json", b"old")
    assert of_file(str(tmp_path / "copy.json"), DACL) == of_file(str(tmp_path / "a.json"), DACL)


def entry(flags: int) -> bytes:
    return bytes([0, flags]) + (8 + len(EVERYONE)).to_bytes(2, "little") + b"\xff\x01\x1f\x00" + EVERYONE


def described(control: int, *entries: bytes) -> Descriptor:
    size = 8 + sum(map(len, entries))
    acl = bytes([2, 0]) + size.to_bytes(2, "little") + len(entries).to_bytes(2, "little") + bytes(2)
    header = bytes([1, 0]) + (0x8004 | control).to_bytes(2, "little") + bytes(12) + (20).to_bytes(4, "little")
    return Descriptor(header + acl + b"".join(entries))


def test_rules_are_inherited_where_each_entry_is_and_the_list_is_not_protected() -> None:
    assert described(0x400, entry(0x10), entry(0x10)).is_inherited
    assert not described(0x400, entry(0x00), entry(0x10)).is_inherited
    assert not described(0x1400, entry(0x10)).is_inherited
    assert not Descriptor(bytes([1, 0, 4, 0x80]) + bytes(16)).is_inherited  # no list: everybody may do everything
    assert described(0x400, entry(0)).inheriting[2:4] == bytes([0x04, 0x85])
