"""The errors for stored bytes that are no document of the expected kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exlab_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DocumentInvalid", "MigrationFailed", "SchemaMajorMismatchError", "SchemaVersionMissing"]


class DocumentInvalid(StoreError, msgspec.ValidationError):
    """The stored bytes are not a document of the expected kind.

    Args:
        message: What went wrong.
        newer_minor: The stored ``schema_version`` where a newer program of the same major version wrote the document,
            so that it is not corrupt and is never replaced; otherwise None.
        key: The document's key.
        location: The store's location, without secrets.
        hint: What to do next.
    """

    code = "document_invalid"
    http_status = 422

    def __init__(
        self,
        message: str,
        *,
        newer_minor: str | None = None,
        key: str | None = None,
        location: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, key=key, location=location, hint=hint)
        self.newer_minor = newer_minor

    @property
    def details(self) -> Mapping[str, object]:
        """The version of a newer program's document."""
        return {} if self.newer_minor is None else {"newer_minor": self.newer_minor}


class SchemaMajorMismatchError(StoreError):
    """The document has another major schema version than this program reads and writes [§11.9].

    Args:
        expected_major: The major version that this program knows.
        found: The stored ``schema_version``, verbatim.
        key: The document's key.
        location: The store's location, without secrets.
    """

    code = "schema_major_mismatch"
    http_status = 409

    def __init__(self, expected_major: int, found: str, *, key: str | None = None, location: str | None = None) -> None:
        super().__init__(
            f"schema_version is {found!r}, and this program knows major version {expected_major}",
            key=key,
            location=location,
            hint="Use a program of the same major version; the document was left as it is.",
        )
        self.expected_major = expected_major
        self.found = found

    @property
    def field(self) -> str:
        """Always ``schema_version``."""
        return "schema_version"

    @property
    def details(self) -> Mapping[str, object]:
        """The expected major version and the stored text."""
        return {"expected_major": self.expected_major, "found": self.found}


class SchemaVersionMissing(DocumentInvalid, SchemaMajorMismatchError):
    """The document is a JSON object that has no ``schema_version`` [§11.9].

    Whoever tells documents of another version from invalid ones may take it for either.

    Args:
        message: What went wrong.
        expected_major: The major version that this program knows.
        key: The document's key.
        location: The store's location, without secrets.
        hint: What to do next.
    """

    code = "schema_version_missing"
    http_status = 422

    def __init__(
        self,
        message: str,
        *,
        expected_major: int,
        key: str | None = None,
        location: str | None = None,
        hint: str | None = None,
    ) -> None:
        # Neither base's own: each would call the other's with arguments that it does not take.
        StoreError.__init__(self, message, key=key, location=location, hint=hint)
        self.newer_minor = None
        self.expected_major = expected_major
        self.found = ""

    @property
    def details(self) -> Mapping[str, object]:
        """The expected major version, and empty text."""
        return {"expected_major": self.expected_major, "found": self.found}


class MigrationFailed(DocumentInvalid):
    """A migration of this program raised, so that an older document cannot be read; it is left as it is.

    What the migration raised is the cause (``__cause__``).

    Args:
        message: What went wrong.
        key: The document's key.
        location: The store's location, without secrets.
        hint: What to do next.
    """

    code = "migration_failed"
    http_status = 500
    default_hint = "Repair the migration of this program; the document was left as it is."
