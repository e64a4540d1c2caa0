"""Typed documents with a schema version [§11.9]: a new kind is a struct and a version."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from exlab_store.document_errors import DocumentInvalid, SchemaMajorMismatchError
from exlab_store.documents.formats import D, DocumentFormat
from exlab_store.documents.rewriting import Rewriting
from exlab_store.errors import StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hidden_location import hides_location
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.model import ABSENT
from exlab_store.opening.locations import as_document
from exlab_store.reading_many import DEFAULT_CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping

    from exlab_store.documents.codecs import CodecName
    from exlab_store.documents.migrations import Migration
    from exlab_store.documents.rewriting import OnCorrupt, OnMissing
    from exlab_store.model import Snapshot
    from exlab_store.opening.locations import DocumentLocation
    from exlab_store.store import Store
    from exlab_store.store_path import StorePath

__all__ = ["DocumentKind"]


class DocumentKind(Generic[D]):
    """How documents of one kind are read and written.

    Args:
        document: The struct: a subclass of `VersionedDocument`, frozen or not. Its fields are those that this program
            knows.
        version: ``MAJOR.MINOR``: the version that this program writes.
        migrations: From an older minor version, ``MAJOR.MINOR``, to what makes an object of the next one of its
            decoded object. They are called in order when such a document is read; the result is stored by the next
            write. A minor that only adds optional fields needs none. None for no migrations.
        codec: ``json``; or ``yaml`` or ``toml``, each with the extra of that name, for documents that people write too:
            an update keeps their comments.

    Raises:
        ValueError: The version is not ``MAJOR.MINOR``, or a migration does not start at an older minor of it, or
            there is no such codec.
        ConfigError: The extra that the codec needs is not installed; the hint says what to install.
    """

    def __init__(
        self,
        document: type[D],
        version: str,
        *,
        migrations: Mapping[str, Migration] | None = None,
        codec: CodecName = "json",
    ) -> None:
        self._format = DocumentFormat(document, version, migrations or {}, codec)

    def decode(self, data: bytes) -> D:
        """The document in the stored bytes.

        Args:
            data: JSON, or what the codec says; a byte order mark at its beginning is skipped.

        Raises:
            SchemaMajorMismatchError: It has another major version; nothing but that was looked at.
            SchemaVersionMissing: It has no ``schema_version``; a `DocumentInvalid` as well.
            MigrationFailed: A migration raised; a `DocumentInvalid` as well.
            DocumentInvalid: It is not JSON, or does not fit; the message says where. The hint says so where a newer
                program wrote it.
        """
        return self._format.checked(data).document

    def encode(self, value: D, current: bytes | None = None) -> bytes:
        """The bytes to store for a document.

        The version is this program's, whatever the document says, or the stored one where that is newer [§11.9.3].

        Args:
            value: The document.
            current: The stored bytes, whose unknown fields are kept; None for none.

        Returns:
            Compact JSON, with known fields in the order of their declaration, then unknown ones in theirs; or YAML or
            TOML, with the comments of the stored bytes.

        Raises:
            TypeError: The document is not one of this kind.
            DocumentInvalid: A field of the document has a wrong type or value, or the stored bytes are no document.
            SchemaMajorMismatchError: The document names another major version, or the stored bytes do.
        """
        stored = None if current is None else self._format.checked(current)
        return self._format.encoded(value, stored, current)

    def decoded(self, data: bytes, path: StorePath) -> D:
        """As `decode`, with the document's name in the errors."""
        try:
            return self.decode(data)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise error.at(path.key, path.store.location) from error.__cause__

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

    def read_many(
        self, store: Store, keys: Iterable[str], *, concurrency: int = DEFAULT_CONCURRENCY
    ) -> Iterator[tuple[str, D | StoreError | None]]:
        """Reads many documents, several at a time where the storage is slow.

        Args:
            store: Where they are.
            keys: Their keys; see `Store.read_many`.
            concurrency: How many are read at a time, at most.

        Yields:
            The key and the document, as they come; None for a missing document, and for one that cannot be read or
            is invalid its error, which is not raised.

        Raises:
            ValueError: ``concurrency`` is less than 1.
        """
        errors: list[StoreError] = []
        found = store.read_many(keys, concurrency=concurrency, onerror=errors.append)
        return self._each(store, found, errors)

    def _each(
        self, store: Store, found: Iterator[tuple[str, Snapshot | None]], errors: list[StoreError]
    ) -> Iterator[tuple[str, D | StoreError | None]]:
        for key, snapshot in found:
            yield from _taken(errors)
            yield key, self._of(store, key, snapshot)
        yield from _taken(errors)

    async def aread_many(
        self, store: Store, keys: Iterable[str], *, concurrency: int = DEFAULT_CONCURRENCY
    ) -> AsyncGenerator[tuple[str, D | StoreError | None]]:
        """As `read_many`, for asyncio and trio, as an asynchronous generator.

        Whoever stops early closes it, as for `AsyncStore.read_many`.

        Args:
            store: Where they are.
            keys: Their keys.
            concurrency: How many are read at a time; 8 at most.
        """
        errors: list[StoreError] = []
        async with aclosing(store.aio.read_many(keys, concurrency=concurrency, onerror=errors.append)) as found:
            async for key, snapshot in found:
                for bad in _taken(errors):
                    yield bad
                yield key, self._of(store, key, snapshot)
        for bad in _taken(errors):
            yield bad

    def _of(self, store: Store, key: str, snapshot: Snapshot | None) -> D | StoreError | None:
        try:
            return None if snapshot is None else self.decoded(snapshot.data, store / key)
        except StoreError as error:
            return error

    @hides_location
    def create(self, location: DocumentLocation, value: D) -> D:
        """Writes a document that nobody has written: of many who create it, one does.

        Args:
            location: Where it is to be; folders that are missing are made.
            value: The document.

        Returns:
            The document as written.

        Raises:
            DocumentExists: It exists, whatever is in it; it is left as it is. It is also a `FileExistsError`.
            WriteOutcomeUnknown: It may have been written, by this call: a second one may find it there.
            StoreError: As `encode` and `Store.atomic_write` do.
        """
        path = as_document(location)
        data = self._new(value, path)
        path.atomic_write(data, expect=ABSENT)
        return self.decode(data)

    @hides_location
    async def acreate(self, location: DocumentLocation, value: D) -> D:
        """As `create`, for asyncio and trio.

        Args:
            location: Where it is to be.
            value: The document.
        """
        path = await _opened(location)
        data = self._new(value, path)
        await path.aio.atomic_write(data, expect=ABSENT)
        return self.decode(data)

    def _new(self, value: D, path: StorePath) -> bytes:
        try:
            return self.encode(value)
        except (DocumentInvalid, SchemaMajorMismatchError) as error:
            raise error.at(path.key, path.store.location) from error.__cause__

    @hides_location
    def write(
        self,
        location: DocumentLocation,
        value: D,
        *,
        on_corrupt: OnCorrupt = "replace",
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "write",
    ) -> D:
        """Writes a document, whether it exists or not; fields that this program does not know stay.

        It is an update that does not look at what is stored: the last writer wins.

        Args:
            location: Where it is.
            value: The document.
            on_corrupt: As for `update`.
            timeout: As for `update`.
            purpose: As for `update`.

        Returns:
            The document as written.

        Raises:
            StoreError: As `update` does.
        """
        return self.update(location, lambda _: value, on_corrupt=on_corrupt, timeout=timeout, purpose=purpose)

    @hides_location
    async def awrite(
        self,
        location: DocumentLocation,
        value: D,
        *,
        on_corrupt: OnCorrupt = "replace",
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "write",
    ) -> D:
        """As `write`, for asyncio and trio.

        Args:
            location: Where it is.
            value: The document.
            on_corrupt: As for `update`.
            timeout: As for `update`.
            purpose: As for `update`.
        """
        return await self.aupdate(location, lambda _: value, on_corrupt=on_corrupt, timeout=timeout, purpose=purpose)

    @overload
    def update(
        self,
        location: DocumentLocation,
        change: Callable[[D], D],
        *,
        on_corrupt: Literal["raise"],
        missing: Literal["raise"],
        timeout: float = ...,
        purpose: str = ...,
    ) -> D: ...
    @overload
    def update(
        self,
        location: DocumentLocation,
        change: Callable[[D | None], D],
        *,
        on_corrupt: OnCorrupt = ...,
        missing: OnMissing = ...,
        timeout: float = ...,
        purpose: str = ...,
    ) -> D: ...
    @hides_location
    def update(
        self,
        location: DocumentLocation,
        change: Callable[[Any], D],
        *,
        on_corrupt: OnCorrupt = "replace",
        missing: OnMissing = "none",
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
    ) -> D:
        """Reads, changes and writes a document under its lock; fields that this program does not know stay.

        Args:
            location: Where it is.
            change: Gets the stored document, which it may change if it is mutable, or None where there is none or a
                corrupt one, and returns the new one.
            on_corrupt: ``replace`` keeps a corrupt document as ``<name>.corrupt-<UTC timestamp>`` beside it, and goes
                on as if there were none; ``raise`` leaves it as it is, so that None means that there is none.
            missing: ``none`` calls ``change`` with None where there is no document; ``raise`` raises, so that None
                means that it is corrupt.
            timeout: Seconds to wait for the lock.
            purpose: What for, shown to others who wait.

        Returns:
            The document as written.

        Raises:
            DocumentNotFound: There is none, and ``missing`` is ``raise``.
            DocumentInvalid: It is corrupt and ``on_corrupt`` is ``raise``, or a newer program wrote it; it is left as
                it is.
            MigrationFailed: A migration raised; the document is left as it is.
            SchemaMajorMismatchError: The stored document has another major version; it is left as it is.
            StoreError: As `encode` and `Store.update` do.
        """
        rewriting = Rewriting(self._format, change, as_document(location), on_corrupt, missing)
        try:
            rewriting.path.update(rewriting, timeout=timeout, purpose=purpose)
        finally:
            rewriting.repair.warn()
        return self.decode(rewriting.written)

    @overload
    async def aupdate(
        self,
        location: DocumentLocation,
        change: Callable[[D], D],
        *,
        on_corrupt: Literal["raise"],
        missing: Literal["raise"],
        timeout: float = ...,
        purpose: str = ...,
    ) -> D: ...
    @overload
    async def aupdate(
        self,
        location: DocumentLocation,
        change: Callable[[D | None], D],
        *,
        on_corrupt: OnCorrupt = ...,
        missing: OnMissing = ...,
        timeout: float = ...,
        purpose: str = ...,
    ) -> D: ...
    @hides_location
    async def aupdate(
        self,
        location: DocumentLocation,
        change: Callable[[Any], D],
        *,
        on_corrupt: OnCorrupt = "replace",
        missing: OnMissing = "none",
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
    ) -> D:
        """As `update`, for asyncio and trio; ``change`` is called on a worker thread.

        Args:
            location: Where it is.
            change: As for `update`.
            on_corrupt: As for `update`.
            missing: As for `update`.
            timeout: As for `update`.
            purpose: As for `update`.
        """
        rewriting = Rewriting(self._format, change, await _opened(location), on_corrupt, missing)
        try:
            await rewriting.path.aio.update(rewriting, timeout=timeout, purpose=purpose)
        finally:
            rewriting.repair.warn()
        return self.decode(rewriting.written)


def _taken(errors: list[StoreError]) -> Iterator[tuple[str, StoreError]]:
    """What has come since the last time."""
    for error in errors:
        yield error.key or "", error
    errors.clear()


async def _opened(location: DocumentLocation) -> StorePath:
    import_whole("exlab_store.documents.coroutines")
    from exlab_store.documents.coroutines import opened_document  # anyio takes 20 ms to import

    return await opened_document(location)
