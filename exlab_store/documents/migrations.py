"""From the documents of an older minor version to those of this program's, step by step [§11.9].

A minor version only adds, so a field that an older document lacks gets its default, and most minors need no
migration. A migration is for a field that became required, or whose value follows from others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import msgspec

from exlab_store.document_errors import MigrationFailed
from exlab_store.documents.merging import raw_fields
from exlab_store.documents.versions import parsed_version
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store.documents.versions import SchemaVersion

__all__ = ["Migration", "Migrations"]

Migration: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""From the decoded object of one minor version to that of the next. It may change the object that it gets."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Migrations:
    """The migrations of one kind of document.

    Args:
        version: The version that the program writes.
        steps: From the version that a migration starts at, ``MAJOR.MINOR``, to the migration.

    Raises:
        ValueError: A migration starts at another major version, or not below the program's own minor.
    """

    def __init__(self, version: SchemaVersion, steps: Mapping[str, Migration]) -> None:
        self._version = version
        found: dict[int, Migration] = {}
        for start, step in steps.items():
            parsed = parsed_version(start)
            if parsed is None or parsed.major != version.major or parsed.minor >= version.minor:
                raise ValueError(
                    f"a migration starts at an older minor of {version.major}.{version.minor}, not at {start!r}"
                )
            found[parsed.minor] = step
        self._steps = sorted(found.items())

    def migrated(self, data: bytes, stored: str) -> bytes:
        """The document as this program's version has it.

        Args:
            data: JSON: an object of the program's major version.
            stored: Its ``schema_version``.

        Returns:
            The same bytes where no migration applies. Otherwise JSON in which every value that no migration has
            changed stands to the letter, and the program's version.

        Raises:
            MigrationFailed: A migration raised, or returned no object.
            msgspec.ValidationError: A migration raised it: it finds the document invalid.
            msgspec.DecodeError: It is no JSON object.
        RecursionError: This thread's stack has no room to decode it.
        """
        version = parsed_version(stored)
        steps = [] if version is None else [each for each in self._steps if each[0] >= version.minor]
        if not steps:
            return data
        raw = raw_fields(data)
        old, new = ({name: _value(each) for name, each in raw.items()} for _ in range(2))  # a step may change its own
        major = self._version.major
        for minor, step in steps:
            new["schema_version"] = start = f"{major}.{minor}"
            new = _called(step, new, start)
        new["schema_version"] = f"{major}.{self._version.minor}"
        try:
            return _encode({name: _restored(each, name, old, raw) for name, each in new.items()})
        except (TypeError, ValueError, RecursionError) as error:
            raise MigrationFailed(f"what the migrations have made of it is not JSON: {error}") from error


def _value(raw: msgspec.Raw) -> Any:
    """The value; or its JSON where only a decoder that does not look at it takes it, such as a number of 400 digits."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw


def _called(step: Migration, document: dict[str, Any], start: str) -> dict[str, Any]:
    try:
        changed = step(document)
    except msgspec.ValidationError:
        raise
    except Exception as error:
        if came_from_signal_handler(error):
            raise
        message = f"the migration from {start} raised {type(error).__name__}: {error}"
        raise MigrationFailed(message) from error
    if not _is_object(changed):
        raise MigrationFailed(f"the migration from {start} returned a {type(changed).__name__}, not a dict")
    return changed


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _restored(new: Any, name: Any, old: Any, raw: Any) -> Any:
    """A value as it was stored, wherever it is still the same: a number keeps its digits.

    Args:
        new: The value after the migrations.
        name: Where it stands in what contains it.
        old: What contained it before, decoded.
        raw: The same, as stored.
    """
    if _is_object(old) and name not in old:
        return new
    before, stored = old[name], raw[name]
    if new is before:
        return stored
    if _is_object(new) and _is_object(before):
        fields = raw_fields(stored)
        return {key: _restored(value, key, before, fields) for key, value in new.items()}
    if _is_array(new) and _is_array(before) and len(new) == len(before):
        items = _items(stored)
        return [_restored(value, position, before, items) for position, value in enumerate(new)]
    return stored if type(new) is type(before) and new == before else new
