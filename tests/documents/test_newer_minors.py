"""A document of a newer minor version that does not fit is not corrupt: writers never replace it [§11.9.1]."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import anyio
import pytest
from lab_documents import CONFOCAL, stored_equipment

from exlab_store.documents import DocumentInvalid, DocumentKind, EquipmentCacheWriter, VersionedDocument

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
