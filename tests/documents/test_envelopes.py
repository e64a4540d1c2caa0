"""Errors as the application reports them [§4.6.3]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest
from lab_documents import CONFOCAL, ENDPOINT, stored_equipment

from exlab_store import ConfigError, DocumentNotFound, LockTimeout
from exlab_store.documents import (
    DocumentInvalid,
    EquipmentCacheWriter,
    SchemaMajorMismatchError,
    read_catalogue,
    require_schema_major,
)

if TYPE_CHECKING:
    from exlab_store import Store


def test_the_envelope_of_another_major_has_the_field_and_the_details_of_the_format() -> None:
    with pytest.raises(SchemaMajorMismatchError) as caught:
        require_schema_major("2.0", expected_major=1)
    assert caught.value.envelope("trace-7") == {
        "error": {
            "code": "schema_major_mismatch",
            "message": str(caught.value),
            "field": "schema_version",
            "details": {"expected_major": 1, "found": "2.0"},
            "trace_id": "trace-7",
        }
    }


def test_members_that_are_empty_are_left_out() -> None:
    assert set(ConfigError("broken").envelope()["error"]) == {"code", "message"}


@pytest.mark.parametrize("trace_id", [None, ""])
def test_an_empty_trace_id_is_left_out(trace_id: str | None) -> None:
    assert "trace_id" not in ConfigError("broken").envelope(trace_id)["error"]


def test_the_members_stand_in_the_order_of_the_format() -> None:
    envelope = SchemaMajorMismatchError(1, "2.0").envelope("t")
    assert list(envelope["error"]) == ["code", "message", "field", "details", "trace_id"]


def test_a_missing_version_is_found_as_empty_text() -> None:
    with pytest.raises(SchemaMajorMismatchError) as caught:
        require_schema_major(None, expected_major=1)
    assert caught.value.envelope()["error"]["details"] == {"expected_major": 1, "found": ""}


def test_the_message_of_a_stored_document_of_another_major_names_the_document(posix: Store) -> None:
    posix.atomic_write("E/equipment.json", stored_equipment(schema_version="2.0"))
    with pytest.raises(SchemaMajorMismatchError) as caught:
        anyio.run(EquipmentCacheWriter().read_equipment, posix / "E" / "equipment.json")
    assert f"E/equipment.json in {posix.location}" in str(caught.value.envelope()["error"]["message"])


def test_a_refused_catalogue_is_a_config_error_in_its_envelope(memory: Store) -> None:
    with pytest.raises(ConfigError) as caught:
        read_catalogue(memory / "c.json", expected_endpoint=ENDPOINT)
    assert caught.value.envelope()["error"]["code"] == "config_error"


def test_an_invalid_document_is_one_in_its_envelope(memory: Store) -> None:
    memory.atomic_write("equipment.json", b"{")
    with pytest.raises(DocumentInvalid) as caught:
        anyio.run(EquipmentCacheWriter().read_equipment, memory / "equipment.json")
    assert caught.value.envelope()["error"]["code"] == "document_invalid"


def test_a_missing_document_is_one_in_its_envelope(memory: Store) -> None:
    with pytest.raises(DocumentNotFound) as caught:
        anyio.run(EquipmentCacheWriter().read_equipment, memory / "equipment.json")
    assert caught.value.envelope()["error"]["code"] == "document_not_found"


def test_the_envelope_of_a_lock_timeout_says_who_holds_the_lock_and_is_json(memory: Store) -> None:
    with memory.lock("equipment.json", purpose="re-sync"), pytest.raises(LockTimeout) as caught:
        anyio.run(EquipmentCacheWriter(lock_timeout=0.05).write_equipment, memory / "equipment.json", CONFOCAL)
    envelope = msgspec.json.decode(msgspec.json.encode(caught.value.envelope()))
    assert envelope["error"]["details"]["holder"]["purpose"] == "re-sync"


def test_the_status_stands_in_the_envelope_where_it_is_asked_for() -> None:
    assert DocumentNotFound("none").envelope(with_status=True)["error"]["status"] == 404
    assert "status" not in DocumentNotFound("none").envelope()["error"]
