"""Writes new values into the tree of a YAML or TOML text, whose comments and spelling stay."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["merge_into"]

_encode = msgspec.json.Encoder(order="sorted").encode


def merge_into(tree: Any, old: Any, new: Any) -> None:
    """Changes a text's tree in place, where the values differ: what is the same keeps its spelling and its comments.

    Args:
        tree: The table or the list as the text's library has it.
        old: What it says, as JSON has it.
        new: What it is to say: of the same type.
    """
    if type(new) is list:
        _merge_list(tree, old, new)
        return
    for name in old.keys() - new.keys():
        del tree[name]
    for name, value in new.items():
        if name not in old:
            tree[name] = value
        else:
            _merge_value(tree, name, old[name], value)


def _merge_list(tree: Any, old: Any, new: Any) -> None:
    while len(tree) > len(new):
        del tree[len(tree) - 1]
    for place, value in enumerate(new):
        if place < len(old):
            _merge_value(tree, place, old[place], value)
        else:
            tree.append(value)


def _merge_value(tree: Any, name: Any, old: Any, new: Any) -> None:
    if _same(old, new):
        return
    if type(old) is type(new) and type(new) in {dict, list}:
        merge_into(tree[name], old, new)
    else:
        tree[name] = new


def _same(old: Any, new: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are not, though Python calls them equal."""
    return bool(_encode(old) == _encode(new))
