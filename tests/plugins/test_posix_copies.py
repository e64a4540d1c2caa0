"""The copy of a corrupt document has at most the document's permissions, and is never made through a link."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import lacking

from exlab_store import Store, VersionConflict, open_store
from exlab_store.documents import DocumentKind, EquipmentJson

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="about modes and owners")

KIND = DocumentKind(EquipmentJson, "1.0")
EQUIPMENT = EquipmentJson(id="A", label="b", configured_local_root="/x", configured_nas_root="/y")
CORRUPT = b'{"id": 1'

_AS_ANOTHER = """
import os, sys
from exlab_store import open_store
with open_store(sys.argv[1]) as store:  # imports what the other account may not be able to read
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
    store.keep_copy("doc.json", "copy.json", store.read_snapshot("doc.json").data)
"""


def repaired(place: Path) -> Path | None:
    """The copy, after a program has replaced the corrupt document."""
    with open_store(place) as store:
        KIND.update(store / "doc.json", lambda _: EQUIPMENT)
    return next((path for path in place.iterdir() if ".corrupt-" in path.name), None)


def mode_of(path: Path | None) -> int:
    assert path is not None
    return stat.S_IMODE(path.lstat().st_mode)


def copied_by(place: Path, *, user: int, group: int) -> None:
    place.chmod(0o777)
    subprocess.run([sys.executable, "-c", _AS_ANOTHER, str(place), str(group), str(user)], check=True, timeout=60)


@pytest.fixture
def corrupt(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    (place / "doc.json").write_bytes(CORRUPT)
    return place


@pytest.fixture
def open_to_all() -> Path:
    """A folder that other accounts reach; pytest's own are closed to them."""
    import tempfile
    from pathlib import Path

    return Path(tempfile.mkdtemp(prefix="exlab-store-copies-"))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o604, 0o400], ids=oct)
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_the_copy_has_the_mode_of_the_document(corrupt: Path, mode: int, mask: int) -> None:
    (corrupt / "doc.json").chmod(mode)
    before = os.umask(mask)
    try:
        assert mode_of(repaired(corrupt)) == mode
    finally:
        os.umask(before)


def test_no_copy_is_made_through_a_link(corrupt: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"root:x:0:0")
    (tmp_path / "secret").chmod(0o600)
    (corrupt / "doc.json").unlink()
    (corrupt / "doc.json").symlink_to(tmp_path / "secret")
    assert repaired(corrupt) is None
    assert (tmp_path / "secret").read_bytes() == b"root:x:0:0"


def test_the_log_says_so(corrupt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "secret").write_bytes(b"root:x:0:0")
    (corrupt / "doc.json").unlink()
    (corrupt / "doc.json").symlink_to(tmp_path / "secret")
    repaired(corrupt)
    assert "it is a link" in caplog.text


def test_what_has_changed_since_it_was_read_is_not_copied(posix: Store) -> None:
    posix.atomic_write("doc.json", CORRUPT)
    with pytest.raises(VersionConflict):
        posix.keep_copy("doc.json", "copy.json", b"something else")
    assert posix.list_keys() == ["doc.json"]


def test_what_is_gone_is_not_copied(posix: Store) -> None:
    with pytest.raises(VersionConflict):
        posix.keep_copy("doc.json", "copy.json", CORRUPT)
    assert posix.list_keys() == []


def test_a_pipe_in_the_documents_place_does_not_hold_anybody_up(posix: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "doc.json")
    with pytest.raises(VersionConflict):
        posix.keep_copy("doc.json", "copy.json", CORRUPT)


def test_a_link_planted_at_the_copys_name_is_replaced(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("doc.json", CORRUPT)
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / "copy.json").symlink_to(tmp_path / "elsewhere")
    assert posix.keep_copy("doc.json", "copy.json", CORRUPT)
    assert not (tmp_path / "copy.json").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


def setfacl(entries: str, path: Path, *options: str) -> None:
    program = shutil.which("setfacl")
    if program is None:
        lacking("install Debian's package acl: its setfacl gives files access control lists")
    assert program is not None
    done = subprocess.run([program, *options, "-m", entries, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"use a file system with access control lists: {done.stderr}")


def test_the_copy_has_the_access_control_list_of_the_document(corrupt: Path) -> None:
    (corrupt / "doc.json").chmod(0o600)
    setfacl("u:12345:rw,g::---,m::rw", corrupt / "doc.json")
    before = os.getxattr(corrupt / "doc.json", "system.posix_acl_access")
    copy = repaired(corrupt)
    assert copy is not None
    assert os.getxattr(copy, "system.posix_acl_access") == before  # without it, its mask would be the group's rights


@pytest.mark.parametrize(("mode", "copied"), [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400)])
def test_the_copy_of_a_store_of_private_documents_is_private(corrupt: Path, mode: int, copied: int) -> None:
    (corrupt / "doc.json").chmod(mode)
    with open_store(corrupt, mode=0o600) as store:
        store.keep_copy("doc.json", "copy.json", CORRUPT)
    assert mode_of(corrupt / "copy.json") == copied


def test_the_folders_default_list_opens_no_copy(corrupt: Path) -> None:
    (corrupt / "doc.json").chmod(0o640)
    setfacl("u:12345:rw", corrupt, "-d")
    copy = repaired(corrupt)
    assert mode_of(copy) == 0o640
    assert copy is not None
    assert "system.posix_acl_access" not in os.listxattr(copy)


@pytest.mark.usefixtures("needs_root")
def test_the_copy_belongs_to_whom_the_document_belongs(corrupt: Path) -> None:
    os.chown(corrupt / "doc.json", 12345, 23456)
    (corrupt / "doc.json").chmod(0o640)
    copy = repaired(corrupt)
    assert copy is not None
    assert (copy.stat().st_uid, copy.stat().st_gid, mode_of(copy)) == (12345, 23456, 0o640)


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize(("mode", "copied"), [(0o644, 0o644), (0o664, 0o644), (0o604, 0o600)])
def test_a_group_that_cannot_be_kept_gives_nobody_more(open_to_all: Path, mode: int, copied: int) -> None:
    try:
        (open_to_all / "doc.json").write_bytes(CORRUPT)
        os.chown(open_to_all / "doc.json", 12345, 23456)
        (open_to_all / "doc.json").chmod(mode)
        copied_by(open_to_all, user=12345, group=34567)
        assert mode_of(open_to_all / "copy.json") == copied
    finally:
        shutil.rmtree(open_to_all)


def test_nothing_is_left_of_a_copy_that_could_not_be_made(posix: Store, tmp_path: Path) -> None:
    posix.atomic_write("doc.json", CORRUPT)
    (tmp_path / "copy.json").mkdir()
    with pytest.raises(Exception, match=r"copy\.json"):
        posix.keep_copy("doc.json", "copy.json", CORRUPT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.json", "doc.json"]


def test_what_stands_at_the_copy_s_temporary_name_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "doc.json").write_bytes(CORRUPT)
    monkeypatch.setattr(os, "urandom", bytes)  # all zeros: the name can be foretold
    planted = tmp_path / f"copy.json.tmp.{os.getpid()}.{'00' * 8}"
    planted.write_bytes(b"precious")
    with open_store(tmp_path) as store, pytest.raises(PermissionError):
        store.keep_copy("doc.json", "copy.json", CORRUPT)
    assert planted.read_bytes() == b"precious"
