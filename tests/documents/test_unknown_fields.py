"""A writer keeps every field that it does not know, at every depth [§11.9]."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab_documents import CONFOCAL, stored_equipment

from exlab_store import open_store
from exlab_store.documents import DocumentKind, EquipmentCacheWriter, EquipmentJson, VersionedDocument

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Store


class Room(msgspec.Struct):
    name: str
    floor: int | None = None


class Sensor(msgspec.Struct):
    id: str
    gain: float = 1.0
    room: Room | None = None


class Project(msgspec.Struct):
    uid: str
    id: str = ""


class Step(msgspec.Struct):
    action: str


class Laser(msgspec.Struct, tag="laser"):
    nm: int


class Lamp(msgspec.Struct, tag="lamp"):
    watts: int


class Instrument(VersionedDocument, frozen=True, kw_only=True):
    schema_version: str = "1.2"
    room: Room | None = None
    spare: Room | None = None
    sensors: list[Sensor] = msgspec.field(default_factory=list)
    projects: list[Project] = msgspec.field(default_factory=list)
    steps: list[Step] = msgspec.field(default_factory=list)
    ports: dict[str, Room] = msgspec.field(default_factory=dict)
    light: Laser | Lamp | None = None
    pair: tuple[Room, Room] | None = None
    nested: list[list[Sensor]] = msgspec.field(default_factory=list)
    renamed: str = msgspec.field(default="", name="stored-name")
    free: dict[str, Any] = msgspec.field(default_factory=dict)


KIND = DocumentKind(Instrument, "1.2")


def rewritten(stored: dict[str, Any], change: Callable[[Instrument], Instrument] = lambda found: found) -> Any:
    """What is stored after a program has read, changed and written a document that holds more than it knows."""
    with open_store("memory://") as store:
        store.atomic_write("a.json", json.dumps({"schema_version": "1.9", **stored}).encode())

        def changed(found: Instrument | None) -> Instrument:
            assert found is not None
            return change(found)

        KIND.update(store / "a.json", changed)
        assert store.list_keys() == ["a.json"]
        return json.loads(store.read_snapshot("a.json").data)


def replacing(**fields: Any) -> Callable[[Instrument], Instrument]:
    return lambda found: msgspec.structs.replace(found, **fields)


def test_at_the_top() -> None:
    assert rewritten({"x": {"y": [1]}})["x"] == {"y": [1]}


def test_in_a_nested_object() -> None:
    found = rewritten({"room": {"name": "B12", "key": "under the mat"}}, replacing(room=Room("B13")))
    assert found["room"] == {"name": "B13", "floor": None, "key": "under the mat"}


def test_in_an_optional_object_that_is_set() -> None:
    assert rewritten({"spare": {"name": "B12", "x": 1}})["spare"]["x"] == 1


def test_not_in_an_object_that_was_taken_out() -> None:
    assert rewritten({"room": {"name": "B12", "x": 1}}, replacing(room=None))["room"] is None


def test_not_in_an_object_that_was_absent() -> None:
    assert rewritten({"room": None}, replacing(room=Room("B12")))["room"] == {"name": "B12", "floor": None}


def test_in_the_items_of_a_list_that_have_an_id_whatever_their_order() -> None:
    stored = {"sensors": [{"id": "a", "x": 1}, {"id": "b", "x": 2}]}
    found = rewritten(stored, lambda was: replacing(sensors=was.sensors[::-1])(was))
    assert [(item["id"], item["x"]) for item in found["sensors"]] == [("b", 2), ("a", 1)]


def test_in_the_items_of_a_list_that_have_an_id_when_everything_else_has_changed() -> None:
    found = rewritten({"sensors": [{"id": "a", "gain": 1.0, "x": 1}]}, replacing(sensors=[Sensor("a", gain=7.0)]))
    assert found["sensors"] == [{"id": "a", "gain": 7.0, "room": None, "x": 1}]


def test_in_the_other_items_when_one_is_taken_from_the_middle() -> None:
    stored = {"sensors": [{"id": name, "x": name} for name in "abcde"]}
    found = rewritten(stored, lambda was: replacing(sensors=[item for item in was.sensors if item.id != "c"])(was))
    assert [item["x"] for item in found["sensors"]] == ["a", "b", "d", "e"]


def test_in_the_other_items_when_one_is_put_into_the_middle() -> None:
    stored = {"sensors": [{"id": name, "x": name} for name in "ab"]}
    found = rewritten(stored, lambda was: replacing(sensors=[was.sensors[0], Sensor("new"), was.sensors[1]])(was))
    assert [item.get("x") for item in found["sensors"]] == ["a", None, "b"]


def test_a_new_item_does_not_inherit_from_one_that_was_taken_out() -> None:
    found = rewritten({"sensors": [{"id": "old", "x": 1}]}, replacing(sensors=[Sensor("new")]))
    assert "x" not in found["sensors"][0]


def test_below_the_items_of_a_list() -> None:
    stored = {"sensors": [{"id": "a", "room": {"name": "B12", "x": 1}}, {"id": "b", "room": {"name": "B12", "x": 2}}]}
    found = rewritten(stored, lambda was: replacing(sensors=was.sensors[1:])(was))
    assert found["sensors"][0]["room"]["x"] == 2


def test_in_lists_of_lists() -> None:
    assert rewritten({"nested": [[{"id": "a", "x": 1}], [{"id": "b", "x": 2}]]})["nested"][1][0]["x"] == 2


def test_items_that_have_a_uid_are_told_apart_by_it_and_not_by_their_id() -> None:
    stored = {"projects": [{"uid": "1", "id": "same", "x": 1}, {"uid": "2", "id": "same", "x": 2}]}
    found = rewritten(stored, lambda was: replacing(projects=was.projects[1:])(was))
    assert [item["x"] for item in found["projects"]] == [2]


def test_in_the_items_of_a_list_without_ids_by_what_they_say() -> None:
    stored = {"steps": [{"action": "focus", "x": 1}, {"action": "bleach", "x": 2}, {"action": "scan", "x": 3}]}
    found = rewritten(stored, lambda was: replacing(steps=[was.steps[0], was.steps[2]])(was))
    assert [item["x"] for item in found["steps"]] == [1, 3]


def test_in_the_items_of_a_list_without_ids_by_place_when_one_has_changed() -> None:
    stored = {"steps": [{"action": "focus", "x": 1}, {"action": "bleach", "x": 2}]}
    found = rewritten(stored, lambda was: replacing(steps=[was.steps[0], Step("bleach longer")])(was))
    assert [item["x"] for item in found["steps"]] == [1, 2]


def test_in_equal_items_one_after_the_other() -> None:
    stored = {"steps": [{"action": "scan", "x": 1}, {"action": "scan", "x": 2}]}
    assert [item["x"] for item in rewritten(stored)["steps"]] == [1, 2]


def test_in_the_objects_of_a_dictionary() -> None:
    stored = {"ports": {"COM 1": {"name": "B12", "x": 1}, "COM 2": {"name": "B12", "x": 2}}}
    found = rewritten(stored, lambda was: replacing(ports={"COM 2": was.ports["COM 2"]})(was))
    assert found["ports"] == {"COM 2": {"name": "B12", "floor": None, "x": 2}}


def test_in_the_member_of_a_union_that_it_still_is() -> None:
    found = rewritten({"light": {"type": "laser", "nm": 488, "x": 1}}, replacing(light=Laser(561)))
    assert found["light"] == {"type": "laser", "nm": 561, "x": 1}


def test_not_in_another_member_of_a_union() -> None:
    found = rewritten({"light": {"type": "laser", "nm": 488, "x": 1}}, replacing(light=Lamp(100)))
    assert found["light"] == {"type": "lamp", "watts": 100}


def test_in_the_items_of_a_tuple() -> None:
    found = rewritten({"pair": [{"name": "a", "x": 1}, {"name": "b", "x": 2}]})
    assert [item["x"] for item in found["pair"]] == [1, 2]


def test_a_field_is_known_by_the_name_it_is_stored_under() -> None:
    found = rewritten({"stored-name": "before", "renamed": "a stranger"}, replacing(renamed="after"))
    assert (found["stored-name"], found["renamed"]) == ("after", "a stranger")


def test_a_free_form_object_is_the_programs_own_and_a_key_that_it_takes_out_stays_out() -> None:
    assert rewritten({"free": {"a": 1, "b": 2}}, replacing(free={"b": 3}))["free"] == {"b": 3}


def test_the_known_fields_come_first_and_the_unknown_ones_keep_their_order() -> None:
    found = rewritten({"zebra": 1, "room": None, "aardvark": 2})
    assert list(found)[:2] == ["schema_version", "room"]
    assert list(found)[-2:] == ["zebra", "aardvark"]


def test_of_two_equal_keys_the_last_is_kept_as_every_reader_of_json_does(memory: Store) -> None:
    memory.atomic_write("a.json", b'{"schema_version":"1.9","x":1,"x":2}')
    KIND.update(memory / "a.json", lambda found: found or Instrument())
    assert json.loads(memory.read_snapshot("a.json").data)["x"] == 2


@pytest.mark.parametrize(
    "number",
    ["18446744073709551616", "-9223372036854775809", str(10**300), "-0.0", "0.1", "5e-324", "1.7976931348623157e308"]
    + ["1e22", "1.0", "9007199254740993"],
)
def test_a_number_survives_exactly(memory: Store, number: str) -> None:
    memory.atomic_write("a.json", f'{{"schema_version":"1.9","x":{number}}}'.encode())
    KIND.update(memory / "a.json", lambda found: found or Instrument())
    assert repr(json.loads(memory.read_snapshot("a.json").data)["x"]) == repr(json.loads(number))


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 5000], ids=["1e400", "-1e400", "5,001 digits"])
def test_a_number_that_cannot_be_kept_costs_no_bytes_and_blocks_nobody(memory: Store, number: str) -> None:
    before = stored_equipment(x=0).replace(b'"x":0', f'"x":{number}'.encode())
    memory.atomic_write("equipment.json", before)
    anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", CONFOCAL)
    kept = [memory.read_snapshot(key).data for key in memory.list_keys()]
    assert before in kept or any(number.encode() in data for data in kept)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
strangers = st.dictionaries(names.map(lambda name: f"?{name}"), anything, min_size=1, max_size=4)


def same(found: Any, stored: Any) -> bool:
    """Equal and of equal types: 1 is neither 1.0 nor true, and -0.0 is not 0.0."""
    return repr(found) == repr(stored)


@given(strangers)
@settings(deadline=None, max_examples=200)
def test_whatever_stands_in_unknown_fields_at_the_top_survives(extra: dict[str, Any]) -> None:
    found = rewritten(extra, replacing(room=Room("B13")))
    assert same({name: found[name] for name in extra}, extra)


@given(strangers, strangers, strangers)
@settings(deadline=None, max_examples=100)
def test_whatever_stands_in_unknown_fields_below_survives(a: Any, b: Any, c: Any) -> None:
    stored = {
        "room": {"name": "B12", **a},
        "sensors": [{"id": "gone", **a}, {"id": "stays", "room": {"name": "B12", **b}, **c}],
        "ports": {"COM 1": {"name": "B12", **b}},
        "light": {"type": "laser", "nm": 488, **c},
    }
    found = rewritten(stored, lambda was: replacing(sensors=was.sensors[1:], light=Laser(561))(was))
    sensor = found["sensors"][0]
    pairs = [(found["room"], a), (sensor, c), (sensor["room"], b), (found["ports"]["COM 1"], b), (found["light"], c)]
    assert all(same({name: there[name] for name in extra}, extra) for there, extra in pairs)


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_items_with_an_id_keep_their_own_whatever_is_taken_out_and_however_they_are_ordered(
    left: list[str], random: Any
) -> None:
    random.shuffle(left)
    stored = {"sensors": [{"id": name, "mine": name * 3} for name in "abcdef"]}
    found = rewritten(stored, replacing(sensors=[Sensor(name) for name in left]))
    assert [item["mine"] for item in found["sensors"]] == [name * 3 for name in left]


@given(st.lists(st.sampled_from("abcdef"), unique=True))
@settings(deadline=None, max_examples=100)
def test_items_without_an_id_keep_their_own_when_others_are_taken_out(left: list[str]) -> None:
    stored = {"steps": [{"action": name, "mine": name * 3} for name in "abcdef"]}
    found = rewritten(stored, replacing(steps=[Step(name) for name in left]))
    assert [item["mine"] for item in found["steps"]] == [name * 3 for name in left]


@given(strangers)
@settings(deadline=None, max_examples=50)
def test_a_rewrite_that_changes_nothing_gives_the_same_bytes_again(extra: dict[str, Any]) -> None:
    with open_store("memory://") as store:
        store.atomic_write("a.json", json.dumps({"schema_version": "1.9", **extra}).encode())
        KIND.update(store / "a.json", lambda found: found or Instrument())
        once = store.read_snapshot("a.json").data
        KIND.update(store / "a.json", lambda found: found or Instrument())
        assert store.read_snapshot("a.json").data == once


def test_an_equipment_document_of_minor_9_keeps_its_nested_unknown_fields(store: Store) -> None:
    extra = {"calibration": {"lens": [{"id": "10x", "µm": 0.65}], "by": None}, "tags": ["a", {"b": []}]}
    store.atomic_write("equipment.json", stored_equipment(schema_version="1.9", **extra))
    anyio.run(EquipmentCacheWriter().write_equipment, store / "equipment.json", CONFOCAL)
    found = json.loads(store.read_snapshot("equipment.json").data)
    assert {name: found[name] for name in ("schema_version", *extra)} == {"schema_version": "1.9", **extra}


@pytest.mark.parametrize("number", ["1E400", "0.1000000000000000055511151231257827", "1e2", "1" * 5001, "-0.0"])
def test_an_unknown_number_keeps_its_digits(memory: Store, number: str) -> None:
    stored = b'{"schema_version":"1.3","id":"E","label":"l","configured_local_root":"/d","configured_nas_root":"//n",'
    stored += b'"first_seen_at":"2020-01-01T00:00:00Z","zz": { "n" : ' + number.encode() + b" } }"
    memory.atomic_write("e.json", stored)
    payload = EquipmentJson(id="E", label="new", configured_local_root="/d", configured_nas_root="//n")
    anyio.run(EquipmentCacheWriter().write_equipment, memory / "e.json", payload)
    written = memory.read_snapshot("e.json").data
    assert written.endswith(b',"zz":{"n":' + number.encode() + b"}}")
    assert b'"schema_version":"1.3"' in written
    assert b'"first_seen_at":"2020-01-01T00:00:00Z"' in written
