"""A kind of document as bytes: a struct, a version, and how they are stored [§11.9].

Readers accept any minor version of their major one and refuse other majors. Writers keep every field that they do
not know, at every depth, and never lower a minor version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec

from exlab_store.document_errors import DocumentInvalid, MigrationFailed, SchemaVersionMissing
from exlab_store.documents.codecs import codec_of
from exlab_store.documents.merging import merged, raw_fields
from exlab_store.documents.migrations import Migrations
from exlab_store.documents.stored_bytes import (
    BYTE_ORDER_MARK,
    UNDECODABLE,
    ensure_mergeable,
    ensure_shallow,
    invalid,
    outermost,
    unmarked,
)
from exlab_store.documents.versions import parsed_version, require_schema_major
from exlab_store.documents.wrong_types import wrong_type

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import dataclass_transform

    from exlab_store.documents.codecs import CodecName
    from exlab_store.documents.migrations import Migration

    # Type checkers call a class with such a metaclass neither frozen nor mutable [PEP 681], so that both inherit it.
    @dataclass_transform(field_specifiers=(msgspec.field,))
    class _Meta(msgspec.StructMeta):
        pass
else:
    _Meta = type(msgspec.Struct)

__all__ = ["CheckedDocument", "D", "DocumentFormat", "VersionedDocument", "is_json_object"]


class VersionedDocument(msgspec.Struct, metaclass=_Meta, kw_only=True):
    """What every kind of document begins with; subclass it and give ``schema_version`` a default.

    A subclass may be frozen (``frozen=True``) or not.

    Attributes:
        schema_version: ``MAJOR.MINOR``.
    """

    schema_version: str


class _Header(msgspec.Struct):
    schema_version: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


D = TypeVar("D", bound=VersionedDocument)

_decode_header = msgspec.json.Decoder(_Header).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class CheckedDocument(NamedTuple, Generic[D]):
    """A stored document that was checked.

    Attributes:
        document: The document.
        json: What it was decoded from: JSON of this program's minor version or a newer one.
        version: Its ``schema_version``. Not the document's, which may be changed in place.
    """

    document: D
    json: bytes
    version: str


class DocumentFormat(Generic[D]):
    """How the documents of one kind are stored.

    Args:
        document: The struct.
        version: ``MAJOR.MINOR``: the version that this program writes.
        migrations: From older minors; see `Migrations`.
        codec: How documents are spelt.

    Raises:
        ValueError: The version is no version, or a migration does not start below it, or there is no such codec.
        ConfigError: The extra that the codec needs is not installed.
    """

    def __init__(self, document: type[D], version: str, migrations: Mapping[str, Migration], codec: CodecName) -> None:
        parsed = parsed_version(version)
        if parsed is None:
            raise ValueError(f"the version of a kind is MAJOR.MINOR, not {version!r}")
        self._document = document
        self._version = version
        self._parsed = parsed
        self._migrations = Migrations(parsed, migrations) if migrations else None
        self._codec = codec_of(codec)
        self._decoder: msgspec.json.Decoder[D] = msgspec.json.Decoder(document)

    def checked(self, data: bytes) -> CheckedDocument[D]:
        """The one check of stored bytes, for readers and for writers.

        Args:
            data: As stored.

        Raises:
            SchemaMajorMismatchError: It has another major version; nothing but that was looked at.
            SchemaVersionMissing: It has no ``schema_version``.
            MigrationFailed: A migration raised.
            DocumentInvalid: It is not a document of this kind.
        """
        if self._codec is None:
            return self._checked(unmarked(data))
        return self._checked(self._codec.to_json(data.removeprefix(BYTE_ORDER_MARK)))

    def _checked(self, data: bytes) -> CheckedDocument[D]:
        self._ensure_shallow(data)
        version = self._version_of(data)
        require_schema_major(version, expected_major=self._parsed.major)
        try:
            if self._migrations is not None:
                data = self._migrations.migrated(data, version)
            document = self._decoder.decode(data)
            ensure_mergeable(data)
        except MigrationFailed:
            raise
        except UNDECODABLE as error:
            found = invalid(error, data)
            if isinstance(error, msgspec.ValidationError) and self._is_newer(version):
                # A newer minor may have added a value to the allowed ones [§11.9.1].
                self._lay_to_newer(found, version)
            raise found from error
        return CheckedDocument(document, data, document.schema_version)

    def _ensure_shallow(self, data: bytes) -> None:
        """As `ensure_shallow`; what another major or a newer minor may nest is not for this program to say."""
        try:
            ensure_shallow(data)
        except DocumentInvalid as error:
            found = error
        else:
            return
        try:
            version = self._version_of(outermost(data))
        except DocumentInvalid:
            raise found from None
        require_schema_major(version, expected_major=self._parsed.major)
        if self._is_newer(version):
            self._lay_to_newer(found, version)
        raise found

    def _lay_to_newer(self, error: DocumentInvalid, version: str) -> None:
        error.newer_minor = version
        error.hint = (
            f"A newer program wrote it: its schema_version is {version}, and this program knows "
            f"{self._version}. Update this program; the document was left as it is."
        )

    def encoded(self, value: D, stored: CheckedDocument[D] | None, current: bytes | None) -> bytes:
        """The bytes to store for a document; see `DocumentKind.encode`.

        Args:
            value: The document.
            stored: What is stored, whose unknown fields are kept; None for none.
            current: The stored bytes that this was found in; None for none.
        """
        data = self._encoded(value, stored)
        if self._codec is None:
            return data
        text = None if stored is None or current is None else current.removeprefix(BYTE_ORDER_MARK)
        spelt = self._codec.from_json(data, text)
        written, read = self._checked(data).document, self.checked(spelt).document
        # As text: structs need not compare by what is in them, and neither spelling keeps the order of an object.
        if _encode_sorted(written) != _encode_sorted(read):
            raise DocumentInvalid("the document cannot be written: its text would be read as another document")
        return spelt

    def _encoded(self, value: D, stored: CheckedDocument[D] | None) -> bytes:
        """As `encoded`, as JSON."""
        if not isinstance(value, self._document):
            raise wrong_type("the document", self._document, value)
        require_schema_major(value.schema_version, expected_major=self._parsed.major)
        newer = stored is not None and self._is_newer(stored.version)
        later = stored.version if stored is not None and newer else self._version
        try:
            data = msgspec.json.encode(msgspec.structs.replace(value, schema_version=later))
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise DocumentInvalid(f"the document cannot be written: {error}") from error
        # A struct does not check what it is made of; nobody could read what does not decode.
        self._checked(data)
        if stored is None:
            return data
        return msgspec.json.encode(merged(raw_fields(data), raw_fields(stored.json), self._document))

    def _is_newer(self, version: str) -> bool:
        parsed = parsed_version(version)
        return parsed is not None and parsed.major == self._parsed.major and parsed.minor > self._parsed.minor

    def _version_of(self, data: bytes) -> str:
        """The text of ``schema_version``, or, where it is none, its JSON."""
        try:
            raw = _decode_header(data).schema_version
            if raw is not msgspec.UNSET:
                text = bytes(raw)
                return _decode_text(text) if text.startswith(b'"') else text.decode()
        except UNDECODABLE as error:
            raise invalid(error, data) from error
        missing = invalid(msgspec.ValidationError("Object missing required field `schema_version`"), data)
        raise SchemaVersionMissing(missing.message, expected_major=self._parsed.major, hint=missing.hint)


def is_json_object(data: bytes) -> bool:
    """Whether the bytes are a JSON object, whatever is in it, that is not nested too deeply.

    Args:
        data: As stored.

    Raises:
        DocumentInvalid: This thread's stack has no room to look: that says nothing about the bytes.
    """
    data = unmarked(data)
    try:
        ensure_shallow(data)
        raw_fields(data)
    except RecursionError as error:
        raise invalid(error, data) from error
    except UNDECODABLE:
        return False
    return True
