"""The documents of the demo, made so that a mixture of two of them, or an update that is missing, shows.

Pure functions: they are what the verdict rests on, so that they are tested with documents that are torn.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from exlab_store.documents import OFFLINE_CATALOGUE_VERSION, OfflineCatalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.documents import LIMSProject

__all__ = [
    "INSTRUMENTS",
    "Counter",
    "Record",
    "TornDocument",
    "added_fields",
    "catalogue_of",
    "check_catalogue",
    "check_equipment",
    "counted",
    "field_name",
    "instrument_of",
    "read_counter",
    "read_record",
    "record",
    "with_field",
]

INSTRUMENTS = (
    "CONFOCAL_01",
    "CYTOMETER_01",
    "LIGHT_SHEET_01",
    "MASS_SPEC_01",
    "PLATE_READER_01",
    "SAXS_01",
    "SEQUENCER_01",
    "SPINNING_DISC_01",
)

_SEAL = b',"seal":"'
_SEAL_LENGTH = len(_SEAL) + 64 + len(b'"}')
_FIELD_PREFIX = "demo_"
_FIELD_COUNT = "demo_fields"


class TornDocument(Exception):
    """What was read is not what any one writer wrote."""


class Record(msgspec.Struct, frozen=True):
    """A document that writers replace as a whole.

    Attributes:
        writer: Who wrote it.
        serial: Which of that writer's.
        payload: Of a size that differs from one to the next.
    """

    writer: int
    serial: int
    payload: str


class Counter(msgspec.Struct, frozen=True):
    """A document that writers read, change and write under its lock.

    Attributes:
        total: All increments.
        by_writer: The same, for each writer.
    """

    total: int
    by_writer: dict[str, int]


def record(writer: int, serial: int) -> bytes:
    """A writer's next record.

    Args:
        writer: The writer's number.
        serial: The number of the document among those of its writer.
    """
    size = 200 + (writer * 104_729 + serial * 7_919) % 48_000
    mark = f"{writer}:{serial}/"
    return _sealed(msgspec.json.encode(Record(writer, serial, (mark * (size // len(mark) + 1))[:size])))


def read_record(data: bytes) -> Record:
    """The record in what was read.

    Args:
        data: The document.

    Raises:
        TornDocument: No writer wrote this.
    """
    return _decoded(data, _record_decoder)


def counted(current: bytes | None, writer: int) -> bytes:
    """The counter, one further.

    Args:
        current: The stored counter; None for none.
        writer: Who counts.

    Raises:
        TornDocument: What is stored is no counter.
    """
    counter = Counter(0, {}) if current is None else read_counter(current)
    if writer:
        mine = {str(writer): counter.by_writer.get(str(writer), 0) + 1}
        counter = Counter(counter.total + 1, counter.by_writer | mine)
    return _sealed(msgspec.json.encode(counter))


def read_counter(data: bytes) -> Counter:
    """The counter in what was read.

    Args:
        data: The document.

    Raises:
        TornDocument: No writer wrote this.
    """
    counter = _decoded(data, _counter_decoder)
    if counter.total != sum(counter.by_writer.values()):
        raise TornDocument("the counter's total is not the sum of its parts")
    return counter


def instrument_of(serial: int) -> str:
    """The instrument whose turn it is.

    Args:
        serial: Of the writer's round.
    """
    return INSTRUMENTS[serial % len(INSTRUMENTS)]


def field_name(writer: int, serial: int) -> str:
    """The field that a writer adds to ``equipment.json``, unknown to the program that owns the document.

    Args:
        writer: The writer's number.
        serial: Which of that writer's.
    """
    return f"{_FIELD_PREFIX}{writer}_{serial}"


def with_field(current: bytes | None, name: str) -> bytes:
    """An ``equipment.json`` with one more unknown field, and the number of them.

    Args:
        current: The stored document.
        name: See `field_name`.

    Raises:
        TornDocument: There is none, or it is not whole.
    """
    if current is None:
        raise TornDocument("equipment.json has vanished")
    document = check_equipment(current)
    document[_FIELD_COUNT] = document.get(_FIELD_COUNT, 0) + 1
    document[name] = True
    return msgspec.json.encode(document)


def added_fields(document: dict[str, Any]) -> set[str]:
    """The fields that writers have added.

    Args:
        document: As `check_equipment` gives it.
    """
    return {name for name in document if name.startswith(_FIELD_PREFIX) and name != _FIELD_COUNT}


def check_equipment(data: bytes, identifier: str | None = None) -> dict[str, Any]:
    """The fields of an ``equipment.json``, known and unknown.

    Args:
        data: The document.
        identifier: Whose it must be; None for anybody's.

    Raises:
        TornDocument: It is not JSON, another instrument's, or the number of its fields is wrong.
    """
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TornDocument(f"equipment.json is not JSON: {error}") from error
    if identifier is not None and document.get("id") != identifier:
        raise TornDocument(f"equipment.json of {identifier} says that it is {document.get('id')!r}")
    count, found = document.get(_FIELD_COUNT, 0), len(added_fields(document))
    if count != found:
        raise TornDocument(f"equipment.json counts {count!r} added fields and has {found}")
    return document


def catalogue_of(rows: Sequence[LIMSProject], publication: int, moment: str, endpoint: str) -> OfflineCatalogue:
    """A publication of the catalogue: no two have the same rows and the same number of them next to each other.

    Args:
        rows: The LIMS's answer. Publication 0 is the whole of it.
        publication: Its number.
        moment: The time of the publication.
        endpoint: The LIMS.
    """
    shown = rows[: max(1, len(rows) - publication % len(rows))]
    stamp = f"{publication}"
    stamped = [msgspec.structs.replace(row, fetched_at=f"{moment}#{stamp}") if publication else row for row in shown]
    return OfflineCatalogue(OFFLINE_CATALOGUE_VERSION, f"DEMO#{stamp}", moment, endpoint, stamped)


def check_catalogue(catalogue: OfflineCatalogue, rows: Sequence[LIMSProject]) -> None:
    """Makes the publication that the catalogue says it is once more, and compares.

    Args:
        catalogue: What was read.
        rows: As for `catalogue_of`.

    Raises:
        TornDocument: It is not that publication.
    """
    try:
        publication = int(catalogue.produced_by.removeprefix("DEMO#"))
    except ValueError:
        raise TornDocument(f"the catalogue is by {catalogue.produced_by!r}, who is none of the writers") from None
    if catalogue != catalogue_of(rows, publication, catalogue.produced_at, catalogue.lims_endpoint):
        raise TornDocument(f"the catalogue is not publication {publication}")


T = TypeVar("T")

_record_decoder = msgspec.json.Decoder(Record)
_counter_decoder = msgspec.json.Decoder(Counter)


def _sealed(body: bytes) -> bytes:
    return body[:-1] + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}'


def _decoded(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    body = data[:-_SEAL_LENGTH] + b"}"
    if data != _sealed(body):
        raise TornDocument(f"a document of {len(data)} bytes does not match its seal")
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TornDocument(f"a sealed document is another's: {error}") from error
