"""Keeps the fields that a program does not know when it rewrites a document, at every depth.

What a field is known as comes from the struct. Items of a list are told apart by their ``uid`` or ``id``, where the
struct has one, and by their position otherwise. Free-form objects (``dict``) belong to the writer as a whole: a key
that is gone from one was taken out on purpose.
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
    kinds = kind.item_types if isinstance(kind, inspect.TupleType) else (kind.item_type,) * len(new)
    identity = None if isinstance(kind, inspect.TupleType) else _identity(kind.item_type)
    if identity is None:
        before = stored[: len(new)] + [None] * (len(new) - len(stored))
    else:
        by_identity = {_key(item, identity): item for item in stored}
        before = [by_identity.get(_key(item, identity)) for item in new]
    return [_merge(*item) for item in zip(new, before, kinds, strict=True)]


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


def _identity(kind: Any) -> str | None:
    names = {field.encode_name for field in getattr(kind, "fields", ())}
    return next((name for name in _IDENTITIES if name in names), None)


def _key(item: Any, identity: str) -> bytes:
    return msgspec.json.encode(item.get(identity) if _is_object(item) else None)
