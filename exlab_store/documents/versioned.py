"""Typed documents with a schema version [§11.9]: a new kind is a struct and a version.

Readers accept any minor version of their major one and refuse other majors. Writers keep every field that they do
not know, at every depth, never lower a minor version, and never lose the bytes of a corrupt document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from exlab_store.addresses import placed
from exlab_store.documents.merging import Fields, merged, raw_fields
from exlab_store.documents.times import now
from exlab_store.errors import DocumentInvalid, DocumentNotFound, SchemaMajorMismatchError
from exlab_store.keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, shortened
from exlab_store.locks import DEFAULT_LOCK_TIMEOUT
from exlab_store.resolving import as_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.paths import StorePath
    from exlab_store.resolving import DocumentLocation

__all__ = ["DocumentKind", "VersionedDocument", "require_schema_major"]

# int() refuses thousands of digits; eighteen are more than any version has.
_VERSION = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})")

# What msgspec raises for bytes that are no document: deep nesting is a RecursionError.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class VersionedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What every kind of document begins with; subclass it and give ``schema_version`` a default.

    Attributes:
        schema_version: ``MAJOR.MINOR``.
    """

    schema_version: str


class _Header(msgspec.Struct):
    schema_version: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


D = TypeVar("D", bound=VersionedDocument)

_decode_header = msgspec.json.Decoder(_Header).decode
_decode_text = msgspec.json.Decoder(str).decode


def _parsed(version: str | None) -> tuple[int, int] | None:
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
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
        raise SchemaMajorMismatchError(expected_major, "" if version is None else str(version))


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
            version = _stored_version(data)
            if version is None:
                raise DocumentInvalid("the document is not valid: Object missing required field `schema_version`")
            require_schema_major(version, expected_major=self._major)
            return self._decoder.decode(data)
        except UNDECODABLE as error:
            raise _invalid(error) from error

    def encode(self, value: D, current: bytes | None = None) -> bytes:
        """The bytes to store for a document.

        Args:
            value: The document.
            current: The stored bytes, whose unknown fields are kept; None for none.

        Returns:
            Compact JSON, with known fields in the order of their declaration, then unknown ones in theirs.

        Raises:
            DocumentInvalid: A field of the document has a wrong type or value, or the stored bytes are no document.
            SchemaMajorMismatchError: The document names another major version.
        """
        require_schema_major(value.schema_version, expected_major=self._major)
        data = self._encoded(value)
        # A struct does not check what it is made of; nobody could read what does not decode.
        self.decode(data)
        if current is None:
            return data
        return self._merged(data, _fields(current))

    def _merged(self, data: bytes, stored: Fields) -> bytes:
        known = _fields(data)
        versions = (_decode_text(known["schema_version"]), _decode_text(stored["schema_version"]))
        known["schema_version"] = msgspec.Raw(msgspec.json.encode(self._later(*versions)))
        return msgspec.json.encode(merged(known, stored, self._document))

    def _encoded(self, value: D) -> bytes:
        try:
            return msgspec.json.encode(value)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
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

    async def aread(self, location: DocumentLocation) -> D:
        """As `read`, for asyncio and trio.

        Args:
            location: Where it is.
        """
        path = await _opened(location)
        return self.decoded((await path.aio.read_snapshot()).data, path)

    def decoded(self, data: bytes, path: StorePath) -> D:
        """As `decode`, with the document's name in the errors."""
        try:
            return self.decode(data)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise placed(error, path.key, path.store.location) from error.__cause__

    def update(
        self,
        location: DocumentLocation,
        change: Callable[[D | None], D],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
    ) -> D:
        """Reads, changes and writes a document under its lock; fields that this program does not know stay.

        Args:
            location: Where it is.
            change: Gets the stored document, or None where there is none or a corrupt one, and returns the new one.
            timeout: Seconds to wait for the lock.
            purpose: What for, shown to others who wait.

        Returns:
            The document as written.

        Raises:
            SchemaMajorMismatchError: The stored document has another major version; it is left as it is.
            StoreError: As `encode` and `Store.update` do.
        """
        rewriting = _Rewriting(self, change, as_document(location))
        rewriting.path.update(rewriting, timeout=timeout, purpose=purpose)
        return self.decode(rewriting.written)

    async def aupdate(
        self,
        location: DocumentLocation,
        change: Callable[[D | None], D],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
    ) -> D:
        """As `update`, for asyncio and trio; ``change`` is called on a worker thread.

        Args:
            location: Where it is.
            change: As for `update`.
            timeout: As for `update`.
            purpose: As for `update`.
        """
        rewriting = _Rewriting(self, change, await _opened(location))
        await rewriting.path.aio.update(rewriting, timeout=timeout, purpose=purpose)
        return self.decode(rewriting.written)

    def rewritten(self, current: bytes | None, change: Callable[[D | None], D], path: StorePath) -> bytes:
        """What `update` writes; to be called under the document's lock.

        A corrupt document is first copied to ``<name>.corrupt-<UTC timestamp>`` beside it.

        Args:
            current: The stored bytes, or None.
            change: As for `update`.
            path: The document.
        """
        stored: D | None = None
        fields: Fields | None = None
        if current is not None:
            try:
                stored, fields = self.decode(current), _fields(current)
            except SchemaMajorMismatchError as error:
                raise placed(error, path.key, path.store.location) from None
            except DocumentInvalid as error:
                keep_corrupt(path, current, error)
                stored = None
        new = change(stored)
        try:
            data = self.encode(new)
            return data if fields is None else self._merged(data, fields)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise placed(error, path.key, path.store.location) from error.__cause__


