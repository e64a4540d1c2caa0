"""Schema versions [§11.9]: what readers accept and refuse, what writers raise, keep and leave alone."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from lab_documents import CONFOCAL, stored_equipment

from exlab_store.documents import (
    DocumentInvalid,
    DocumentKind,
    EquipmentCacheWriter,
    EquipmentJson,
    SchemaMajorMismatchError,
    VersionedDocument,
    require_schema_major,
)

if TYPE_CHECKING:
    from exlab_store import Store, StorePath


class Calibration(VersionedDocument, frozen=True, kw_only=True):
    """A kind whose minor version 2 has added `operator`."""

    schema_version: str = "1.2"
    lens: str
    operator: str = "nobody"


CALIBRATION = DocumentKind(Calibration, "1.2")

NOT_VERSIONS = [
    "",
    " ",
    "1",
    "1.",
    ".0",
    "1.0.0",
    " 1.0",
    "1.0 ",
    "1.0\n",
    "1.0\0",
    "01.0",
    "1.00",
    "+1.0",
    "-1.0",
    "1.-0",
    "1,0",
    "v1.0",
    "1.0a",
    "1.x",
    "1e0.0",
    "1_0.0",
    "0x1.0",
    "1..0",
    "1.0.",
    "\u0661.\u0660",
    "\uff11.\uff10",
    "¹.⁰",
    "one.zero",
    "null",
    "1.\u200b0",
]


@pytest.fixture
def document(memory: Store) -> StorePath:
    return memory / "equipment.json"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.9", "1.10", "1.4294967296"])
def test_the_gate_accepts_every_minor_of_the_major(version: str) -> None:
    require_schema_major(version, expected_major=1)


@pytest.mark.parametrize("version", ["0.9", "2.0", "10.0", "11.1"])
def test_the_gate_refuses_other_majors_and_names_the_text_verbatim(version: str) -> None:
    with pytest.raises(SchemaMajorMismatchError) as caught:
        require_schema_major(version, expected_major=1)
    assert (caught.value.expected_major, caught.value.found) == (1, version)


@pytest.mark.parametrize("version", NOT_VERSIONS, ids=ascii)
def test_what_is_not_major_dot_minor_counts_as_a_mismatch(version: str) -> None:
    with pytest.raises(SchemaMajorMismatchError) as caught:
        require_schema_major(version, expected_major=1)
    assert caught.value.found == version


def test_no_version_at_all_counts_as_a_mismatch() -> None:
    with pytest.raises(SchemaMajorMismatchError):
        require_schema_major(None, expected_major=1)


@pytest.mark.parametrize("version", ["9" * 5000 + ".0", "1." + "9" * 5000], ids=["major", "minor"])
def test_a_version_of_thousands_of_digits_is_compared_and_not_stumbled_over(version: str) -> None:
    try:
        require_schema_major(version, expected_major=1)
    except SchemaMajorMismatchError as error:
        assert error.found == version


def test_major_zero_is_a_major_like_any_other() -> None:
    require_schema_major("0.3", expected_major=0)


@pytest.mark.parametrize("version", ["1", "1.0.0", "", "one"])
def test_a_kind_is_only_made_with_a_version_of_its_own(version: str) -> None:
    with pytest.raises(ValueError, match=r"MAJOR\.MINOR"):
        DocumentKind(Calibration, version)


def test_a_field_that_an_older_minor_lacks_gets_its_default() -> None:
    assert CALIBRATION.decode(b'{"schema_version":"1.0","lens":"10x"}') == Calibration(
        schema_version="1.0", lens="10x", operator="nobody"
    )


def test_unknown_fields_of_a_newer_minor_are_ignored() -> None:
    newer = b'{"schema_version":"1.9","lens":"10x","operator":"ada","cover_slip":{"mm":[0.17]}}'
    assert CALIBRATION.decode(newer) == Calibration(schema_version="1.9", lens="10x", operator="ada")


def test_a_reader_refuses_another_major_and_parses_nothing_of_it() -> None:
    with pytest.raises(SchemaMajorMismatchError) as caught:
        CALIBRATION.decode(b'{"lens":{"now":"an object"},"schema_version":"2.0"}')
    assert (caught.value.expected_major, caught.value.found) == (1, "2.0")


@pytest.mark.parametrize("version", NOT_VERSIONS, ids=ascii)
def test_a_reader_refuses_a_document_whose_version_is_no_version(version: str, document: StorePath) -> None:
    document.atomic_write(stored_equipment(schema_version=version))
    with pytest.raises(SchemaMajorMismatchError) as caught:
        anyio.run(EquipmentCacheWriter().read_equipment, document)
    assert caught.value.found == version


def test_a_stored_version_of_thousands_of_digits_is_a_documented_error_or_read(document: StorePath) -> None:
    document.atomic_write(stored_equipment(schema_version="1." + "9" * 5000))
    try:
        found = anyio.run(EquipmentCacheWriter().read_equipment, document)
    except (SchemaMajorMismatchError, DocumentInvalid):
        return
    assert found.id == "CONFOCAL_01"


@pytest.mark.parametrize("version", [None, 1, 2, 2.0, True, ["1.0"], {"major": 1}], ids=repr)
def test_a_version_that_is_not_text_is_never_read_as_this_one(version: Any, document: StorePath) -> None:
    document.atomic_write(stored_equipment(schema_version=version))
    with pytest.raises((SchemaMajorMismatchError, DocumentInvalid)):
        anyio.run(EquipmentCacheWriter().read_equipment, document)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"{]", "malformed"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"\xef\xbb\xbf{}", "schema_version"),
        (b"{}", "schema_version"),
        (b'{"lens":"10x"}', "schema_version"),
        (b'{"schema_version":"1.0"}', "lens"),
        (b'{"schema_version":"1.0","lens":5}', "lens"),
        (b'{"schema_version":"1.0","lens":"10x"} trailing', "malformed"),
        (b'{"schema_version":"1.0","lens":"\xff"}', "UTF-8"),
    ],
)
def test_an_invalid_document_is_refused_with_what_exactly_is_wrong(data: bytes, says: str) -> None:
    with pytest.raises(DocumentInvalid, match=says):
        CALIBRATION.decode(data)


def test_an_invalid_document_is_a_validation_error_and_a_decode_error_of_msgspec() -> None:
    with pytest.raises(DocumentInvalid) as caught:
        CALIBRATION.decode(b"{")
    assert isinstance(caught.value, msgspec.ValidationError)
    assert isinstance(caught.value, msgspec.DecodeError)


@pytest.mark.parametrize(
    "data",
    [
        b'{"schema_version":"1.\xff"}',
        b'{"schema_version":"1.0","lens":"10x","unknown":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"schema_version":"1.0","lens":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"schema_version":"1.0","lens":"10x","unknown":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
        b"[" * 100_000,
    ],
    ids=["version not UTF-8", "deep unknown list", "deep known field", "deep unknown object", "only brackets"],
)
def test_bytes_that_no_writer_makes_are_refused_as_an_invalid_document(data: bytes) -> None:
    with pytest.raises(DocumentInvalid):
        CALIBRATION.decode(data)


def test_the_error_of_a_reader_names_the_document_and_the_store(posix: Store) -> None:
    posix.atomic_write("CONFOCAL_01/equipment.json", b"{")
    with pytest.raises(DocumentInvalid) as caught:
        CALIBRATION.read(posix / "CONFOCAL_01/equipment.json")
    assert (caught.value.key, caught.value.location) == ("CONFOCAL_01/equipment.json", str(posix.location))


def test_a_writer_raises_an_older_minor_to_its_own(memory: Store) -> None:
    memory.atomic_write("a.json", b'{"schema_version":"1.0","lens":"10x"}')
    CALIBRATION.update(memory / "a.json", lambda found: found or Calibration(lens="20x"))
    assert json.loads(memory.read_snapshot("a.json").data)["schema_version"] == "1.2"


@pytest.mark.parametrize("version", ["1.3", "1.10", "1.100"])
def test_a_writer_never_lowers_a_newer_minor(memory: Store, version: str) -> None:
    memory.atomic_write("a.json", msgspec.json.encode({"schema_version": version, "lens": "10x"}))
    CALIBRATION.update(memory / "a.json", lambda _: Calibration(lens="20x"))
    assert json.loads(memory.read_snapshot("a.json").data)["schema_version"] == version


@pytest.mark.parametrize("says", ["1.0", "1.2", "1.7"])
def test_a_first_write_stores_the_minor_of_the_program_whatever_the_document_says(memory: Store, says: str) -> None:
    CALIBRATION.update(memory / "a.json", lambda _: Calibration(schema_version=says, lens="10x"))
    assert CALIBRATION.read(memory / "a.json").schema_version == "1.2"


def test_a_first_write_stores_the_minor_of_the_kind_and_not_the_default_of_its_struct() -> None:
    newer = DocumentKind(Calibration, "1.3")
    assert newer.decode(newer.encode(Calibration(lens="10x"))).schema_version == "1.3"


def test_an_update_returns_the_document_as_it_is_stored(memory: Store) -> None:
    memory.atomic_write("a.json", b'{"schema_version":"1.7","lens":"10x"}')
    written = CALIBRATION.update(memory / "a.json", lambda _: Calibration(lens="20x"))
    assert written == CALIBRATION.read(memory / "a.json")


def test_a_writer_refuses_to_overwrite_another_major_and_its_bytes_stay(store: Store) -> None:
    second = stored_equipment(schema_version="2.0", id={"moved": "elsewhere"})
    store.atomic_write("equipment.json", second)
    with pytest.raises(SchemaMajorMismatchError) as caught:
        anyio.run(EquipmentCacheWriter().write_equipment, store / "equipment.json", CONFOCAL)
    assert caught.value.found == "2.0"
    assert store.read_snapshot("equipment.json").data == second
    assert store.list_keys() == ["equipment.json"]


@pytest.mark.parametrize("version", ["", "1", "2", "1.0.0"])
def test_a_writer_refuses_to_overwrite_a_document_whose_version_is_no_version(memory: Store, version: str) -> None:
    odd = stored_equipment(schema_version=version)
    memory.atomic_write("equipment.json", odd)
    with pytest.raises(SchemaMajorMismatchError):
        anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", CONFOCAL)
    assert memory.read_snapshot("equipment.json").data == odd


@pytest.mark.parametrize("version", [2, 2.0, None], ids=repr)
def test_a_writer_never_loses_a_document_whose_version_is_not_text(memory: Store, version: Any) -> None:
    odd = stored_equipment(schema_version=version)
    memory.atomic_write("equipment.json", odd)
    with suppress(SchemaMajorMismatchError):
        anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", CONFOCAL)
    assert odd in [memory.read_snapshot(key).data for key in memory.list_keys()]


def test_a_writer_refuses_a_payload_of_another_major(memory: Store) -> None:
    with pytest.raises(SchemaMajorMismatchError):
        CALIBRATION.update(memory / "a.json", lambda _: Calibration(schema_version="2.0", lens="10x"))
    assert memory.list_keys() == []


@pytest.mark.parametrize("bad", [{"label": 5}, {"id": None}, {"first_seen_at": "yesterday"}], ids=str)
def test_a_payload_that_does_not_fit_its_own_type_changes_nothing(memory: Store, bad: dict[str, Any]) -> None:
    before = stored_equipment(first_seen_at="")
    memory.atomic_write("equipment.json", before)
    kind = DocumentKind(EquipmentJson, "1.0")
    with pytest.raises(DocumentInvalid) as caught:
        kind.update(memory / "equipment.json", lambda _: msgspec.structs.replace(CONFOCAL, **bad))
    assert (caught.value.key, memory.read_snapshot("equipment.json").data) == ("equipment.json", before)


def test_an_error_of_the_change_itself_passes_through_and_changes_nothing(memory: Store) -> None:
    def change(_: Calibration | None) -> Calibration:
        raise LookupError("the lens is not in its box")

    with pytest.raises(LookupError, match="the lens is not in its box"):
        CALIBRATION.update(memory / "a.json", change)
    assert memory.list_keys() == []
