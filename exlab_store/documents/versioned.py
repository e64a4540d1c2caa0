"""Typed documents with a schema version [§11.9]: a new kind is a struct and a version.

Readers accept any minor version of their major one and refuse other majors. Writers keep every field that they do
not know, at every depth, never lower a minor version, and never lose the bytes of a corrupt document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from exlab_store.documents.merging import merged
from exlab_store.documents.times import now
from exlab_store.errors import DocumentInvalid, DocumentNotFound, SchemaMajorMismatchError, StoreError
from exlab_store.keys import shortened
from exlab_store.resolving import as_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.resolving import DocumentLocation
    from exlab_store.store import StorePath

__all__ = ["DocumentKind", "VersionedDocument", "require_schema_major"]

_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", re.ASCII)


class VersionedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What every kind of document begins with; subclass it and give ``schema_version`` a default.

    Attributes:
        schema_version: ``MAJOR.MINOR``.
    """

    schema_version: str


class _Header(msgspec.Struct):
    schema_version: str | msgspec.UnsetType = msgspec.UNSET


D = TypeVar("D", bound=VersionedDocument)

_decode_header = msgspec.json.Decoder(_Header).decode
_decode_json = msgspec.json.Decoder().decode


def _parsed(version: str | None) -> tuple[int, int] | None:
    match = None if version is None else _VERSION.fullmatch(version)
    return None if match is None else (int(match[1]), int(match[2]))


def require_schema_major(version: str | None, *, expected_major: int) -> None:
    """Refuses a document of another major version [§11.9].

    Args:
        version: The stored ``schema_version``; None or empty text where there is none.
        expected_major: The major version that the caller knows.

    Raises:
        SchemaMajorMismatchError: It is another one, or the version is not ``MAJOR.MINOR``; ``found`` is the text
            as stored.
    """
    parsed = _parsed(version)
    if parsed is None or parsed[0] != expected_major:
        raise SchemaMajorMismatchError(expected_major, version or "")


