"""A writer that finds a corrupt document keeps its bytes beside it, warns, and goes on [§11.9]."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING

import anyio
import pytest
from exlab_store_memory.backend import Memory, MemoryBackend
from lab_documents import CONFOCAL, RUNS, TEST_RUNS, stored_equipment

from exlab_store import AccessDenied, Snapshot, hookimpl, open_store
from exlab_store.documents import EquipmentCacheWriter, now

if TYPE_CHECKING:
    from exlab_store import Store

CORRUPT = {
    "empty": b"",
    "all NULs": b"\0" * 300,
    "truncated": stored_equipment()[:-10],
    "an array": b"[1,2]",
    "a number": b"7",
    "not UTF-8": b'{"schema_version":"1.0","id":"\xff"}',
    "UTF-16": stored_equipment().decode().encode("utf-16"),
    "no version": stored_equipment(schema_version=...),
    "a field is missing": stored_equipment(label=...),
    "a field of another type": stored_equipment(label=["a", "list"]),
    "a time that is none": stored_equipment(first_seen_at="yesterday"),
    "two documents": stored_equipment() * 2,
    "deep nesting": stored_equipment()[:-1] + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a name that is not UTF-8": stored_equipment()[:-1] + b',"\xff":1}',
    "a version that is not UTF-8": stored_equipment().replace(b'"1.0"', b'"1.\xff"'),
}


def write(store: Store, key: str = "equipment.json") -> None:
    anyio.run(EquipmentCacheWriter().write_equipment, store / key, CONFOCAL)


def copies(store: Store) -> list[str]:
    return [key for key in store.list_keys() if ".corrupt-" in key]


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_the_corrupt_bytes_are_kept_beside_the_document(store: Store, data: bytes) -> None:
    store.atomic_write("CONFOCAL_01/equipment.json", data)
    write(store, "CONFOCAL_01/equipment.json")
    (copy,) = copies(store)
    assert store.read_snapshot(copy).data == data


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_a_fresh_document_is_written(memory: Store, data: bytes) -> None:
    memory.atomic_write("equipment.json", data)
    write(memory)
    assert anyio.run(EquipmentCacheWriter().read_equipment, memory / "equipment.json").label == CONFOCAL.label


def test_the_fresh_document_counts_as_a_first_write(memory: Store) -> None:
    memory.atomic_write("equipment.json", stored_equipment(label=5))
    write(memory)
    found = json.loads(memory.read_snapshot("equipment.json").data)
    assert found["first_seen_at"] == found["last_modified_at"]


def test_the_copy_is_named_after_the_document_and_the_time_in_utc(memory: Store) -> None:
    memory.atomic_write("a/equipment.json", b"")
    before = now()
    write(memory, "a/equipment.json")
    stamp = re.fullmatch(r"a/equipment\.json\.corrupt-(\d{8}T\d{6}Z)", copies(memory)[0])
    assert stamp is not None
    assert before.replace("-", "").replace(":", "") <= stamp[1] <= now().replace("-", "").replace(":", "")


def test_a_warning_names_the_document_its_copy_and_the_reason(memory: Store, caplog: pytest.LogCaptureFixture) -> None:
    memory.atomic_write("equipment.json", stored_equipment(label=5))
    with caplog.at_level(logging.WARNING, logger="exlab_store"):
        write(memory)
    (record,) = caplog.records
    text = record.getMessage()
    assert record.levelno == logging.WARNING
    assert all(part in text for part in ("equipment.json", copies(memory)[0], "$.label"))


def test_a_sound_document_leaves_no_copy_and_no_warning(memory: Store, caplog: pytest.LogCaptureFixture) -> None:
    memory.atomic_write("equipment.json", stored_equipment())
    write(memory)
    assert (copies(memory), caplog.records) == ([], [])


def test_different_corrupt_bytes_within_one_second_are_all_kept(memory: Store) -> None:
    bad = [f"corrupt {number}".encode() for number in range(5)]
    for data in bad:
        memory.atomic_write("equipment.json", data)
        write(memory)
    assert sorted(memory.read_snapshot(key).data for key in copies(memory)) == bad


@pytest.mark.parametrize("length", [230, 234, 235, 250, 255])
def test_a_name_of_nearly_255_bytes_still_gets_its_copy(store: Store, length: int) -> None:
    key = "é" * ((length - 5) // 2) + "x" * ((length - 5) % 2) + ".json"
    assert len(key.encode()) == length
    store.atomic_write(key, b"corrupt")
    write(store, key)
    assert [store.read_snapshot(copy).data for copy in copies(store)] == [b"corrupt"]


def test_the_copies_of_two_long_names_with_the_same_beginning_stay_apart(memory: Store) -> None:
    for end in "ab":
        memory.atomic_write("x" * 250 + end, f"corrupt {end}".encode())
        write(memory, "x" * 250 + end)
    assert sorted(memory.read_snapshot(copy).data for copy in copies(memory)) == [b"corrupt a", b"corrupt b"]


@pytest.mark.parametrize("length", [1000, 1010, 1024])
def test_a_key_of_nearly_1024_bytes_still_gets_its_copy(memory: Store, length: int) -> None:
    folders = "/".join(["x" * 200] * 4) + "/"
    key = folders + "y" * (length - len(folders))
    memory.atomic_write(key, b"corrupt")
    write(memory, key)
    assert [memory.read_snapshot(copy).data for copy in copies(memory)] == [b"corrupt"]


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"[]", b'{"schema_version":"1.0"'], ids=repr)
@pytest.mark.parametrize("marker", ["test_runs.json", "runs.json"])
def test_a_marker_that_is_no_json_object_is_replaced_and_its_bytes_are_kept(
    memory: Store, marker: str, data: bytes
) -> None:
    memory.atomic_write(marker, data)
    writer = EquipmentCacheWriter()
    if marker == "runs.json":
        anyio.run(writer.write_runs_marker, memory / marker, RUNS)
        assert anyio.run(writer.read_runs_marker, memory / marker) == RUNS
    else:
        anyio.run(writer.write_test_runs_marker, memory / marker, TEST_RUNS)
        assert anyio.run(writer.read_test_runs_marker, memory / marker) == TEST_RUNS
    assert [memory.read_snapshot(copy).data for copy in copies(memory)] == [data]


def test_a_reader_leaves_a_corrupt_document_alone(memory: Store) -> None:
    memory.atomic_write("equipment.json", b"{")
    with pytest.raises(ValueError):
        anyio.run(EquipmentCacheWriter().read_equipment, memory / "equipment.json")
    assert memory.list_keys() == ["equipment.json"]


class UnreadableCopies(MemoryBackend):
    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        if ".corrupt-" in key:
            raise AccessDenied("this account may not read it")
        return super().read_snapshot(key)


def test_names_of_copies_that_cannot_be_looked_at_leave_the_document_as_it_is() -> None:
    with open_store(backend=UnreadableCopies(Memory(), "")) as store:
        store.atomic_write("equipment.json", b"[1,2]")
        with pytest.raises(AccessDenied, match="corrupt and not replaced"):
            write(store)
        assert store.list_keys() == ["equipment.json"]
