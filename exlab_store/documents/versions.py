"""Schema versions [§11.9]: ``MAJOR.MINOR``. A reader accepts any minor version of its major one."""

from __future__ import annotations

import re
from typing import NamedTuple

from exlab_store.document_errors import SchemaMajorMismatchError

__all__ = ["SchemaVersion", "parsed_version", "require_schema_major"]

# int() refuses thousands of digits; eighteen are more than any version has.
_VERSION = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})")


class SchemaVersion(NamedTuple):
    """A version, comparable.

    Attributes:
        major: Another one breaks.
        minor: A higher one only adds.
    """

    major: int
    minor: int


def parsed_version(version: str | None) -> SchemaVersion | None:
    """The version in a text.

    Args:
        version: As stored.

    Returns:
        None for what is not ``MAJOR.MINOR``.
    """
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    return None if match is None else SchemaVersion(int(match[1]), int(match[2]))


def require_schema_major(version: str | None, *, expected_major: int) -> None:
    """Refuses a document of another major version [§11.9].

    Args:
        version: The stored ``schema_version``; None or empty text where there is none.
        expected_major: The major version that the caller knows.

    Raises:
        SchemaMajorMismatchError: It is another one, or the version is not ``MAJOR.MINOR``; ``found`` is the text
            as stored.
    """
    found = parsed_version(version)
    if found is None or found.major != expected_major:
        raise SchemaMajorMismatchError(expected_major, "" if version is None else str(version))
