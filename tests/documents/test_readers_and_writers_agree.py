"""What reading accepts, writing never declares corrupt; what is invalid names the byte and its place."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab_documents import CONFOCAL, LONG_AGO, TEST_RUNS, stored_equipment

from exlab_store import open_store
from exlab_store.documents import (
    DocumentInvalid,
    DocumentKind,
    EquipmentCacheWriter,
    EquipmentJson,
    SchemaMajorMismatchError,
    VersionedDocument,
)
from exlab_store.documents.formats import is_json_object

if TYPE_CHECKING:
    from exlab_store import Store

MARK = b"\xef\xbb\xbf"
KIND = DocumentKind(EquipmentJson, "1.0")


class Room(msgspec.Struct):
    id: msgspec.Raw
    name: str = ""


class Building(VersionedDocument, frozen=True, kw_only=True):
    schema_version: str = "1.0"
    rooms: list[Room] = msgspec.field(default_factory=list)
    ports: dict[str, Room] = msgspec.field(default_factory=dict)


BUILDING = DocumentKind(Building, "1.0")


def with_unknown(value: bytes) -> bytes:
    return stored_equipment()[:-1] + b',"site":' + value + b"}"


ACCEPTED = {
    "a byte order mark": MARK + stored_equipment(site="B7"),
    "a Latin-1 byte in an unknown field": with_unknown(b'"B\xfcro"'),
    "Latin-1 bytes deep in an unknown field": with_unknown(b'[{"at":"B\xfcro"},"\xff\xfe"]'),
    "both": MARK + with_unknown(b'"B\xfcro"'),
    "half a character at its end": with_unknown(b'"\xc3"'),
    "150 levels": with_unknown(b"[" * 149 + b"]" * 149),
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_read_is_not_replaced_as_corrupt(store: Store, data: bytes) -> None:
    store.atomic_write("equipment.json", data)
    assert KIND.read(store / "equipment.json").first_seen_at == LONG_AGO
    anyio.run(EquipmentCacheWriter().write_equipment, store / "equipment.json", CONFOCAL)
    assert store.list_keys() == ["equipment.json"]
    assert KIND.read(store / "equipment.json").first_seen_at == LONG_AGO


def test_a_byte_order_mark_is_not_written_back(memory: Store) -> None:
    memory.atomic_write("equipment.json", MARK + stored_equipment(site="B7"))
    anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", CONFOCAL)
    written = memory.read_snapshot("equipment.json").data
    assert written.startswith(b"{")
    assert json.loads(written)["site"] == "B7"


@pytest.mark.parametrize("value", [b'"B\xfcro"', b'[{"at":"B\xfcro"},"\xff"]'], ids=repr)
def test_bytes_that_are_not_utf8_in_an_unknown_field_are_kept_to_the_letter(memory: Store, value: bytes) -> None:
    memory.atomic_write("equipment.json", with_unknown(value))
    anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", CONFOCAL)
    assert memory.read_snapshot("equipment.json").data.endswith(b',"site":' + value + b"}")


@pytest.mark.parametrize("mark", [b"", MARK], ids=["no mark", "mark"])
def test_a_marker_that_is_read_is_not_replaced_as_corrupt(memory: Store, mark: bytes) -> None:
    writer = EquipmentCacheWriter()
    stored = (
        mark + msgspec.json.encode(msgspec.structs.replace(TEST_RUNS, project="PROJ-1"))[:-1] + b',"by":"M\xfcller"}'
    )
    memory.atomic_write("test_runs.json", stored)
    assert anyio.run(writer.read_test_runs_marker, memory / "test_runs.json").project == "PROJ-1"
    anyio.run(writer.write_test_runs_marker, memory / "test_runs.json", TEST_RUNS)
    assert memory.list_keys() == ["test_runs.json"]
    assert memory.read_snapshot("test_runs.json").data == stored


def from_below(levels: int, call: Any) -> Any:
    return call() if levels == 0 else from_below(levels - 1, call)


def test_how_deep_a_document_may_nest_does_not_depend_on_who_calls(memory: Store) -> None:
    verdicts = set()
    for called_from in (0, 300, 600):
        try:
            from_below(called_from, lambda: KIND.decode(with_unknown(b"[" * 260 + b"]" * 260)))
            verdicts.add("accepted")
        except DocumentInvalid as error:
            verdicts.add(error.message)
    assert len(verdicts) == 1


def test_a_document_is_not_called_corrupt_because_its_writer_was_called_from_deep_down(memory: Store) -> None:
    memory.atomic_write("equipment.json", with_unknown(b"[" * 190 + b"]" * 190))
    deep = sys.getrecursionlimit() - 130

    def write() -> None:
        KIND.update(memory / "equipment.json", lambda _: CONFOCAL)

    try:
        from_below(deep, write)
    except (DocumentInvalid, RecursionError):
        pass
    assert memory.list_keys() == ["equipment.json"]


def test_a_marker_is_not_called_no_object_because_its_writer_was_called_from_deep_down() -> None:
    marker = with_unknown(b"[" * 180 + b"]" * 180)
    for left in range(20, 300, 5):
        try:
            assert from_below(sys.getrecursionlimit() - left, lambda: is_json_object(marker))
        except (DocumentInvalid, RecursionError):
            pass


def test_a_migration_never_gets_a_value_undecoded_because_its_reader_was_called_from_deep_down() -> None:
    def step(document: dict[str, Any]) -> dict[str, Any]:
        types.add(type(document["site"]))
        return document

    types: set[type] = set()
    kind = DocumentKind(EquipmentJson, "1.1", migrations={"1.0": step})
    data = with_unknown(b"[" * 180 + b"]" * 180)
    for left in range(20, 300):
        try:
            from_below(sys.getrecursionlimit() - left, lambda: kind.decode(data))
        except (DocumentInvalid, RecursionError):
            pass
    assert types <= {list}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (stored_equipment(label="X").replace(b"X", b"B\xfcro"), r"byte 0xFC at position \d+ is not UTF-8.*`\$\.label`"),
        (stored_equipment()[:-1] + b',"\xff":1}', r"byte 0xFF at position \d+ is not UTF-8.*`\$`"),
        (with_unknown(b'[1,{"at":tru}]'), r"\(byte \d+\).*`\$\.site\[1\]\.at`"),
        (with_unknown(b"01"), r"\(byte \d+\).*`\$\.site`"),
    ],
    ids=["a known field", "a name", "a value deep down", "a number"],
)
def test_an_error_names_the_byte_and_its_place(data: bytes, says: str) -> None:
    with pytest.raises(DocumentInvalid, match=says):
        KIND.decode(data)


@pytest.mark.parametrize("mark", [b"", MARK], ids=["no mark", "mark"])
def test_the_position_is_that_in_the_file(mark: bytes) -> None:
    data = mark + stored_equipment(label="X").replace(b"X", b"B\xfcro")
    with pytest.raises(DocumentInvalid, match=f"position {data.index(0xFC)} "):
        KIND.decode(data)


pieces = st.sampled_from(
    [b"", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u00e9", b"\\ud800", b"\xff", b"\xc3\xa9", MARK, b"null"]
    + [
        b"1",
        b"-",
        b"1e999",
        b'"1.0"',
        b'"1.9"',
        b'"2.0"',
        b'"schema_version":',
        b'"id":',
        b'"rooms":',
        b'"x":',
        b" ",
        b"\0",
    ]
)
BASE = (
    b'{"schema_version":"1.0","rooms":[{"id":"a","x":1},{"id":2,"name":"B"}],"ports":{"COM":{"id":null,"y":"z"}},"q":7}'
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Stored bytes that somebody's editor, disk or program has been at."""
    data = draw(st.sampled_from([BASE, BASE.replace(b"1.0", b"1.4"), b"{}", b"", MARK + BASE]))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        data = data[:start] + draw(pieces) + data[end:]
    return data


