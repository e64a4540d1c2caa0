"""Texts that no encoder takes: half of a surrogate pair in them stands for a byte of a name that is not UTF-8."""

from __future__ import annotations

from typing import cast

__all__ = ["encodable", "encodable_text"]


def encodable_text(text: str) -> str:
    r"""A text of the system's as one that can be stored and sent: a login name need not be UTF-8.

    Args:
        text: Anything; what cannot be encoded becomes an escape, ``\udcfc``.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def encodable(value: object) -> object:
    """A value with `encodable_text` in the place of each text in it.

    Args:
        value: Dicts, lists, texts and other scalars.
    """
    if isinstance(value, str):
        return encodable_text(value)
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return {encodable(name): encodable(member) for name, member in members.items()}
    if isinstance(value, (list, tuple)):
        return [encodable(item) for item in cast("list[object]", value)]
    return value
