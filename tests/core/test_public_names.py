"""The public API is the one that `public_names.txt` lists: every name, with its signature.

The file was made from the state before the house was rebuilt. A line that differs from that state has its reason in a
comment above it. To make the lines anew: ``python tests/core/test_public_names.py``.
"""

from __future__ import annotations

import enum
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import exlab_store

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).with_name("public_names.txt")
MODULES = [
    "exlab_store",
    "exlab_store.backend",
    "exlab_store.documents",
    "exlab_store.testing",
    "exlab_store.doctor",
    "exlab_store.benching",
    "exlab_store.migrating",
    "exlab_store.hookspecs",
]

SHARED = {"KeyPath", "ReadableStore"}


class _AsText:
    """What is shown as this text by a signature, which shows a text in quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _shown(value: object) -> _AsText:
    # As it is written: Python's versions show an object of typing in several ways.
    if isinstance(value, str):
        return _AsText(value)
    return _AsText(getattr(value, "__qualname__", "..."))


def _signature(called: Any, written: dict[str, str] | None = None) -> str:
    """The signature as text, with annotations as they are written.

    Args:
        called: A function or a class.
        written: The annotations of a struct's fields, which its signature has as objects.
    """
    signature = inspect.signature(called)
    empty = inspect.Parameter.empty
    parameters = []
    for parameter in signature.parameters.values():
        annotation, default = parameter.annotation, parameter.default
        if annotation is not empty:
            annotation = _shown((written or {}).get(parameter.name, annotation))
        if " at 0x" in repr(default):
            default = _AsText(type(default).__name__)
        parameters.append(parameter.replace(annotation=annotation, default=default))
    returned = signature.return_annotation
    return str(inspect.Signature(parameters, return_annotation=returned if returned is empty else _shown(returned)))


def _annotations(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= vars(base).get("__annotations__", {})
    return found


def _members(cls: type) -> dict[str, Any]:
    """Those of the class, and those of a base that has no entry of its own."""
    bases = [base for base in cls.__bases__ if base.__name__ in SHARED]
    return {name: value for each in [*bases, cls] for name, value in vars(each).items()}


def _of_class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases})"
    if issubclass(cls, enum.Enum):
        yield from (f"{name}.{member.name}" for member in cls)
        return
    if not getattr(cls, "_is_protocol", False):  # nobody makes one
        yield f"{name}{_signature(cls, _annotations(cls) if hasattr(cls, '__struct_fields__') else None)}"
    for member, value in sorted(_members(cls).items()):
        if member.startswith("_"):
            continue
        if isinstance(value, (classmethod, staticmethod)):
            value = value.__func__
        if inspect.isfunction(value):
            yield f"{name}.{member}{_signature(value)}"
        else:
            yield f"{name}.{member}"


def public_lines() -> list[str]:
    lines: list[str] = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            full = f"{module_name}.{name}"
            if module_name != "exlab_store" and value is getattr(exlab_store, name, None):
                lines.append(full)  # described above
                continue
            home = getattr(value, "__module__", "")
            if inspect.isclass(value) and home.partition(".")[0] == "exlab_store":
                lines += _of_class(full, value)
            elif inspect.isroutine(value):
                lines.append(full + _signature(value))
            else:
                lines.append(full)
    return lines


def test_the_public_names_and_signatures_are_those_of_the_list() -> None:
    listed = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert public_lines() == listed


if __name__ == "__main__":
    print("\n".join(public_lines()))
