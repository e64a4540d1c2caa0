"""Full disks, quotas, read-only file systems, and no descriptors left."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from places import OLD, OPERATIONS, contents, mounted, probed, refusal

from exlab_store import AccessDenied, BackendUnavailable, StorageFull, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest_plugins = ["bad_input_fixtures"]

ENOSPC, EFBIG, EROFS, EMFILE = 28, 27, 30, 24


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, place: Path, tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes with one document."""
    request.getfixturevalue("needs_root")
    folder = place / "small"
    folder.mkdir()
    if request.param == "tmpfs":
        arguments = ["-t", "tmpfs", "-o", "size=1m", "none"]
    else:
        if shutil.which("mkfs.ext4") is None:
            lacking("install mkfs.ext4 to make a small disk: apt-get install e2fsprogs")
        image = tmp_path / "disk.img"
        with image.open("wb") as file:
            file.truncate(4 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        arguments = ["-o", "loop", str(image)]
    with mounted(folder, *arguments):
        (folder / "doc.json").write_bytes(OLD)
        yield folder


def fill(place: Path) -> None:
    """Leaves not one free block."""
    for size in (1 << 20, 4096, 1):
        with (place / f"filler-{size}").open("wb", buffering=0) as file:
            try:
                while file.write(b"f" * size):
                    pass
            except OSError as error:
                assert error.errno == ENOSPC


@pytest.mark.one_interpreter
@pytest.mark.parametrize("verb", ["write", "update"])
def test_on_a_full_disk_the_stored_document_stays(small: Path, verb: str) -> None:
    with open_store(small) as store, store.lock("doc.json"):
        pass
    fill(small)
    found = probed(verb, small, "doc.json", "--size", 20_000)
    assert found.flaws(StorageFull, small.as_uri(), "doc.json", errno=ENOSPC) == []
    assert (small / "doc.json").read_bytes() == OLD


@pytest.mark.one_interpreter
def test_on_a_full_disk_no_temporary_file_takes_the_last_room(small: Path) -> None:
    with open_store(small) as store:
        fill(small)
        for _ in range(3):
            refusal(lambda: store.atomic_write("doc.json", b"x" * 20_000))
    assert list(small.glob("*.tmp.*")) == []


@pytest.mark.one_interpreter
def test_a_document_that_is_larger_than_the_room_that_is_left_is_refused_and_a_smaller_one_is_not(small: Path) -> None:
    with open_store(small) as store:
        with pytest.raises(StorageFull):
            store.atomic_write("doc.json", b"x" * (8 << 20))
        store.atomic_write("doc.json", b"{}")
    assert (small / "doc.json").read_bytes() == b"{}"


@pytest.mark.one_interpreter
def test_a_full_disk_keeps_nobody_from_reading_and_locking(small: Path) -> None:
    with open_store(small) as store:
        with store.lock("doc.json"):
            pass
        fill(small)
        with store.lock("doc.json", timeout=20):
            assert store.read_snapshot("doc.json").data == OLD


@pytest.mark.one_interpreter
def test_a_full_disk_keeps_nobody_from_making_room(small: Path) -> None:
    with open_store(small) as store:
        store.atomic_write("large.json", b"x" * 100_000)
        fill(small)
        store.delete("large.json")
        store.atomic_write("doc.json", b"{}")
    assert (small / "doc.json").read_bytes() == b"{}"


@pytest.mark.one_interpreter
@pytest.mark.usefixtures("needs_root")
def test_without_a_free_inode_the_stored_document_stays(place: Path) -> None:
    folder = place / "small"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "nr_inodes=2", "none"):
        (folder / "doc.json").write_bytes(OLD)
        with open_store(folder) as store:
            for verb in ("write", "update", "lock"):
                found = refusal(lambda verb=verb: OPERATIONS[verb](store, "doc.json"))
                assert found.flaws(StorageFull, folder.as_uri(), "doc.json", errno=ENOSPC) == []
        assert contents(folder) == {"doc.json": OLD}