class DocumentKind(Generic[D]):
    """How documents of one kind are read and written.

    Args:
        document: The struct: a subclass of `VersionedDocument`. Its fields are those that this program knows.
        version: ``MAJOR.MINOR``: the version that this program writes.
    """

    def __init__(self, document: type[D], version: str) -> None:
        parsed = _parsed(version)
        if parsed is None:
            raise ValueError(f"the version of a kind is MAJOR.MINOR, not {version!r}")
        self._document = document
        self._version = version
        self._major, self._minor = parsed
        self._decoder: msgspec.json.Decoder[D] = msgspec.json.Decoder(document)

    def decode(self, data: bytes) -> D:
        """The document in the stored bytes.

        Args:
            data: JSON.

        Raises:
            SchemaMajorMismatchError: It has another major version; nothing but that was looked at.
            DocumentInvalid: It is not JSON, has no ``schema_version``, or does not fit; the message says where.
        """
        try:
            version = _decode_header(data).schema_version
        except msgspec.DecodeError:
            version = None  # malformed: the typed decoder below says exactly how
        if version is msgspec.UNSET:
            raise DocumentInvalid("the document is not valid: Object missing required field `schema_version`")
        if version is not None:
            require_schema_major(version, expected_major=self._major)
        try:
            return self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise DocumentInvalid(f"the document is not valid: {error}") from error
        except UnicodeDecodeError as error:
            raise DocumentInvalid("the document is not valid: it is not UTF-8") from error

    def encode(self, value: D, current: bytes | None = None) -> bytes:
        """The bytes to store for a document.

        Args:
            value: The document.
            current: The stored bytes, already found valid, whose unknown fields are kept; None for none.

        Returns:
            Compact JSON: known fields in the order of their declaration, then unknown ones in theirs.

        Raises:
            DocumentInvalid: A field of the document has a wrong type or value.
            SchemaMajorMismatchError: The document names another major version.
        """
        require_schema_major(value.schema_version, expected_major=self._major)
        data = self._encoded(value)
        # A struct does not check what it is made of; nobody could read what does not decode.
        self.decode(data)
        if current is None:
            return data
        known = _decode_json(data)
        stored = _decode_json(current)
        known["schema_version"] = self._later(known["schema_version"], stored["schema_version"])
        return msgspec.json.encode(merged(known, stored, self._document))

    def _encoded(self, value: D) -> bytes:
        try:
            return msgspec.json.encode(value)
        except (TypeError, msgspec.MsgspecError) as error:
            raise DocumentInvalid(f"the document cannot be written: {error}") from error

    def _later(self, known: str, stored: str) -> str:
        versions = {_parsed(version) or (0, 0): version for version in (self._version, known, stored)}
        return versions[max(versions)]

    def read(self, location: DocumentLocation) -> D:
        """Reads a document; takes no lock.

        Args:
            location: Where it is.

        Raises:
            DocumentNotFound: There is none; it is also a `FileNotFoundError`.
            StoreError: As `decode` and `Store.read_snapshot` do.
        """
        path = as_document(location)
        return self.decoded(path.read_snapshot().data, path)

    def decoded(self, data: bytes, path: StorePath) -> D:
        """As `decode`, with the document's name in the errors."""
        try:
            return self.decode(data)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise _of(error, path) from error.__cause__

    def update(self, location: DocumentLocation, change: Callable[[D | None], D], *, timeout: float = 30.0) -> D:
        """Reads, changes and writes a document under its lock; fields that this program does not know stay.

        Args:
            location: Where it is.
            change: Gets the stored document, or None where there is none or a corrupt one, and returns the new one.
            timeout: Seconds to wait for the lock.

        Returns:
            The document as written.

        Raises:
            SchemaMajorMismatchError: The stored document has another major version; it is left as it is.
            StoreError: As `encode` and `Store.update` do.
        """
        path = as_document(location)
        written: list[bytes] = []

        def rewritten(current: bytes | None) -> bytes:
            written.append(self.rewritten(current, change, path))
            return written[0]

        path.update(rewritten, timeout=timeout)
        return self.decode(written[0])

    def rewritten(self, current: bytes | None, change: Callable[[D | None], D], path: StorePath) -> bytes:
        """What `update` writes; to be called under the document's lock.

        A corrupt document is first copied to ``<name>.corrupt-<UTC timestamp>`` beside it.

        Args:
            current: The stored bytes, or None.
            change: As for `update`.
            path: The document.
        """
        stored: D | None = None
        if current is not None:
            try:
                stored = self.decode(current)
            except SchemaMajorMismatchError as error:
                raise _of(error, path) from None
            except DocumentInvalid as error:
                keep_corrupt(path, current, error)
                current = None
        try:
            return self.encode(change(stored), current)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise _of(error, path) from error.__cause__


def _of(error: StoreError, path: StorePath) -> StoreError:
    error.key = path.key
    error.location = None if path.store.location is None else str(path.store.location)
    return error


def is_json_object(data: bytes) -> bool:
    """Whether the bytes are a JSON object, whatever is in it."""
    try:
        return isinstance(_decode_json(data), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def keep_corrupt(path: StorePath, data: bytes, reason: object) -> StorePath:
    """Keeps the bytes of a corrupt document beside it and logs a warning [§11.9]; call it under the lock.

    Args:
        path: The corrupt document.
        data: Its bytes.
        reason: What is wrong with it, for the log.

    Returns:
        The copy.
    """
    import logging  # 10 ms to import, and hardly any program meets a corrupt document

    # No colons: they are not allowed in keys.
    suffix = ".corrupt-" + now().replace("-", "").replace(":", "")
    copy = path.with_name(shortened(path.name, suffix))
    number = 1
    while _exists_otherwise(copy, data):
        number += 1
        copy = path.with_name(shortened(path.name, f"{suffix}-{number}"))
    copy.atomic_write(data)
    logging.getLogger("exlab_store").warning("kept the corrupt document %s as %s: %s", path, copy.name, reason)
    return copy


def _exists_otherwise(path: StorePath, data: bytes) -> bool:
    try:
        return path.read_snapshot().data != data
    except DocumentNotFound:
        return False
