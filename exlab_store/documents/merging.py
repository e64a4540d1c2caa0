"""The fields that a program does not know: a rewrite keeps them, at every depth and to the letter.

The struct says which fields the program knows. Items of a list are told apart by their ``uid`` or ``id``, where the
struct has one; otherwise by what they say, and what is left by position if the list has kept its length. Free-form
objects (``dict``) belong to the writer as a whole: a key that is gone from one was taken out on purpose.

Unknown values are never decoded: a number keeps its digits, whatever they are. White space alone is taken out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from exlab_store.first_imports import import_whole

__all__ = ["Fields", "merged", "raw_fields"]

Fields: TypeAlias = dict[str, msgspec.Raw]
"""An object whose values are JSON that nobody has looked at."""

Items: TypeAlias = list[msgspec.Raw]

_IDENTITIES = ("uid", "id")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_items = msgspec.json.Decoder(Items).decode

raw_fields = msgspec.json.Decoder(Fields).decode
"""The fields of a JSON object; raises what msgspec raises for what is none."""


def merged(new: Fields, stored: Fields, document: type[msgspec.Struct]) -> Fields:
    """The new content of a document with the unknown fields of the stored one.

    Args:
        new: What is written.
        stored: What is stored.
        document: The struct that both are.

    Returns:
        Known fields first, in their order, then the unknown ones in theirs.
    """
    result: Fields = _merge_object(new, stored, _type_of(document))
    return result


@lru_cache(maxsize=256)
def _type_of(document: type[msgspec.Struct]) -> Any:
    import_whole("msgspec.inspect")  # 10 ms to import, and readers do without
    from msgspec import inspect

    return inspect.type_info(document)


def _merge(new: msgspec.Raw, stored: msgspec.Raw | None, kind: Any) -> Any:
    if stored is None or kind is None:
        return new
    first, before = bytes(new)[:1], bytes(stored)[:1]
    if first == before == b"{":
        return _merge_object(raw_fields(new), raw_fields(stored), kind)
    if first == before == b"[":
        return _merge_array(_items(new), _items(stored), kind)
    return new


def _merge_object(new: Fields, stored: Fields, kind: Any) -> Any:
    from msgspec import inspect

    kind = _member(kind, (inspect.StructType, inspect.DictType), new, stored)
    if isinstance(kind, inspect.StructType):
        known = {field.encode_name: field.type for field in kind.fields}
        kept = {
            name: msgspec.Raw(msgspec.json.format(bytes(value), indent=-1))
            for name, value in stored.items()
            if name not in known and name != kind.tag_field
        }
        return {name: _merge(value, stored.get(name), known.get(name)) for name, value in new.items()} | kept
    if isinstance(kind, inspect.DictType):
        return {name: _merge(value, stored.get(name), kind.value_type) for name, value in new.items()}
    return new


def _merge_array(new: Items, stored: Items, kind: Any) -> Any:
    from msgspec import inspect

    kind = _member(kind, (inspect.ListType, inspect.VarTupleType, inspect.TupleType), None, None)
    if kind is None:
        return new
    if isinstance(kind, inspect.TupleType):
        return [_merge(*item) for item in zip(new, stored, kind.item_types, strict=False)] + new[len(stored) :]
    pairs = zip(new, _paired(new, stored, kind.item_type), strict=True)
    return [_merge(item, old, kind.item_type) for item, old in pairs]


def _paired(new: Items, stored: Items, kind: Any) -> list[msgspec.Raw | None]:
    """For each new item the stored one that it continues, or None."""
    names = {field.encode_name for field in getattr(kind, "fields", ())}
    if not names:  # lists of lists, or of free-form objects: only their position tells them apart
        return list(stored) if len(new) == len(stored) else [None] * len(new)
    identity = next((name for name in _IDENTITIES if name in names), None)

    def sign(item: msgspec.Raw) -> bytes:
        if bytes(item)[:1] != b"{":
            return bytes(item)
        fields = raw_fields(item)
        shown = names & fields.keys() if identity is None else {identity} & fields.keys()
        return _encode({name: _said(fields[name]) for name in sorted(shown)})

    places: dict[bytes, list[int]] = {}
    for place, item in reversed(list(enumerate(stored))):
        places.setdefault(sign(item), []).append(place)
    found = [there.pop() if (there := places.get(sign(item))) else None for item in new]
    if identity is None and len(new) == len(stored):
        used = set(found)
        found = [place if old is None and place not in used else old for place, old in enumerate(found)]
    return [None if place is None else stored[place] for place in found]


def _said(value: msgspec.Raw) -> Any:
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):  # of a field that takes any JSON, as it stands
        return value


def _member(kind: Any, wanted: tuple[type, ...], new: Fields | None, stored: Fields | None) -> Any:
    """The type itself, or the member of a union that both values are of; None if it is not one of those wanted."""
    from msgspec import inspect

    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    for member in members:
        if isinstance(member, wanted):
            tag = getattr(member, "tag_field", None)
            if tag is None:
                return member
            tags = [_tag(fields, tag) for fields in (new, stored) if fields is not None]
            if tags == [getattr(member, "tag", None)] * 2:
                return member
    return None


def _tag(fields: Fields, name: str) -> Any:
    return _decode(fields[name]) if name in fields else None
