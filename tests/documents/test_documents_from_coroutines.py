"""Typed documents from coroutines, on asyncio and trio: the same as from functions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest

from exlab_store import DocumentNotFound, LocationError, open_store
from exlab_store.documents import (
    ConfigError,
    DocumentInvalid,
    DocumentKind,
    EquipmentCacheWriter,
    EquipmentJson,
    LIMSProject,
    OfflineCatalogue,
    SchemaMajorMismatchError,
    VersionedDocument,
    aread_catalogue,
    awrite_catalogue,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from pathlib import Path

    from samba_server import SambaServer

    from exlab_store import Store

pytestmark = pytest.mark.anyio

ENDPOINT = "https://lims.lab.example/api/v1"
CATALOGUE = OfflineCatalogue(
    "1.0",
    "LAB_STATION_01",
    "2026-05-05T14:23:00Z",
    ENDPOINT,
    [LIMSProject("u1", "PROJ-0042", "Cells", "Active", "ada", "2026-05-05T14:23:00Z")],
)


class Counter(VersionedDocument, frozen=True, kw_only=True):
    schema_version: str = "1.0"
    count: int


COUNTER = DocumentKind(Counter, "1.0")


def one_more(stored: Counter | None) -> Counter:
    return Counter(count=1 if stored is None else stored.count + 1)


async def test_a_catalogue_that_a_coroutine_writes_is_what_a_function_writes(store: Store) -> None:
    await awrite_catalogue(store / "coroutine.json", CATALOGUE)
    write_catalogue(store / "function.json", CATALOGUE)
    assert store.read_snapshot("coroutine.json") == store.read_snapshot("function.json")


async def test_a_coroutine_reads_what_a_function_reads(store: Store) -> None:
    write_catalogue(store / "a.json", CATALOGUE)
    found = await aread_catalogue(store / "a.json", expected_endpoint=ENDPOINT)
    assert found == read_catalogue(store / "a.json", expected_endpoint=ENDPOINT) == CATALOGUE


async def test_a_catalogue_may_be_given_as_a_path_that_nobody_has_opened(tmp_path: Path) -> None:
    await awrite_catalogue(tmp_path / "deep" / "er" / "a.json", CATALOGUE)
    found = await aread_catalogue(f"file://{tmp_path}/deep/er/a.json", expected_endpoint=ENDPOINT)
    assert found == CATALOGUE


@pytest.mark.parametrize(
    "stored",
    [None, b"", b"{", b"[]", b'{"schema_version":"2.0"}', b'{"schema_version":"1.0","lims_endpoint":"other"}'],
)
async def test_a_catalogue_that_cannot_be_used_is_the_same_error(store: Store, stored: bytes | None) -> None:
    path = store / "a.json"
    if stored is not None:
        path.atomic_write(stored)
    with pytest.raises(ConfigError) as expected:
        read_catalogue(path, expected_endpoint=ENDPOINT)
    with pytest.raises(ConfigError) as caught:
        await aread_catalogue(path, expected_endpoint=ENDPOINT)
    assert caught.value.envelope() == expected.value.envelope()
    assert (caught.value.key, caught.value.location) == (expected.value.key, expected.value.location)


async def test_a_location_that_is_none_is_a_config_error_for_a_reader_too() -> None:
    with pytest.raises(ConfigError):
        await aread_catalogue("relative.json", expected_endpoint=ENDPOINT)
    with pytest.raises(LocationError):
        await awrite_catalogue("relative.json", CATALOGUE)


async def test_a_catalogue_with_something_else_in_it_is_not_written(store: Store) -> None:
    wrong = OfflineCatalogue("1.0", "A", "B", ENDPOINT, [{"uid": "u1"}])  # type: ignore[list-item]
    with pytest.raises(DocumentInvalid, match=r"projects\[0\]"):
        await awrite_catalogue(store / "a.json", wrong)
    with pytest.raises(DocumentNotFound):
        store.read_snapshot("a.json")


async def test_a_kind_of_document_has_coroutines(store: Store) -> None:
    path = store / "counter.json"
    with pytest.raises(DocumentNotFound):
        await COUNTER.aread(path)
    assert (await COUNTER.aupdate(path, one_more)).count == 1
    assert (await COUNTER.aread(path)).count == COUNTER.read(path).count == 1


async def test_updates_of_tasks_and_of_functions_are_all_counted(store: Store) -> None:
    path = store / "counter.json"

    def in_a_thread() -> None:
        for _ in range(20):
            COUNTER.update(path, one_more)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(COUNTER.aupdate, path, one_more)
    await anyio.to_thread.run_sync(thread.join)
    assert COUNTER.read(path).count == 70


async def test_unknown_fields_stay_and_other_majors_are_refused(store: Store) -> None:
    path = store / "counter.json"
    path.atomic_write(b'{"schema_version":"1.3","count":4,"unit":"runs"}')
    assert (await COUNTER.aupdate(path, one_more)).count == 5
    assert path.read_snapshot().data == b'{"schema_version":"1.3","count":5,"unit":"runs"}'
    path.atomic_write(b'{"schema_version":"2.0"}')
    with pytest.raises(SchemaMajorMismatchError) as caught:
        await COUNTER.aupdate(path, one_more)
    assert caught.value.key == "counter.json"


async def test_three_hundred_instruments_in_folders_of_their_own_take_no_more_threads(tmp_path: Path) -> None:
    writer = EquipmentCacheWriter()
    before = set(threading.enumerate())
    most = 0

    async def write(number: int) -> None:
        nonlocal most
        payload = EquipmentJson(id=f"E{number}", label="", configured_local_root="/a", configured_nas_root="//b")
        await writer.write_equipment(tmp_path / f"E{number}" / "equipment.json", payload)
        most = max(most, len(set(threading.enumerate()) - before))

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(write, number)
    assert len(list(tmp_path.glob("*/equipment.json"))) == 300
    assert most <= 16


@pytest.mark.one_interpreter
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_catalogue_goes_over_smb_as_well(samba: SambaServer) -> None:
    with open_store(samba.url(), password=samba.password) as store:
        await awrite_catalogue(store / "a.json", CATALOGUE)
        assert await aread_catalogue(store / "a.json", expected_endpoint=ENDPOINT) == CATALOGUE
