"""TOML as a spelling of JSON [TOML 1.0]. Dates and times are text; there is no null, so such a field is left out."""

from __future__ import annotations

import math
import tomllib
from datetime import date, time
from typing import Any, TypeGuard

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from exlab_store.document_errors import DocumentInvalid
from exlab_store.documents.text_merging import merge_into

__all__ = ["TomlText"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_HINT = "Repair it, or remove it and write it again."


class TomlText:
    """See `TextCodec`."""

    def to_json(self, data: bytes) -> bytes:
        """See `TextCodec.to_json`."""
        try:
            return _encode(_plain(tomllib.loads(data.decode())))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError, RecursionError, OverflowError) as error:
            raise _invalid(error) from error

    def from_json(self, data: bytes, stored: bytes | None) -> bytes:
        """See `TextCodec.from_json`."""
        new = _without_null(_decode(data))
        try:
            if stored is None:
                return tomlkit.dumps(new).encode()
            tree = tomlkit.parse(stored.decode())
            merge_into(tree, _plain(tomllib.loads(stored.decode())), new)
            return tomlkit.dumps(tree).encode()
        except (TOMLKitError, ValueError, TypeError, RecursionError) as error:
            raise DocumentInvalid(f"the document cannot be written as TOML: {error}") from error


def _plain(value: Any) -> Any:
    """A value as JSON has it.

    Raises:
        ValueError: JSON has none such.
    """
    if _is_object(value):
        return {name: _plain(each) for name, each in value.items()}
    if _is_array(value):
        return [_plain(each) for each in value]
    if isinstance(value, (date, time)):  # a datetime is a date
        text = value.isoformat()
        return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number that JSON has")
    return value


def _without_null(value: Any) -> Any:
    if _is_object(value):
        return {name: _without_null(each) for name, each in value.items() if each is not None}
    if _is_array(value):
        if None in value:
            raise DocumentInvalid("the document cannot be written: TOML has no null, and a list holds one")
        return [_without_null(each) for each in value]
    return value


def _invalid(error: Exception) -> DocumentInvalid:
    why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return DocumentInvalid(f"the document is not valid: it is no TOML: {why}", hint=_HINT)


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