def ensure_one_verdict(data: bytes) -> None:
    def read() -> bool:
        try:
            BUILDING.decode(data)
        except (DocumentInvalid, SchemaMajorMismatchError):
            return False
        return True

    def merge() -> bool:
        try:
            BUILDING.encode(Building(rooms=[Room(msgspec.Raw(b'"a"'))]), data)
        except (DocumentInvalid, SchemaMajorMismatchError):
            return False
        return True

    with open_store("memory://") as store:
        store.atomic_write("a.json", data)
        try:
            BUILDING.update(store / "a.json", lambda found: found or Building())
            copied = store.list_keys() != ["a.json"]
        except (DocumentInvalid, SchemaMajorMismatchError):
            copied = False
        accepted = read()
        assert merge() == accepted
        assert not (accepted and copied)


@given(mutated())
@example(b'{"schema_version":"1.0","B":"B",":\xffports":7}')  # the end of a value reads as the name of a field
@settings(deadline=None, max_examples=400)
def test_readers_and_writers_judge_the_same(data: bytes) -> None:
    ensure_one_verdict(data)


@pytest.mark.slow
@given(mutated())
@settings(deadline=None, max_examples=17_000)
def test_readers_and_writers_judge_the_same_17_000_times(data: bytes) -> None:
    ensure_one_verdict(data)


@pytest.mark.parametrize(
    "current",
    [
        b"",
        b"{}",
        b"[]",
        b"7",
        b'{"schema_version":1}',
        b'{"schema_version":null}',
        b'{"id":"a"}',
        b'{"schema_version":"1.0"}',
    ]
    + [b'{"schema_version":"1.0","id":5}', b'{"schema_version":"1.0","\xff":1}', b"\0" * 9, MARK, b"\xff\xfe{\0}\0"],
    ids=repr,
)
def test_odd_stored_bytes_are_an_invalid_document_for_encode(current: bytes) -> None:
    with pytest.raises((DocumentInvalid, SchemaMajorMismatchError)):
        KIND.encode(CONFOCAL, current)


def test_encode_refuses_stored_bytes_of_another_major() -> None:
    with pytest.raises(SchemaMajorMismatchError):
        KIND.encode(CONFOCAL, stored_equipment(schema_version="2.0"))


@pytest.mark.parametrize("value", [None, TEST_RUNS, {"id": "A"}, b"{}"], ids=repr)
def test_a_change_that_returns_no_document_of_the_kind_is_told_so(memory: Store, value: Any) -> None:
    memory.atomic_write("a.json", b"corrupt")
    with pytest.raises(TypeError, match=rf"EquipmentJson, not .*{type(value).__name__}"):
        KIND.update(memory / "a.json", lambda _: value)
    assert memory.read_snapshot("a.json").data == b"corrupt"
