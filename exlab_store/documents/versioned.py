"""Typed documents with a schema version [§11.9]: a new kind is a struct and a version.

Readers accept any minor version of their major one and refuse other majors. Writers keep every field that they do
not know, at every depth, never lower a minor version, and never lose the bytes of a corrupt document.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from exlab_store.document_errors import DocumentInvalid, SchemaMajorMismatchError
from exlab_store.documents.corrupt import Repair
from exlab_store.documents.merging import merged, raw_fields
from exlab_store.documents.stored_bytes import UNDECODABLE, ensure_mergeable, ensure_shallow, invalid, unmarked
from exlab_store.hidden_location import hides_location
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.opening.locations import as_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.opening.locations import DocumentLocation
    from exlab_store.store_path import StorePath

__all__ = ["DocumentKind", "VersionedDocument", "require_schema_major"]

# int() refuses thousands of digits; eighteen are more than any version has.
_VERSION = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})")


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
            data: JSON; a byte order mark at its beginning is skipped.

        Raises:
            SchemaMajorMismatchError: It has another major version; nothing but that was looked at.
            DocumentInvalid: It is not JSON, has no ``schema_version``, or does not fit; the message says where. The
                hint says so where a newer program wrote it.
        """
        return self._decoded(unmarked(data))

    def _decoded(self, data: bytes) -> D:
        """The one check of stored bytes, for readers and for writers."""
        ensure_shallow(data)
        version = _stored_version(data)
        require_schema_major(version, expected_major=self._major)
        try:
            document = self._decoder.decode(data)
            ensure_mergeable(data)
        except UNDECODABLE as error:
            found = invalid(error, data)
            if isinstance(error, msgspec.ValidationError) and self._is_newer(version):
                # A newer minor may have added a value to the allowed ones [§11.9.1].
                found.newer_minor = version
                found.hint = (
                    f"A newer program wrote it: its schema_version is {version}, and this program knows "
                    f"{self._version}. Update this program; the document was left as it is."
                )
            raise found from error
        return document

    def _is_newer(self, version: str) -> bool:
        parsed = _parsed(version)
        return parsed is not None and parsed[0] == self._major and parsed[1] > self._minor

    def encode(self, value: D, current: bytes | None = None) -> bytes:
        """The bytes to store for a document.

        The version is this program's, whatever the document says, or the stored one where that is newer [§11.9.3].

        Args:
            value: The document.
            current: The stored bytes, whose unknown fields are kept; None for none.

        Returns:
            Compact JSON, with known fields in the order of their declaration, then unknown ones in theirs.

        Raises:
            TypeError: The document is not one of this kind.
            DocumentInvalid: A field of the document has a wrong type or value, or the stored bytes are no document.
            SchemaMajorMismatchError: The document names another major version, or the stored bytes do.
        """
        stored = None if current is None else unmarked(current)
        version = self._version if stored is None else self._decoded(stored).schema_version
        return self._encoded(value, stored, version)

    def _encoded(self, value: D, stored: bytes | None, version: str) -> bytes:
        """As `encode`, for stored bytes that were checked."""
        if not isinstance(value, self._document):
            raise TypeError(f"the document must be of type {self._document.__name__}, not {type(value).__name__}")
        require_schema_major(value.schema_version, expected_major=self._major)
        later = version if self._is_newer(version) else self._version
        try:
            data = msgspec.json.encode(msgspec.structs.replace(value, schema_version=later))
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise DocumentInvalid(f"the document cannot be written: {error}") from error
        # A struct does not check what it is made of; nobody could read what does not decode.
        self._decoded(data)
        if stored is None:
            return data
        return msgspec.json.encode(merged(raw_fields(data), raw_fields(stored), self._document))

    @hides_location
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

    @hides_location
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
            raise error.at(path.key, path.store.location) from error.__cause__

    @hides_location
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
        try:
            rewriting.path.update(rewriting, timeout=timeout, purpose=purpose)
        finally:
            rewriting.repair.warn()
        return self.decode(rewriting.written)

    @hides_location
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
        try:
            await rewriting.path.aio.update(rewriting, timeout=timeout, purpose=purpose)
        finally:
            rewriting.repair.warn()
        return self.decode(rewriting.written)

    def rewritten(self, current: bytes | None, change: Callable[[D | None], D], repair: Repair) -> bytes:
        """What `update` writes; to be called under the document's lock.

        A corrupt document is last of all copied to ``<name>.corrupt-<UTC timestamp>`` beside it.

        Args:
            current: The stored bytes, or None.
            change: As for `update`.
            repair: Of the document.

        Raises:
            DocumentInvalid: A newer program wrote the document, or the new one does not fit; it is left as it is.
            SchemaMajorMismatchError: It has another major version; it is left as it is.
            StoreError: There is no copy of the corrupt document.
        """
        found: D | None = None
        stored: bytes | None = None
        corrupt: DocumentInvalid | None = None
        if current is not None:
            data = unmarked(current)
            try:
                found, stored = self._decoded(data), data
            except DocumentInvalid as error:
                # Its stack is the reader's own: another thread may well read the document.
                if error.newer_minor is not None or isinstance(error.__cause__, RecursionError):
                    raise
                corrupt = error
        version = self._version if found is None else found.schema_version
        new = self._encoded(change(found), stored, version)
        if corrupt is not None and current is not None:
            repair.keep(current, corrupt)
        return new


class _Rewriting(Generic[D]):
    """The change of bytes that a change of documents comes to, and what was written last."""

    def __init__(self, kind: DocumentKind[D], change: Callable[[D | None], D], path: StorePath) -> None:
        self._kind = kind
        self._change = change
        self.path = path
        self.repair = Repair(path)
        self.written = b""

    def __call__(self, current: bytes | None) -> bytes:
        self.undo()
        try:
            self.written = self._kind.rewritten(current, self._change, self.repair)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise error.at(self.path.key, self.path.store.location) from error.__cause__
        return self.written

    def undo(self) -> None:
        """Takes the copy of a corrupt document back, as that was not replaced after all."""
        self.repair.undo()


async def _opened(location: DocumentLocation) -> StorePath:
    from exlab_store.documents.coroutines import opened_document  # anyio takes 20 ms to import

    return await opened_document(location)


def _stored_version(data: bytes) -> str:
    """The text of ``schema_version``, or, where it is none, its JSON."""
    try:
        raw = _decode_header(data).schema_version
        if raw is not msgspec.UNSET:
            text = bytes(raw)
            return _decode_text(text) if text.startswith(b'"') else text.decode()
    except UNDECODABLE as error:
        raise invalid(error, data) from error
    raise invalid(msgspec.ValidationError("Object missing required field `schema_version`"), data)


def is_json_object(data: bytes) -> bool:
    """Whether the bytes are a JSON object, whatever is in it."""
    data = unmarked(data)
    try:
        ensure_shallow(data)
        raw_fields(data)
    except UNDECODABLE:
        return False
    return True
