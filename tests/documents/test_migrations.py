"""Migrations from older minor versions [§11.9]: run on reading, stored on the next write, nothing unknown lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from exlab_store.documents import DocumentInvalid, DocumentKind, MigrationFailed, VersionedDocument

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Store, StorePath


class Lens(msgspec.Struct, frozen=True):
    name: str
    magnification: int


class Microscope(VersionedDocument, frozen=True, kw_only=True):
    """1.0 had `lens: "10x"`; 1.1 has `lenses: ["10x"]`; 1.2 has objects; 1.3 requires `room`."""

    schema_version: str = "1.3"
    lenses: list[Lens]
    room: str
    notes: dict[str, Any] = msgspec.field(default_factory=dict)


def lenses_as_a_list(document: dict[str, Any]) -> dict[str, Any]:
    assert document["schema_version"] == "1.0"
    document["lenses"] = [document.pop("lens")]
    return document


def lenses_as_objects(document: dict[str, Any]) -> dict[str, Any]:
    assert document["schema_version"] == "1.1"
    lenses = [{"name": each, "magnification": int(each.rstrip("x"))} for each in document["lenses"]]
    return {**document, "lenses": lenses}


def with_room(document: dict[str, Any]) -> dict[str, Any]:
    assert document["schema_version"] == "1.2"
    return {"room": "unknown", **document}


MICROSCOPE = DocumentKind(
    Microscope, "1.3", migrations={"1.2": with_room, "1.0": lenses_as_a_list, "1.1": lenses_as_objects}
)

TEN = Lens("10x", 10)
STORED = {
    "1.0": b'{"schema_version":"1.0","lens":"10x","site":"B7"}',
    "1.1": b'{"schema_version":"1.1","lenses":["10x"],"site":"B7"}',
    "1.2": b'{"schema_version":"1.2","lenses":[{"name":"10x","magnification":10}],"site":"B7"}',
}
NOW = b'{"schema_version":"1.3","lenses":[{"name":"10x","magnification":10}],"room":"unknown","notes":{},"site":"B7"}'


@pytest.fixture
def document(memory: Store) -> StorePath:
    return memory / "microscope.json"


@pytest.mark.parametrize("version", STORED)
def test_an_older_minor_is_read_through_every_migration_from_its_own_on(document: StorePath, version: str) -> None:
    document.atomic_write(STORED[version])
    assert MICROSCOPE.read(document) == Microscope(lenses=[TEN], room="unknown")
    assert document.read_snapshot().data == STORED[version]


@pytest.mark.parametrize("version", STORED)
def test_the_next_write_stores_it_and_unknown_fields_survive(document: StorePath, version: str) -> None:
    document.atomic_write(STORED[version])
    MICROSCOPE.update(document, lambda stored: stored or Microscope(lenses=[], room=""))
    assert document.read_snapshot().data == NOW


def test_what_a_migration_takes_out_does_not_come_back_as_unknown(document: StorePath) -> None:
    document.atomic_write(STORED["1.0"])
    MICROSCOPE.write(document, Microscope(lenses=[], room="B7"))
    assert b'"lens"' not in document.read_snapshot().data
    assert b'"site"' in document.read_snapshot().data


def test_coroutines_migrate_as_well(document: StorePath) -> None:
    async def main() -> None:
        document.atomic_write(STORED["1.0"])
        assert (await MICROSCOPE.aread(document)).lenses == [TEN]
        await MICROSCOPE.aupdate(document, lambda stored: stored or Microscope(lenses=[], room=""))

    anyio.run(main)
    assert document.read_snapshot().data == NOW


def test_a_document_of_this_minor_or_a_newer_one_is_not_migrated() -> None:
    newer = NOW.replace(b"1.3", b"1.9")
    assert MICROSCOPE.decode(NOW).schema_version == "1.3"
    assert MICROSCOPE.decode(newer).schema_version == "1.9"


def test_a_minor_that_only_adds_needs_no_migration() -> None:
    kind = DocumentKind(Microscope, "1.3", migrations={"1.0": lenses_as_a_list, "1.2": with_room})
    old = b'{"schema_version":"1.1","lenses":[],"notes":{"a":1}}'
    assert kind.decode(old) == Microscope(lenses=[], room="unknown", notes={"a": 1})


UNKNOWN = [
    b"1.10",
    b"1E400",
    b"123456789012345678901234567890",
    b'"B\xfcro"',
    b'{"deep":[1.50,{"x":1e5}],"text":"\\u00fc"}',
    b"1" * 5000,
]


@pytest.mark.parametrize("value", UNKNOWN, ids=lambda value: repr(value)[:20])
def test_an_unknown_value_survives_to_the_letter(document: StorePath, value: bytes) -> None:
    document.atomic_write(b'{"schema_version":"1.0","lens":"10x","x":' + value + b"}")
    MICROSCOPE.update(document, lambda stored: stored or Microscope(lenses=[], room=""))
    assert document.read_snapshot().data.endswith(b',"x":' + value + b"}")


def test_what_a_migration_changes_within_an_unknown_field_is_stored_and_the_rest_of_it_is_kept() -> None:
    def renamed(document: dict[str, Any]) -> dict[str, Any]:
        document["x"]["b"] = 2
        document["x"]["c"][1] = True
        return document

    class Open(VersionedDocument, kw_only=True):
        schema_version: str = "1.1"

    kind = DocumentKind(Open, "1.1", migrations={"1.0": renamed})
    stored = b'{"schema_version":"1.0","x":{"a":1.10,"b":1,"c":[1.0,1,1.0]}}'
    assert kind.encode(kind.decode(stored), stored) == (
        b'{"schema_version":"1.1","x":{"a":1.10,"b":2,"c":[1.0,true,1.0]}}'
    )


def failing_with(error: BaseException) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def migration(document: dict[str, Any]) -> dict[str, Any]:
        raise error

    return migration


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "it raises": failing_with(KeyError("lens")),
    "it returns nothing": lambda document: None,
    "it returns what is not JSON": lambda document: {**document, "x": object()},
    "it returns a name that is none": lambda document: {**document, (1, 2): 1},
    "it recurs for ever": lambda document: BROKEN["it recurs for ever"](document),
}


@pytest.mark.parametrize("migration", BROKEN.values(), ids=BROKEN)
def test_a_document_whose_migration_fails_is_left_as_it_is(
    document: StorePath, migration: Callable[[dict[str, Any]], Any]
) -> None:
    kind = DocumentKind(Microscope, "1.3", migrations={"1.0": migration})
    document.atomic_write(STORED["1.0"])
    with pytest.raises(MigrationFailed) as caught:
        kind.read(document)
    assert caught.value.key == document.key
    with pytest.raises(MigrationFailed):
        kind.update(document, lambda _: Microscope(lenses=[], room=""))
    assert document.store.list_keys() == [document.key]
    assert document.read_snapshot().data == STORED["1.0"]


def test_the_cause_of_a_failed_migration_is_what_it_raised() -> None:
    kind = DocumentKind(Microscope, "1.3", migrations={"1.0": failing_with(KeyError("lens"))})
    with pytest.raises(MigrationFailed, match=r"migration from 1\.0 raised KeyError: 'lens'") as caught:
        kind.decode(STORED["1.0"])
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_migration_can_say_that_a_document_is_invalid(document: StorePath) -> None:
    kind = DocumentKind(Microscope, "1.3", migrations={"1.0": failing_with(msgspec.ValidationError("no lens"))})
    document.atomic_write(STORED["1.0"])
    with pytest.raises(DocumentInvalid, match="no lens") as caught:
        kind.read(document)
    assert not isinstance(caught.value, MigrationFailed)
    kind.update(document, lambda _: Microscope(lenses=[], room=""))
    assert len(document.store.list_keys()) == 2


def test_what_does_not_fit_after_its_migrations_is_invalid() -> None:
    with pytest.raises(DocumentInvalid, match=r"\$\.lenses"):
        MICROSCOPE.decode(b'{"schema_version":"1.2","lenses":7}')


@pytest.mark.parametrize("start", ["1.3", "1.4", "2.0", "0.9", "1", "one", ""])
def test_a_migration_starts_at_an_older_minor(start: str) -> None:
    with pytest.raises(ValueError, match="older minor"):
        DocumentKind(Microscope, "1.3", migrations={start: with_room})
