"""A document of a newer minor version that does not fit is not corrupt: writers never replace it [§11.9.1]."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import anyio
import pytest
from lab_documents import CONFOCAL, TEST_RUNS, stored_equipment

from exlab_store.documents import (
    DocumentInvalid,
    DocumentKind,
    EquipmentCacheWriter,
    SchemaMajorMismatchError,
    VersionedDocument,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Store


class Shutter(VersionedDocument, frozen=True, kw_only=True):
    schema_version: str = "1.2"
    state: Literal["open", "closed"] = "closed"


KIND = DocumentKind(Shutter, "1.2")
NEWER = b'{"schema_version":"1.3","state":"half open","angle":45}'

WRITERS: dict[str, Callable[[Store], object]] = {
    "update": lambda store: KIND.update(store / "a.json", lambda _: Shutter(state="open")),
    "aupdate": lambda store: anyio.run(KIND.aupdate, store / "a.json", lambda _: Shutter(state="open")),
    "encode": lambda store: KIND.encode(Shutter(state="open"), store.read_snapshot("a.json").data),
}


@pytest.fixture
def newer(store: Store) -> Store:
    store.atomic_write("a.json", NEWER)
    return store


def test_a_reader_says_that_a_newer_program_wrote_it(newer: Store) -> None:
    with pytest.raises(DocumentInvalid, match=r"\$\.state.*newer program.*1\.3.*1\.2.*[Uu]pdate this program"):
        KIND.read(newer / "a.json")


def test_a_program_can_tell_it_from_a_corrupt_one(newer: Store) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        KIND.read(newer / "a.json")
    assert (caught.value.newer_minor, caught.value.details) == ("1.3", {"newer_minor": "1.3"})


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_writer_refuses_to_replace_it(newer: Store, write: Callable[[Store], object]) -> None:
    with pytest.raises(DocumentInvalid, match="newer program"):
        write(newer)
    assert newer.read_snapshot("a.json").data == NEWER


def test_a_writer_makes_no_copy_and_no_warning(newer: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="exlab_store"), pytest.raises(DocumentInvalid):
        KIND.update(newer / "a.json", lambda _: Shutter())
    assert (newer.list_keys(), caplog.records) == (["a.json"], [])


def test_the_writer_of_equipment_refuses_too_and_names_the_document(memory: Store) -> None:
    newer = stored_equipment(schema_version="1.1", label={"en": "Confocal", "de": "Konfokal"})
    memory.atomic_write("equipment.json", newer)
    with pytest.raises(DocumentInvalid) as caught:
        anyio.run(EquipmentCacheWriter().write_equipment, memory / "equipment.json", CONFOCAL)
    assert (caught.value.key, caught.value.newer_minor) == ("equipment.json", "1.1")
    assert memory.read_snapshot("equipment.json").data == newer


@pytest.mark.parametrize("version", ["1.2", "1.1"])
def test_one_of_this_minor_or_an_older_one_that_does_not_fit_is_corrupt(memory: Store, version: str) -> None:
    memory.atomic_write("a.json", NEWER.replace(b"1.3", version.encode()))
    KIND.update(memory / "a.json", lambda _: Shutter())
    assert len(memory.list_keys()) == 2


def test_one_of_a_newer_minor_that_is_no_json_is_corrupt(memory: Store) -> None:
    memory.atomic_write("a.json", NEWER[:-1])
    KIND.update(memory / "a.json", lambda _: Shutter())
    assert len(memory.list_keys()) == 2


# Nested more deeply than this program allows


def deep(version: str, brackets: int = 250, text: str = '"]}"') -> bytes:
    nested = "[" * brackets + text + "]" * brackets
    return f'{{"new":{nested},"schema_version":"{version}","state":"open","newer":{nested}}}'.encode()


DEEP: dict[str, tuple[bytes, type[Exception]]] = {
    "a newer minor": (deep("1.3"), DocumentInvalid),
    "a newer minor, without end": (deep("1.3", 10_000), DocumentInvalid),
    "a newer minor, with a mark": (b"\xef\xbb\xbf" + deep("1.3"), DocumentInvalid),
    "another major": (deep("2.0"), SchemaMajorMismatchError),
}


@pytest.mark.parametrize(("data", "refusal"), DEEP.values(), ids=DEEP)
def test_one_that_is_nested_too_deeply_is_left_as_it_is(
    memory: Store, data: bytes, refusal: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    memory.atomic_write("a.json", data)
    with pytest.raises(refusal):
        KIND.write(memory / "a.json", Shutter())
    assert (memory.list_keys(), memory.read_snapshot("a.json").data, caplog.records) == (["a.json"], data, [])


def test_a_reader_of_one_that_is_nested_too_deeply_says_that_a_newer_program_wrote_it(memory: Store) -> None:
    memory.atomic_write("a.json", deep("1.3"))
    with pytest.raises(DocumentInvalid, match=r"nested too deeply.*newer program.*1\.3.*1\.2") as caught:
        KIND.read(memory / "a.json")
    assert caught.value.newer_minor == "1.3"


@pytest.mark.parametrize(
    "data",
    [deep("1.2"), deep("1.3")[:-200], deep("1.3").replace(b"schema_version", b"version"), b"[" * 1000],
    ids=["this minor", "not closed", "no version", "no object"],
)
def test_one_that_is_nested_too_deeply_and_of_no_other_program_is_corrupt(memory: Store, data: bytes) -> None:
    memory.atomic_write("a.json", data)
    KIND.write(memory / "a.json", Shutter())
    assert len(memory.list_keys()) == 2


@pytest.mark.parametrize("version", ["1.7", "2.0"])
def test_a_marker_of_another_program_that_is_nested_too_deeply_stays(memory: Store, version: str) -> None:
    memory.atomic_write("test_runs.json", deep(version))
    anyio.run(EquipmentCacheWriter().write_test_runs_marker, memory / "test_runs.json", TEST_RUNS)
    assert (memory.list_keys(), memory.read_snapshot("test_runs.json").data) == (["test_runs.json"], deep(version))


@pytest.mark.parametrize("codec", ["yaml", "toml"])
def test_in_yaml_and_toml_one_that_is_nested_too_deeply_is_left_as_it_is(
    memory: Store, codec: Literal["yaml", "toml"]
) -> None:
    nested = "[" * 210 + "]" * 210
    text = {"yaml": f'schema_version: "1.3"\nnew: {nested}\n', "toml": f'schema_version = "1.3"\nnew = {nested}\n'}
    memory.atomic_write("a", text[codec].encode())
    with pytest.raises(DocumentInvalid, match="newer program"):
        DocumentKind(Shutter, "1.2", codec=codec).write(memory / "a", Shutter())
    assert (memory.list_keys(), memory.read_snapshot("a").data) == (["a"], text[codec].encode())