# ------------------------------------------------------------------------------------------- a limit on the size


@pytest.mark.one_interpreter
@pytest.mark.parametrize("operation", ["write", "update"])
@pytest.mark.parametrize("limit", [0, 1000, 4096])
def test_beyond_the_limit_of_the_account_the_stored_document_stays(place: Path, operation: str, limit: int) -> None:
    found = probed(operation, place, "doc.json", "--size", 5000, "--file-size", limit)
    assert found.flaws(StorageFull, place.as_uri(), "doc.json", errno=EFBIG) == []
    assert contents(place) == {"doc.json": OLD}


@pytest.mark.one_interpreter
def test_the_limit_keeps_nobody_from_locking(place: Path) -> None:
    assert probed("lock", place, "doc.json", "--file-size", 0) is None


# ------------------------------------------------------------------------------------------- read-only


@pytest.fixture
def read_only(place: Path, needs_root: None) -> Iterator[Path]:
    """A file system that is mounted read-only, with a document and its lock file."""
    folder = place / "frozen"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "none"):
        (folder / "doc.json").write_bytes(OLD)
        (folder / "doc.json.lock").touch()
        (folder / "unlocked.json").write_bytes(OLD)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder


@pytest.mark.one_interpreter
@pytest.mark.parametrize("verb", ["write", "update", "lock", "delete"])
@pytest.mark.parametrize("key", ["doc.json", "unlocked.json"])
def test_on_a_read_only_file_system_every_change_is_refused(read_only: Path, verb: str, key: str) -> None:
    with open_store(read_only) as store:
        found = refusal(lambda: OPERATIONS[verb](store, key))
    assert found.flaws(AccessDenied, read_only.as_uri(), key, errno=EROFS) == []
    assert contents(read_only) == {"doc.json": OLD, "unlocked.json": OLD}


@pytest.mark.one_interpreter
@pytest.mark.parametrize("verb", ["write", "update", "lock"])
def test_on_a_read_only_file_system_no_folder_is_made(read_only: Path, verb: str) -> None:
    with open_store(read_only) as store:
        found = refusal(lambda: OPERATIONS[verb](store, "new/doc.json"))
    assert found.flaws(AccessDenied, read_only.as_uri(), "new/doc.json", errno=EROFS) == []


@pytest.mark.one_interpreter
def test_a_read_only_file_system_is_read_and_listed(read_only: Path) -> None:
    with open_store(read_only) as store:
        assert [store.read_snapshot(key).data for key in store.list_keys()] == [OLD, OLD]


# ------------------------------------------------------------------------------------------- descriptors


@pytest.mark.one_interpreter
@pytest.mark.parametrize("start", ["warm", "cold"])
@pytest.mark.parametrize("operation", ["read", "write", "update", "lock", "list"])
def test_without_a_free_descriptor_an_operation_did_not_happen(place: Path, operation: str, start: str) -> None:
    key = "" if operation == "list" else "doc.json"
    found = probed(operation, place, key, "--no-descriptors", *["--cold"] * (start == "cold"))
    assert found.flaws(BackendUnavailable, place.as_uri(), key, errno=EMFILE) == []
    assert contents(place) == {"doc.json": OLD}


# ------------------------------------------------------------------------------------------- data that is no data


@pytest.mark.parametrize(
    "data", ["{}", bytearray(b"{}"), memoryview(b"{}"), None, 7, [b"{}"]], ids=lambda it: type(it).__name__
)
@pytest.mark.parametrize("verb", ["atomic_write", "update"])
def test_data_that_is_not_bytes_is_a_type_error_and_changes_nothing(store: Store, verb: str, data: object) -> None:
    store.atomic_write("doc.json", OLD)
    given: Any = (lambda _: data) if verb == "update" else data
    with pytest.raises(TypeError, match="bytes"):
        getattr(store, verb)("doc.json", given)
    assert store.read_snapshot("doc.json").data == OLD
