"""The stored bytes and the times in them, to the letter [§11.9]."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest
from lab_documents import CONFOCAL, RUNS, stored_equipment

from exlab_store.documents import DocumentInvalid, EquipmentCacheWriter, now, timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store


def written(store: Store) -> bytes:
    anyio.run(EquipmentCacheWriter().write_equipment, store / "equipment.json", CONFOCAL)
    return store.read_snapshot("equipment.json").data


def test_equipment_json_is_compact_and_in_the_order_of_its_declaration(store: Store) -> None:
    moment = rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"'
    expected = (
        rb'\{"schema_version":"1\.0","id":"CONFOCAL_01","label":"Confocal Microscope 1",'
        rb'"configured_local_root":"/data/lab","configured_nas_root":"//nas01/lab",'
        rb'"first_seen_at":' + moment + rb',"last_modified_at":' + moment + rb"\}"
    )
    assert re.fullmatch(expected, written(store))


def test_unknown_keys_come_after_the_known_ones_in_their_own_order(memory: Store) -> None:
    memory.atomic_write("equipment.json", b'{"zebra":1,' + stored_equipment()[1:-1] + b',"ant":{"b":1,"a":2}}')
    assert written(memory).endswith(b'Z","zebra":1,"ant":{"b":1,"a":2}}')


def test_the_layout_of_another_program_is_replaced_by_the_compact_one(memory: Store) -> None:
    pretty = msgspec.json.format(stored_equipment(x={"a": [1, 2]}), indent=2) + b"\n"
    memory.atomic_write("equipment.json", pretty)
    data = written(memory)
    assert data == msgspec.json.encode(msgspec.json.decode(data))


def test_text_is_utf_8_and_not_escaped(memory: Store) -> None:
    payload = msgspec.structs.replace(CONFOCAL, label='Mikroskop "Ö" 顕微鏡 𝔐')
    anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", payload)
    assert '"label":"Mikroskop \\"Ö\\" 顕微鏡 𝔐"'.encode() in memory.read_snapshot("equipment.json").data


def test_now_is_utc_in_whole_seconds() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    moment = datetime.strptime(now(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= moment <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (datetime(2026, 4, 17, 14, 0, tzinfo=UTC), "2026-04-17T14:00:00Z"),
        (datetime(2026, 4, 17, 14, 0, 0, 999_999, tzinfo=UTC), "2026-04-17T14:00:00Z"),
        (datetime(2026, 4, 17, 23, 0, tzinfo=timezone(timedelta(hours=9))), "2026-04-17T14:00:00Z"),
        ("2026-04-17T14:00:00+00:00", "2026-04-17T14:00:00Z"),
        ("2026-04-17T14:00:00.5Z", "2026-04-17T14:00:00Z"),
    ],
    ids=str,
)
def test_a_time_is_written_in_utc_and_whole_seconds(given: datetime | str, expected: str) -> None:
    assert timestamp(given) == expected


@pytest.mark.parametrize("given", [datetime(2026, 4, 17), "2026-04-17T14:00:00", "noon", "0", ""], ids=str)  # noqa: DTZ001
def test_a_time_without_a_zone_or_sense_is_refused(given: datetime | str) -> None:
    with pytest.raises(ValueError):
        timestamp(given)


@pytest.mark.parametrize(
    "moment",
    [
        "2026-04-17T14:00:00Z",
        "2026-04-17T14:00:00+00:00",
        "2026-04-17T14:00:00.1Z",
        "2026-04-17T14:00:00.123456789+00:00",
        "2024-02-29T23:59:59Z",
    ],
)
def test_readers_accept_a_zero_offset_and_fractions(memory: Store, moment: str) -> None:
    memory.atomic_write("equipment.json", stored_equipment(first_seen_at=moment))
    assert anyio.run(EquipmentCacheWriter().read_equipment, memory / "equipment.json").first_seen_at == moment


@pytest.mark.parametrize(
    "moment",
    ["yesterday", "2026-04-17", "2026-13-01T00:00:00Z", "2026-04-17T25:00:00Z", "2026-04-17T14:00:00", 1, None]
    + ["2026-04-17T14:00:00Z\n", " 2026-04-17T14:00:00Z"],
    ids=repr,
)
def test_readers_refuse_what_is_no_time(memory: Store, moment: object) -> None:
    memory.atomic_write("equipment.json", stored_equipment(last_modified_at=moment))
    with pytest.raises(DocumentInvalid, match="last_modified_at"):
        anyio.run(EquipmentCacheWriter().read_equipment, memory / "equipment.json")


def test_the_lock_of_a_document_is_the_file_of_its_name_and_lock_beside_it_and_stays(tmp_path: Path) -> None:
    anyio.run(EquipmentCacheWriter().write_runs_marker, tmp_path / "runs.json", RUNS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.json", "runs.json.lock"]


@pytest.mark.parametrize("year", [1, 9, 999, 1000, 9999])
def test_a_year_has_four_digits(year: int) -> None:
    assert timestamp(datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)) == f"{year:04d}-02-03T04:05:06Z"


@pytest.mark.parametrize(("year", "hours"), [(1, 14), (9999, -12)])
def test_a_time_that_no_year_holds_in_utc_is_a_value_error(year: int, hours: int) -> None:
    moment = datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, 12, tzinfo=timezone(timedelta(hours=hours)))
    with pytest.raises(ValueError, match="between the years"):
        timestamp(moment)
