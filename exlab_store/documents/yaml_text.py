"""YAML as a spelling of JSON [YAML 1.2]: one document, names that are text, no tags, no aliases.

An alias may make gigabytes of a few lines, and a tag an object of any class. Neither is in JSON.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from exlab_store.document_errors import DocumentInvalid
from exlab_store.documents.text_merging import merge_into

__all__ = ["YamlText"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_HINT = "Repair it, or remove it and write it again."
_TAG = "tag:yaml.org,2002:"
_WIDTH = 4096  # a long text is not broken into lines


class _Written:
    """What a dumper writes to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Takes a part."""
        self._parts.append(data)
        return len(data)

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


class YamlText:
    """See `TextCodec`."""

    def to_json(self, data: bytes) -> bytes:
        """See `TextCodec.to_json`."""
        try:
            return _encode(_value_in(data))
        except (YAMLError, UnicodeDecodeError, ValueError, RecursionError, OverflowError) as error:
            raise _invalid(error) from error

    def from_json(self, data: bytes, stored: bytes | None) -> bytes:
        """See `TextCodec.from_json`."""
        new = _decode(data)
        written = _Written()
        try:
            if stored is None:
                _yaml().dump(new, written)
                return written.data
            tree: Any = _yaml().load(stored.decode())
            merge_into(tree, _value_in(stored), new)
            _yaml().dump(tree, written)
        except (YAMLError, ValueError, TypeError, RecursionError) as error:
            raise DocumentInvalid(f"the document cannot be written as YAML: {error}") from error
        return written.data


class _Time(str):
    """A time as it is spelt. Readers take it for text; a date that is made of it would be spelt anew, or refused."""

    __slots__ = ()


class _Constructor(RoundTripConstructor):
    """Keeps times as they are spelt."""


class _Representer(RoundTripRepresenter):
    """Writes times as they were spelt."""


def _time(_constructor: Any, node: Any) -> _Time:
    return _Time(node.value)


def _spelt(representer: Any, time: _Time) -> Any:
    return representer.represent_scalar(f"{_TAG}timestamp", str(time))


_Constructor.add_constructor(f"{_TAG}timestamp", _time)  # pyright: ignore[reportUnknownMemberType]  # ruamel has no types
_Representer.add_representer(_Time, _spelt)  # pyright: ignore[reportUnknownMemberType]


def _yaml() -> Any:
    yaml: Any = YAML()
    yaml.Constructor = _Constructor
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    return yaml


def _value_in(data: bytes) -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    root = yaml.compose(data.decode())
    if root is None:
        raise ValueError("it is empty")
    return _value(root, yaml.constructor, set())


def _value(node: Any, constructor: Any, seen: set[int]) -> Any:
    """The value of a node, which no tag but YAML's own names and no alias repeats.

    How deep it may nest depends on its version, and is said where that is known.
    """
    if id(node) in seen:
        raise ValueError(f"an alias stands in{_where(node)}: write the value out")
    seen.add(id(node))
    kind = str(node.tag).removeprefix(_TAG)
    if node.id == "mapping" and kind == "map":
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.id != "scalar" or str(key.tag) != f"{_TAG}str":
                raise ValueError(f"a name is no text in{_where(key)}: put it in quotes")
            if key.value in found:
                raise ValueError(f"the name {key.value!r} stands twice in{_where(key)}")
            found[key.value] = _value(value, constructor, seen)
        return found
    if node.id == "sequence" and kind == "seq":
        return [_value(each, constructor, seen) for each in node.value]
    if node.id == "scalar":
        if kind in {"str", "timestamp"}:
            return str(node.value)
        if kind in {"int", "float", "bool", "null"}:
            try:
                value = constructor.construct_object(node)
            except (KeyError, IndexError) as error:  # for `!!bool maybe` and `!!int ''`
                raise ValueError(f"{node.value!r} is no {kind} in{_where(node)}") from error
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{node.value} is no number that JSON has, in{_where(node)}")
            return value
    raise ValueError(f"the tag {node.tag} stands in{_where(node)}: JSON has no such value")


def _where(node: Any) -> str:
    return f" line {node.start_mark.line + 1}"


def _invalid(error: Exception) -> DocumentInvalid:
    why = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
    return DocumentInvalid(f"the document is not valid: it is no YAML document: {why}", hint=_HINT)
