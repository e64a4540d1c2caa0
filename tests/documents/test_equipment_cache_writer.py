"""`EquipmentCacheWriter`: what it writes, and how it behaves among many others [§11.4]."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from lab_documents import CONFOCAL, LONG_AGO, RUNS, TEST_RUNS, CountsWrites, stored_equipment

from exlab_store import (
    DocumentNotFound,
    InvalidKey,
    LocationError,
    LockTimeout,
    SchemaMajorMismatchError,
    open_store,
)
from exlab_store.documents import DocumentInvalid, EquipmentCacheWriter, now

if TYPE_CHECKING:
    from exlab_store import Store, StorePath

pytestmark = pytest.mark.anyio


@pytest.fixture
def writer() -> EquipmentCacheWriter:
    return EquipmentCacheWriter()


@pytest.fixture
def equipment(store: Store) -> StorePath:
    return store / "CONFOCAL_01" / ".exlab-wizard" / "equipment.json"


def fields(path: StorePath) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_snapshot().data)
    return found


# ------------------------------------------------------------------------------------------- equipment.json


async def test_a_first_write_sets_both_times_to_now(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    before = now()
    await writer.write_equipment(equipment, CONFOCAL)
    found = fields(equipment)
    assert before <= found["first_seen_at"] == found["last_modified_at"] <= now()


async def test_a_first_write_takes_no_time_from_the_payload(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    payload = msgspec.structs.replace(CONFOCAL, first_seen_at=LONG_AGO, last_modified_at=LONG_AGO)
    await writer.write_equipment(equipment, payload)
    assert LONG_AGO not in fields(equipment).values()


@pytest.mark.parametrize("says", ["", "2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
async def test_the_stored_first_seen_at_stays_whatever_the_payload_says(
    writer: EquipmentCacheWriter, equipment: StorePath, says: str
) -> None:
    equipment.atomic_write(stored_equipment())
    await writer.write_equipment(equipment, msgspec.structs.replace(CONFOCAL, first_seen_at=says))
    assert fields(equipment)["first_seen_at"] == LONG_AGO


@pytest.mark.parametrize("stored", ["2025-09-12T09:14:00+00:00", "2025-09-12T09:14:00.123456Z"])
async def test_a_first_seen_at_of_another_program_is_not_even_reformatted(
    writer: EquipmentCacheWriter, equipment: StorePath, stored: str
) -> None:
    equipment.atomic_write(stored_equipment(first_seen_at=stored))
    await writer.write_equipment(equipment, CONFOCAL)
    assert fields(equipment)["first_seen_at"] == stored


async def test_a_stored_document_without_first_seen_at_gets_one(
    writer: EquipmentCacheWriter, equipment: StorePath
) -> None:
    equipment.atomic_write(stored_equipment(first_seen_at=...))
    before = now()
    await writer.write_equipment(equipment, CONFOCAL)
    assert before <= fields(equipment)["first_seen_at"] <= now()


async def test_every_write_sets_last_modified_at_to_now(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    equipment.atomic_write(stored_equipment())
    before = now()
    await writer.write_equipment(equipment, msgspec.structs.replace(CONFOCAL, last_modified_at="2099-01-01T00:00:00Z"))
    assert before <= fields(equipment)["last_modified_at"] <= now()


async def test_a_write_that_changes_nothing_else_sets_last_modified_at_too(
    writer: EquipmentCacheWriter, equipment: StorePath
) -> None:
    equipment.atomic_write(stored_equipment())
    await writer.write_equipment(equipment, await writer.read_equipment(equipment))
    assert fields(equipment)["last_modified_at"] != LONG_AGO


async def test_the_known_fields_are_the_payloads(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    equipment.atomic_write(stored_equipment(label="before", configured_nas_root="//old/lab"))
    await writer.write_equipment(equipment, CONFOCAL)
    found = await writer.read_equipment(equipment)
    assert (found.label, found.configured_nas_root) == (CONFOCAL.label, CONFOCAL.configured_nas_root)


async def test_reading_takes_no_lock(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    equipment.atomic_write(stored_equipment())
    with equipment.lock():
        assert (await writer.read_equipment(equipment)).id == "CONFOCAL_01"


async def test_reading_makes_no_lock_file(writer: EquipmentCacheWriter, tmp_path: Path) -> None:
    (tmp_path / "equipment.json").write_bytes(stored_equipment())
    await writer.read_equipment(tmp_path / "equipment.json")
    assert [path.name for path in tmp_path.iterdir()] == ["equipment.json"]


@pytest.mark.parametrize("verb", ["read_equipment", "read_test_runs_marker", "read_runs_marker"])
async def test_an_absent_document_is_a_file_not_found_error(
    writer: EquipmentCacheWriter, equipment: StorePath, verb: str
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await getattr(writer, verb)(equipment)
    assert isinstance(caught.value, DocumentNotFound)


async def test_a_payload_that_does_not_fit_changes_nothing(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    equipment.atomic_write(stored_equipment())
    with pytest.raises(DocumentInvalid):
        await writer.write_equipment(equipment, msgspec.structs.replace(CONFOCAL, label=5))
    assert equipment.read_snapshot().data == stored_equipment()


async def test_the_lock_is_free_after_a_write_that_failed(writer: EquipmentCacheWriter, equipment: StorePath) -> None:
    equipment.atomic_write(stored_equipment(schema_version="2.0"))
    with pytest.raises(SchemaMajorMismatchError):
        await writer.write_equipment(equipment, CONFOCAL)
    with equipment.lock(timeout=0):
        pass


# ------------------------------------------------------------------------------------------- locations


@pytest.mark.parametrize("form", ["Path", "str", "URL", "StorePath"])
async def test_a_location_may_be_given_as_a_path_a_text_a_url_and_a_store_path(
    writer: EquipmentCacheWriter, posix: Store, tmp_path: Path, form: str
) -> None:
    file = tmp_path / "new folder" / "equipment.json"
    location: Any = {
        "Path": file,
        "str": str(file),
        "URL": file.as_uri(),
        "StorePath": posix / "new folder" / "equipment.json",
    }[form]
    await writer.write_equipment(location, CONFOCAL)
    assert (await writer.read_equipment(location)).id == json.loads(file.read_bytes())["id"] == "CONFOCAL_01"


async def test_a_url_of_a_named_memory_store_is_a_location_too(writer: EquipmentCacheWriter, tmp_path: Path) -> None:
    location = f"memory://{tmp_path.name}/a/runs.json"
    await writer.write_runs_marker(location, RUNS)
    assert await writer.read_runs_marker(location) == RUNS


async def test_a_relative_path_is_refused_before_anything_is_touched(writer: EquipmentCacheWriter) -> None:
    with pytest.raises(LocationError, match="relative"):
        await writer.write_equipment(Path("equipment.json"), CONFOCAL)


async def test_a_name_that_is_not_portable_is_refused(writer: EquipmentCacheWriter, tmp_path: Path) -> None:
    with pytest.raises(InvalidKey):
        await writer.write_equipment(tmp_path / "nul.json", CONFOCAL)


# ------------------------------------------------------------------------------------------- markers


async def test_a_test_runs_marker_is_stored_with_its_run_kind(writer: EquipmentCacheWriter, store: Store) -> None:
    await writer.write_test_runs_marker(store / "test_runs.json", TEST_RUNS)
    assert store.read_snapshot("test_runs.json").data == (
        b'{"schema_version":"1.0","run_kind":"test","created_at":"2026-04-17T14:00:00Z",'
        b'"project":"PROJ-0042","equipment":"CONFOCAL_01"}'
    )


async def test_a_runs_marker_is_stored_with_its_run_kind(writer: EquipmentCacheWriter, store: Store) -> None:
    await writer.write_runs_marker(store / "runs.json", RUNS)
    assert store.read_snapshot("runs.json").data == (
        b'{"schema_version":"1.0","run_kind":"experimental","created_at":"2026-04-17T14:00:00Z",'
        b'"project":"PROJ-0042","equipment":"CONFOCAL_01"}'
    )


async def test_markers_are_read_back(writer: EquipmentCacheWriter, store: Store) -> None:
    await writer.write_test_runs_marker(store / "test_runs.json", TEST_RUNS)
    await writer.write_runs_marker(store / "runs.json", RUNS)
    read = (
        await writer.read_test_runs_marker(store / "test_runs.json"),
        await writer.read_runs_marker(store / "runs.json"),
    )
    assert read == (TEST_RUNS, RUNS)


async def test_a_marker_of_the_other_kind_is_refused_by_the_reader(writer: EquipmentCacheWriter, store: Store) -> None:
    await writer.write_runs_marker(store / "runs.json", RUNS)
    with pytest.raises(DocumentInvalid, match="run_kind"):
        await writer.read_test_runs_marker(store / "runs.json")


@pytest.mark.parametrize(
    "stored",
    [
        b'{"schema_version":"1.0","created_at":"2020-01-01T00:00:00Z","project":"P","equipment":"E"}',
        b'{ "schema_version": "1.7", "run_kind": "test", "spaces": true }\n',
        b'{"schema_version":"2.0"}',
        b"{}",
    ],
    ids=["another payload", "another layout", "another major", "empty object"],
)
async def test_a_marker_that_exists_stays_byte_for_byte(
    writer: EquipmentCacheWriter, store: Store, stored: bytes
) -> None:
    store.atomic_write("test_runs.json", stored)
    await writer.write_test_runs_marker(store / "test_runs.json", TEST_RUNS)
    assert store.read_snapshot("test_runs.json").data == stored


async def test_a_marker_that_exists_is_not_written_again(writer: EquipmentCacheWriter, tmp_path: Path) -> None:
    await writer.write_runs_marker(tmp_path / "runs.json", RUNS)
    before = (tmp_path / "runs.json").stat()
    await writer.write_runs_marker(tmp_path / "runs.json", RUNS)
    after = (tmp_path / "runs.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_of_many_concurrent_first_writers_exactly_one_writes(
    writer: EquipmentCacheWriter, tmp_path: Path
) -> None:
    counter = CountsWrites()
    with open_store(tmp_path, observers=[counter]) as store:
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                payload = msgspec.structs.replace(TEST_RUNS, equipment=f"E{number}")
                tasks.start_soon(writer.write_test_runs_marker, store / "P" / "test_runs.json", payload)
    assert counter.writes == ["P/test_runs.json"]


@pytest.mark.parametrize(
    "created_at", ["yesterday", "2026-04-17", "2026-04-17T14:00:00", "2026-02-30T00:00:00Z", "", 5, None], ids=repr
)
async def test_a_marker_whose_time_is_none_is_refused(
    writer: EquipmentCacheWriter, memory: Store, created_at: Any
) -> None:
    with pytest.raises(DocumentInvalid):
        await writer.write_runs_marker(memory / "runs.json", msgspec.structs.replace(RUNS, created_at=created_at))


async def test_the_refusal_of_a_marker_names_the_document_and_the_store(
    writer: EquipmentCacheWriter, posix: Store
) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        await writer.write_runs_marker(posix / "runs.json", msgspec.structs.replace(RUNS, created_at="yesterday"))
    assert (caught.value.key, caught.value.location) == ("runs.json", str(posix.location))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-04-17T14:00:00+00:00", "2026-04-17T14:00:00Z"),
        ("2026-04-17T14:00:00.987Z", "2026-04-17T14:00:00Z"),
    ],
)
async def test_the_time_of_a_marker_is_stored_in_utc_and_whole_seconds(
    writer: EquipmentCacheWriter, memory: Store, given: str, stored: str
) -> None:
    await writer.write_runs_marker(memory / "runs.json", msgspec.structs.replace(RUNS, created_at=given))
    assert fields(memory / "runs.json")["created_at"] == stored


FIRST_WRITER = """
import sys, anyio, msgspec
from exlab_store.documents import EquipmentCacheWriter, RunsJson
path, me = sys.argv[1:]
writer = EquipmentCacheWriter()
print("ready", flush=True)
sys.stdin.readline()
payload = RunsJson(created_at="2026-04-17T14:00:00Z", project="P", equipment=me)
anyio.run(writer.write_runs_marker, path, payload)
print(anyio.run(writer.read_runs_marker, path).equipment)
"""


def test_of_several_processes_that_write_a_marker_at_once_all_read_the_same(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_WRITER, str(tmp_path / "runs.json"), f"E{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    read = set()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        with process:
            read.add(process.communicate(timeout=60)[0])
    assert len(read) == 1


# ------------------------------------------------------------------------------------------- among many


async def test_of_300_concurrent_writers_of_one_document_none_is_lost(
    writer: EquipmentCacheWriter, tmp_path: Path
) -> None:
    counter = CountsWrites()
    with open_store(tmp_path, observers=[counter]) as store:
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                payload = msgspec.structs.replace(CONFOCAL, label=f"writer {number}")
                tasks.start_soon(writer.write_equipment, store / "equipment.json", payload)
    assert len(counter.writes) == 300


async def test_300_concurrent_writers_do_not_block_the_loop(writer: EquipmentCacheWriter, posix: Store) -> None:
    lags = []

    async def tick() -> None:
        while True:
            began = anyio.current_time()
            await anyio.sleep(0.01)
            lags.append(anyio.current_time() - began)

    async with anyio.create_task_group() as ticking:
        ticking.start_soon(tick)
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(writer.write_equipment, posix / f"E{number % 20}" / "equipment.json", CONFOCAL)
        ticking.cancel_scope.cancel()
    assert max(lags) < max(1.5, sum(lags) / 3)  # one that is blocked stands still until the last has written


@pytest.mark.parametrize("documents", [1, 60], ids=["one locked document", "sixty locked documents"])
async def test_writers_that_wait_do_not_starve_one_that_need_not(
    writer: EquipmentCacheWriter, posix: Store, documents: int
) -> None:
    held = [posix.lock(f"locked{number}.json") for number in range(documents)]
    try:
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(writer.write_equipment, posix / f"locked{number % documents}.json", CONFOCAL)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(25):
                await writer.write_equipment(posix / "free.json", CONFOCAL)
            tasks.cancel_scope.cancel()
    finally:
        for lock in held:
            lock.release()
    assert posix.list_keys() == ["free.json"]


async def test_writers_that_wait_leave_the_threads_of_the_application_alone(
    writer: EquipmentCacheWriter, posix: Store
) -> None:
    held = [posix.lock(f"locked{number}.json") for number in range(60)]
    try:
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(writer.write_equipment, posix / f"locked{number}.json", CONFOCAL)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(10):
                assert await anyio.to_thread.run_sync(threading.get_ident) != threading.get_ident()
            tasks.cancel_scope.cancel()
    finally:
        for lock in held:
            lock.release()


async def test_a_writer_that_waits_in_vain_says_so_in_time(posix: Store) -> None:
    with posix.lock("equipment.json"), pytest.raises(LockTimeout):
        await EquipmentCacheWriter(lock_timeout=0.1).write_equipment(posix / "equipment.json", CONFOCAL)


async def test_a_lock_timeout_names_the_document_the_store_and_another_thread_that_holds_it(posix: Store) -> None:
    with posix.lock("equipment.json", purpose="re-sync"), pytest.raises(LockTimeout) as caught:
        await EquipmentCacheWriter(lock_timeout=0.1).write_equipment(posix / "equipment.json", CONFOCAL)
    assert (caught.value.key, caught.value.location) == ("equipment.json", str(posix.location))
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == "re-sync"


async def test_a_lock_timeout_names_the_document_the_store_and_another_task_that_holds_it(posix: Store) -> None:
    held, done = anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with posix.aio.lock("equipment.json", purpose="re-sync"):
            held.set()
            await done.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await held.wait()
        try:
            with pytest.raises(LockTimeout) as caught:
                await EquipmentCacheWriter(lock_timeout=0.1).write_equipment(posix / "equipment.json", CONFOCAL)
        finally:
            done.set()
    assert (caught.value.key, caught.value.location) == ("equipment.json", str(posix.location))
    assert caught.value.holder is not None
    assert caught.value.holder.purpose == "re-sync"


# ------------------------------------------------------------------------------------------- cancellation


async def test_a_writer_that_is_cancelled_while_it_waits_writes_nothing(
    writer: EquipmentCacheWriter, posix: Store
) -> None:
    with posix.lock("equipment.json"), anyio.move_on_after(0.1) as scope:
        await writer.write_equipment(posix / "equipment.json", CONFOCAL)
    assert scope.cancelled_caught
    with posix.lock("equipment.json"):
        assert posix.list_keys() == []


async def test_a_writer_that_is_cancelled_leaves_no_lock_no_temporary_file_and_no_half_document(
    writer: EquipmentCacheWriter, posix: Store, tmp_path: Path
) -> None:
    for number in range(30):
        with anyio.move_on_after(number * 0.0002):
            await writer.write_equipment(posix / "equipment.json", CONFOCAL)
        with posix.lock("equipment.json", timeout=0):
            pass
    await writer.write_equipment(posix / "equipment.json", CONFOCAL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["equipment.json", "equipment.json.lock"]


async def test_of_many_writers_that_are_cancelled_together_none_keeps_the_next_one_waiting(
    writer: EquipmentCacheWriter, posix: Store
) -> None:
    for seconds in (0.0, 0.001, 0.01, 0.05):
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(writer.write_equipment, posix / "equipment.json", CONFOCAL)
    await EquipmentCacheWriter(lock_timeout=5).write_equipment(posix / "equipment.json", CONFOCAL)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fields(posix / "equipment.json")["last_modified_at"])
