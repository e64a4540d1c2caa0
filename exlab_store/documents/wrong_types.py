"""The error for a value of another type.

Two classes may have one name: an application that keeps its own ``LIMSProject`` passes it easily for that of this
package.
"""

from __future__ import annotations

__all__ = ["wrong_type"]


def wrong_type(what: str, expected: type, value: object) -> TypeError:
    """The error, which names both types with their modules.

    Args:
        what: What the value is: ``projects[0]``.
        expected: The type that it must be of.
        value: What was given.
    """
    return TypeError(f"{what} must be of type {_name(expected)}, not {_name(type(value))}")


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