class _Rewriting(Generic[D]):
    """The change of bytes that a change of documents comes to, and what was written last."""

    def __init__(self, kind: DocumentKind[D], change: Callable[[D | None], D], path: StorePath) -> None:
        self._kind = kind
        self._change = change
        self.path = path
        self.written = b""

    def __call__(self, current: bytes | None) -> bytes:
        self.written = self._kind.rewritten(current, self._change, self.path)
        return self.written


async def _opened(location: DocumentLocation) -> StorePath:
    from exlab_store.documents.coroutines import opened_document  # anyio takes 20 ms to import

    return await opened_document(location)


def _stored_version(data: bytes) -> str | None:
    """The text of ``schema_version``, or, where it is none, its JSON; None where there is none."""
    raw = _decode_header(data).schema_version
    if raw is msgspec.UNSET:
        return None
    text = bytes(raw)
    return _decode_text(text) if text.startswith(b'"') else text.decode()


def _fields(data: bytes) -> Fields:
    try:
        data.decode()  # the typed decoder does not look into unknown fields, and what is not UTF-8 is not JSON
        return raw_fields(data)
    except UNDECODABLE as error:
        raise _invalid(error) from error


def _invalid(error: Exception) -> DocumentInvalid:
    if isinstance(error, DocumentInvalid):
        return error
    reason = str(error)
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        reason = "it is not UTF-8"
    return DocumentInvalid(f"the document is not valid: {reason}", hint="Repair it, or remove it and write it again.")


def is_json_object(data: bytes) -> bool:
    """Whether the bytes are a JSON object, whatever is in it."""
    try:
        raw_fields(data)
    except UNDECODABLE:
        return False
    return True


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
    copy = _beside(path, suffix)
    number = 1
    while _exists_otherwise(copy, data):
        number += 1
        copy = _beside(path, f"{suffix}-{number}")
    copy.atomic_write(data)
    logging.getLogger("exlab_store").warning("kept the corrupt document %s as %s: %s", path, copy.name, reason)
    return copy


def _beside(path: StorePath, suffix: str) -> StorePath:
    folder = path.key.rpartition("/")[0]
    # A key is at most 1,024 bytes long: at the end of a very deep folder there is room only further up.
    while (room := MAX_KEY_BYTES - len(folder.encode()) - 1) < len(suffix) + 24:
        folder = folder.rpartition("/")[0]
    name = shortened(path.name, suffix, min(room, MAX_SEGMENT_BYTES))
    return path.store / (f"{folder}/{name}" if folder else name)


def _exists_otherwise(path: StorePath, data: bytes) -> bool:
    try:
        return path.read_snapshot().data != data
    except DocumentNotFound:
        return False
