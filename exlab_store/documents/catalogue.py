"""The offline catalogue of LIMS projects [§7.2.9].

A workstation that reaches the LIMS writes it after every refresh; one that does not fills its project picker from
it. This module reads and writes the document; when to do so is the application's business.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exlab_store.document_errors import DocumentInvalid
from exlab_store.documents.stored_bytes import MAX_NESTING, UNDECODABLE, ensure_shallow, reason, unmarked
from exlab_store.documents.times import now
from exlab_store.documents.wrong_types import wrong_type
from exlab_store.errors import ConfigError, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hidden_location import hides_location
from exlab_store.opening.locations import as_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exlab_store.opening.locations import DocumentLocation
    from exlab_store.store_path import StorePath

__all__ = [
    "OFFLINE_CATALOGUE_VERSION",
    "LIMSProject",
    "OfflineCatalogue",
    "aread_catalogue",
    "awrite_catalogue",
    "projects_from_lims",
    "read_catalogue",
    "write_catalogue",
]

OFFLINE_CATALOGUE_VERSION = "1.0"


# gc=False takes a third off the time of decoding 10,000 rows; JSON cannot hold the cycles it would leak.
class LIMSProject(msgspec.Struct, frozen=True, gc=False):
    """A row of the catalogue. All nine keys are always written, nulls included.

    Attributes:
        uid: The LIMS's own identifier.
        short_id: What people say: ``PROJ-0042``.
        name: The project's name.
        status: Whatever text the LIMS sends: ``Pending``, ``Active``, ``Completed``, ``Archived``.
        owner: The owner's account.
        fetched_at: When the row was fetched, UTC, ISO 8601.
        description: Text or None.
        contact_name: Text or None.
        metadata: An object that the LIMS owns.
    """

    uid: str
    short_id: str
    name: str
    status: str
    owner: str
    fetched_at: str
    description: str | None = None
    contact_name: str | None = None
    metadata: dict[str, Any] = {}  # msgspec gives each instance its own


class OfflineCatalogue(msgspec.Struct, frozen=True):
    """The whole document.

    Attributes:
        schema_version: `OFFLINE_CATALOGUE_VERSION`.
        produced_by: The workstation that wrote it.
        produced_at: When, ``YYYY-MM-DDTHH:MM:SSZ``.
        lims_endpoint: The LIMS that the projects are from.
        projects: The rows.
    """

    schema_version: str
    produced_by: str
    produced_at: str
    lims_endpoint: str
    projects: list[LIMSProject]


class _StoredCatalogue(msgspec.Struct):
    schema_version: str
    lims_endpoint: str
    produced_by: str = ""
    produced_at: str = ""
    projects: list[LIMSProject] | None = None


class _CatalogueHeader(msgspec.Struct):
    schema_version: Any = None
    lims_endpoint: Any = None


_decode = msgspec.json.Decoder(_StoredCatalogue).decode
_decode_header = msgspec.json.Decoder(_CatalogueHeader).decode
_encode = msgspec.json.Encoder().encode


@hides_location
def read_catalogue(location: DocumentLocation, *, expected_endpoint: str) -> OfflineCatalogue:
    """Reads the catalogue of one LIMS.

    Args:
        location: Where the document is.
        expected_endpoint: The LIMS that the caller is configured for; the catalogue of another is rejected.

    Returns:
        The catalogue; a missing or null ``projects`` is an empty list.

    Raises:
        ConfigError: And nothing else: the document is missing or unreadable, not JSON, not an object, of another
            ``schema_version``, of another ``lims_endpoint``, or a row does not fit (the message names the row's
            index and the field).
    """
    try:
        path = as_document(location)
        data = path.read_snapshot().data
    except StoreError as error:
        raise _unreadable(error) from error
    return _read(data, expected_endpoint, path)


@hides_location
async def aread_catalogue(location: DocumentLocation, *, expected_endpoint: str) -> OfflineCatalogue:
    """As `read_catalogue`, for asyncio and trio.

    The document is fetched off the event loop. It is decoded on it, as decoding lets no other thread run either: a
    millisecond for a thousand projects.

    Args:
        location: As for `read_catalogue`.
        expected_endpoint: As for `read_catalogue`.

    Raises:
        ConfigError: As `read_catalogue` does, and nothing else.
    """
    import_whole("exlab_store.documents.coroutines")
    from exlab_store.documents.coroutines import opened_document  # anyio takes 20 ms to import

    try:
        path = await opened_document(location)
        data = (await path.aio.read_snapshot()).data
    except StoreError as error:
        raise _unreadable(error) from error
    return _read(data, expected_endpoint, path)


def _unreadable(error: StoreError) -> ConfigError:
    return ConfigError(
        f"the catalogue cannot be read: {error.message}", key=error.key, location=error.location, hint=error.hint
    )


def _read(data: bytes, expected_endpoint: str, path: StorePath) -> OfflineCatalogue:
    try:
        return _catalogue(unmarked(data), expected_endpoint)
    except ConfigError as error:
        raise error.at(path.key, path.store.location) from error.__cause__


def _catalogue(data: bytes, expected_endpoint: str) -> OfflineCatalogue:
    # One typed decode, and the header is looked at again only to explain one that failed: a separate pass for it
    # would cost 1.6 ms in 10,000 projects.
    try:
        stored = _decode(data)
    except UNDECODABLE as error:
        raise _explained(data, error, expected_endpoint) from error
    _check(stored.schema_version, stored.lims_endpoint, expected_endpoint)
    return OfflineCatalogue(
        stored.schema_version, stored.produced_by, stored.produced_at, stored.lims_endpoint, stored.projects or []
    )


def _explained(data: bytes, error: Exception, expected_endpoint: str) -> ConfigError:
    hint = "Have a workstation that reaches the LIMS publish the catalogue again."
    if not data.strip():
        return ConfigError("the catalogue is empty", hint=hint)
    if not isinstance(error, msgspec.ValidationError):
        return ConfigError(f"the catalogue is not valid JSON: {reason(error, data)}", hint=hint)
    try:
        header = _decode_header(data)
    except msgspec.ValidationError:
        return ConfigError("the catalogue is not a JSON object", hint=hint)
    except UNDECODABLE as other:
        return ConfigError(f"the catalogue is not valid JSON: {reason(other, data)}", hint=hint)
    try:
        _check(header.schema_version, header.lims_endpoint, expected_endpoint)
    except ConfigError as better:
        return better
    return ConfigError(f"the catalogue does not fit: {error}", hint=hint)


def _check(version: object, endpoint: object, expected_endpoint: str) -> None:
    if version != OFFLINE_CATALOGUE_VERSION:
        raise ConfigError(
            f"the catalogue's schema_version is {version!r}, and this program reads {OFFLINE_CATALOGUE_VERSION!r}",
            field="schema_version",
            hint="Use the same version of the application on every workstation.",
        )
    if endpoint != expected_endpoint:
        raise ConfigError(
            f"the catalogue's lims_endpoint is {endpoint!r}, and {expected_endpoint!r} is expected",
            field="lims_endpoint",
            hint="It belongs to another LIMS: check the location and the endpoint that are configured.",
        )


@hides_location
def write_catalogue(location: DocumentLocation, catalogue: OfflineCatalogue) -> None:
    """Publishes a catalogue: atomic and durable; makes missing folders; takes no lock.

    Concurrent producers are benign: each replaces the whole document, and the last one wins.

    Args:
        location: Where the document is.
        catalogue: The whole document.

    Raises:
        DocumentInvalid: The catalogue is one that `read_catalogue` refuses, or that JSON cannot hold; the message
            names the row and the field.
        StoreError: As `Store.atomic_write` does; the stored catalogue is untouched.
    """
    path = as_document(location)
    path.atomic_write(_encoded(catalogue, path))


@hides_location
async def awrite_catalogue(location: DocumentLocation, catalogue: OfflineCatalogue) -> None:
    """As `write_catalogue`, for asyncio and trio; a cancelled task learns of it once the write has ended.

    Args:
        location: As for `write_catalogue`.
        catalogue: As for `write_catalogue`; errors too.
    """
    import_whole("exlab_store.documents.coroutines")
    from exlab_store.documents.coroutines import opened_document  # anyio takes 20 ms to import

    path = await opened_document(location)
    await path.aio.atomic_write(_encoded(catalogue, path))


def _encoded(catalogue: OfflineCatalogue, path: StorePath) -> bytes:
    try:
        _check_types(catalogue)
        data = _encode(catalogue)
        # Structs do not check what they are made of, and one row that readers refuse hides every project of the site.
        # The reader's own check names the row. It takes as long as reading, and is made where the types leave a doubt.
        if not _has_exact_types(catalogue):
            ensure_shallow(data)
            _catalogue(data, catalogue.lims_endpoint)
    except DocumentInvalid as error:
        why = f"it is nested too deeply, more than {MAX_NESTING} levels{_place(catalogue)}"
        raise _unwritable(why).at(path.key, path.store.location) from error
    except _NOT_ENCODABLE as error:
        raise _unwritable(f"{error}{_place(catalogue)}").at(path.key, path.store.location) from error
    except ConfigError as error:
        raise _unwritable(error.message).at(path.key, path.store.location) from error.__cause__
    return data


# What the encoder raises for a value, or for one that is nested too deeply.
_NOT_ENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
_LEVELS_ABOVE: Final = 3  # the catalogue, its list of rows, and the row


def _place(catalogue: OfflineCatalogue) -> str:
    """The first row and field to blame, as msgspec writes it; the encoder itself names none. Empty text for none."""
    if not isinstance(getattr(catalogue, "projects", None), list):
        return ""  # the message says so
    for index, row in enumerate(catalogue.projects):
        if not isinstance(row, LIMSProject):  # pyright: ignore[reportUnnecessaryIsInstance]  # may be untyped
            return ""  # it is named already
        for field in row.__struct_fields__:
            try:
                ensure_shallow(b"[" * _LEVELS_ABOVE + _encode(getattr(row, field)) + b"]" * _LEVELS_ABOVE)
            except (*_NOT_ENCODABLE, DocumentInvalid):
                return f" - at `$.projects[{index}].{field}`"
    return ""


_TEXT: Final = frozenset({str})
_TEXT_OR_NONE: Final = frozenset({str, NoneType})
_ROW_TYPES: Final = {
    **dict.fromkeys(("uid", "short_id", "name", "status", "owner", "fetched_at"), _TEXT),
    "description": _TEXT_OR_NONE,
    "contact_name": _TEXT_OR_NONE,
    "metadata": frozenset({dict}),
}


_PLAIN: Final = frozenset({str, int, float, bool, NoneType, dict, list})
_LEVELS: Final = 20  # of what a LIMS puts into each other; what is deeper is looked at by the reader's own check

# Column by column, in C: 0.3 ms for 10,000 rows.
_values_of: Callable[[dict[Any, Any]], Iterable[Any]] = dict[Any, Any].values
_COLUMNS: Final = tuple((attrgetter(name), types) for name, types in _ROW_TYPES.items())


def _has_exact_types(catalogue: OfflineCatalogue) -> bool:
    """Whether every value is of the very type that readers want: what is encoded from those, they accept."""
    head = (catalogue.schema_version, catalogue.produced_by, catalogue.produced_at, catalogue.lims_endpoint)
    return (
        catalogue.schema_version == OFFLINE_CATALOGUE_VERSION
        and _TEXT.issuperset(map(type, head))
        and all(types.issuperset(map(type, map(column, catalogue.projects))) for column, types in _COLUMNS)
        and _is_plain([row.metadata for row in catalogue.projects])
    )


def _is_plain(maps: list[dict[Any, Any]]) -> bool:
    """Whether objects hold nothing but what JSON has, some levels deep.

    The names in them are what the encoder has made text of.
    """
    lists: list[list[Any]] = []
    for _ in range(_LEVELS):
        values: list[Any] = [*chain.from_iterable(map(_values_of, maps)), *chain.from_iterable(lists)]
        types = set(map(type, values))
        if not _PLAIN.issuperset(types):
            return False
        maps = [each for each in values if type(each) is dict] if dict in types else []
        lists = [each for each in values if type(each) is list] if list in types else []
        if not (maps or lists):
            return True
    return False


def _unwritable(why: str) -> DocumentInvalid:
    return DocumentInvalid(
        f"the catalogue cannot be written: {why}",
        hint="Nothing was written: one row that cannot be read would hide every project from every workstation.",
    )


def _check_types(catalogue: OfflineCatalogue) -> None:
    # JSON does not show that a dict stands in the place of a row, which then lacks the keys that are always written.
    if not isinstance(catalogue, OfflineCatalogue):  # pyright: ignore[reportUnnecessaryIsInstance]  # may be untyped
        raise wrong_type("it", OfflineCatalogue, catalogue)
    if frozenset({LIMSProject}).issuperset(map(type, catalogue.projects)):
        return
    for index, row in enumerate(catalogue.projects):
        if not isinstance(row, LIMSProject):  # pyright: ignore[reportUnnecessaryIsInstance]  # may be untyped
            raise wrong_type(f"projects[{index}]", LIMSProject, row)


class _Row(msgspec.Struct, gc=False):
    uid: str
    short_id: str
    name: str
    status: str
    owner: str
    description: str | None = None
    contact_name: str | None = None
    metadata: dict[str, Any] | None = None


class _LimsAnswer(msgspec.Struct):
    data: list[_Row]
    count: int | None = None


_decode_answer = msgspec.json.Decoder(_LimsAnswer).decode


def projects_from_lims(answer: bytes, *, fetched_at: str | None = None) -> list[LIMSProject]:
    """The rows of a LIMS's answer to "list projects".

    Args:
        answer: ``{"data": [...], "count": N}``; further fields are ignored.
        fetched_at: When the answer was fetched, ``YYYY-MM-DDTHH:MM:SSZ``; None for now. It is not in the answer.

    Raises:
        DocumentInvalid: It is not such an answer, or ``count`` says that rows are missing.
    """
    try:
        answer = unmarked(answer)
        decoded = _decode_answer(answer)
    except UNDECODABLE as error:
        raise DocumentInvalid(
            f"this is not a LIMS's list of projects: {reason(error, answer)}",
            hint='Give the whole answer: {"data": [...], "count": N}.',
        ) from error
    if decoded.count is not None and decoded.count != len(decoded.data):
        raise DocumentInvalid(
            f"the LIMS's answer has {len(decoded.data)} projects and says that there are {decoded.count}",
            hint="Fetch the whole list: a part of it would hide projects from every workstation.",
        )
    moment = fetched_at or now()
    return [
        LIMSProject(
            row.uid,
            row.short_id,
            row.name,
            row.status,
            row.owner,
            moment,
            row.description,
            row.contact_name,
            row.metadata or {},
        )
        for row in decoded.data
    ]
