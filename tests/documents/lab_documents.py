"""Documents as a lab has them, for the tests beside this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store import hookimpl
from exlab_store.documents import EquipmentJson, LIMSProject, OfflineCatalogue, RunsJson, TestRunsJson

if TYPE_CHECKING:
    from collections.abc import Generator

    from exlab_store import Expectation, HeldLock, Version

ENDPOINT = "https://lims.lab.example/api/v1"
LONG_AGO = "2025-09-12T09:14:00Z"

CONFOCAL = EquipmentJson(
    id="CONFOCAL_01",
    label="Confocal Microscope 1",
    configured_local_root="/data/lab",
    configured_nas_root="//nas01/lab",
)
TEST_RUNS = TestRunsJson(created_at="2026-04-17T14:00:00Z", project="PROJ-0042", equipment="CONFOCAL_01")
RUNS = RunsJson(created_at="2026-04-17T14:00:00Z", project="PROJ-0042", equipment="CONFOCAL_01")

ROW = LIMSProject(
    uid="7f3c",
    short_id="PROJ-0042",
    name="Zebrafish µ-imaging",
    status="Active",
    owner="a.lovelace",
    fetched_at="2026-05-05T14:23:00Z",
)
CATALOGUE = OfflineCatalogue(
    schema_version="1.0",
    produced_by="LAB_STATION_01",
    produced_at="2026-05-05T14:23:00Z",
    lims_endpoint=ENDPOINT,
    projects=[ROW],
)


def stored_equipment(**changes: Any) -> bytes:
    """An `equipment.json` that was written long ago; a field that is changed to `...` is left out."""
    fields: dict[str, Any] = {
        "schema_version": "1.0",
        "id": "CONFOCAL_01",
        "label": "Confocal Microscope 1",
        "configured_local_root": "/data/lab",
        "configured_nas_root": "//nas01/lab",
        "first_seen_at": LONG_AGO,
        "last_modified_at": LONG_AGO,
        **changes,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not ...})


def stored_catalogue(**changes: Any) -> bytes:
    """A catalogue's bytes; a field that is changed to `...` is left out."""
    fields = {**msgspec.to_builtins(CATALOGUE), **changes}
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not ...})


def stored_row(**changes: Any) -> dict[str, Any]:
    """A row of a catalogue; a field that is changed to `...` is left out."""
    fields = {**msgspec.to_builtins(ROW), **changes}
    return {name: value for name, value in fields.items() if value is not ...}


class CountsWrites:
    """An observer that counts the writes that reach the backend."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    @hookimpl(wrapper=True)
    def atomic_write(
        self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None
    ) -> Generator[None, Version, Version]:
        self.writes.append(key)
        return (yield)
