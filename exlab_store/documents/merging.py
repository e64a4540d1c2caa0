"""Keeps the fields that a program does not know when it rewrites a document, at every depth.

What a field is known as comes from the struct. Items of a list are told apart by their ``uid`` or ``id``, where the
struct has one; otherwise by what they say, and what is left by position if the list has kept its length. Free-form
objects (``dict``) belong to the writer as a whole: a key that is gone from one was taken out on purpose.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias, TypeGuard

import msgspec

__all__ = ["merged"]

Object: TypeAlias = dict[str, Any]
Array: TypeAlias = list[Any]

_IDENTITIES = ("uid", "id")


def merged(new: Object, stored: Object, document: type[msgspec.Struct]) -> Object:
    """The new content of a document with the unknown fields of the stored one.

    Args:
        new: What is written, as JSON-compatible values.
        stored: What is stored, likewise.
        document: The struct that both are.

    Returns:
        Known fields first, in their order, then the unknown ones in theirs.
    """
    return _merge_object(new, stored, _type_of(document))


@lru_cache(maxsize=256)
def _type_of(document: type[msgspec.Struct]) -> Any:
    from msgspec import inspect  # 10 ms to import, and readers do without

    return inspect.type_info(document)


def _merge(new: Any, stored: Any, kind: Any) -> Any:
    if _is_object(new) and _is_object(stored):
        return _merge_object(new, stored, kind)
    if _is_array(new) and _is_array(stored):
        return _merge_array(new, stored, kind)
    return new


def _is_object(value: object) -> TypeGuard[Object]:
    return isinstance(value, dict)


def _is_array(value: object) -> TypeGuard[Array]:
    return isinstance(value, list)


def _merge_object(new: Object, stored: Object, kind: Any) -> Object:
    from msgspec import inspect

    kind = _member(kind, (inspect.StructType, inspect.DictType), new, stored)
    if isinstance(kind, inspect.StructType):
        known = {field.encode_name: field.type for field in kind.fields}
        kept = {name: value for name, value in stored.items() if name not in known and name != kind.tag_field}
        return {name: _merge(value, stored.get(name), known.get(name)) for name, value in new.items()} | kept
    if isinstance(kind, inspect.DictType):
        return {name: _merge(value, stored.get(name), kind.value_type) for name, value in new.items()}
    return new


def _merge_array(new: Array, stored: Array, kind: Any) -> Array:
    from msgspec import inspect

    kind = _member(kind, (inspect.ListType, inspect.VarTupleType, inspect.TupleType), new, stored)
    if kind is None:
        return new
    if isinstance(kind, inspect.TupleType):
        return [_merge(*item) for item in zip(new, stored, kind.item_types, strict=False)] + new[len(stored) :]
    return [
        _merge(item, old, kind.item_type) for item, old in zip(new, _paired(new, stored, kind.item_type), strict=True)
    ]


def _paired(new: Array, stored: Array, kind: Any) -> Array:
    """For each new item the stored one that it continues, or None."""
    names = {field.encode_name for field in getattr(kind, "fields", ())}
    identity = next((name for name in _IDENTITIES if name in names), None)

    def sign(item: Any) -> bytes:
        if not _is_object(item):
            return msgspec.json.encode(item)
        if identity is not None:
            return msgspec.json.encode(item.get(identity))
        return msgspec.json.encode({name: item[name] for name in sorted(names & item.keys())})

    places: dict[bytes, Array] = {}
    for item in reversed(stored):
        places.setdefault(sign(item), []).append(item)
    pairs = [found.pop() if (found := places.get(sign(item))) else None for item in new]
    if identity is None and len(new) == len(stored):
        used = {id(item) for item in pairs}
        pairs = [
            there if old is None and id(there) not in used else old for old, there in zip(pairs, stored, strict=True)
        ]
    return pairs


def _member(kind: Any, wanted: tuple[type, ...], new: Object | Array, stored: Object | Array) -> Any:
    """The type itself, or the member of a union that both values are of; None if it is not one of those wanted."""
    from msgspec import inspect

    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    for member in members:
        if isinstance(member, wanted):
            tag = getattr(member, "tag_field", None)
            if tag is None:
                return member
            if (
                _is_object(new)
                and _is_object(stored)
                and new.get(tag) == stored.get(tag) == getattr(member, "tag", None)
            ):
                return member
    return None
