"""From a location, as document functions take it, to a document in a store; what was resolved once is remembered."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from exlab_store.errors import LocationError
from exlab_store.location import Location, redacted
from exlab_store.opening.stores import open_store, open_store_at
from exlab_store.secret import without_variables
from exlab_store.store import StorePath

__all__ = ["DocumentLocation", "as_document", "known_document"]

if TYPE_CHECKING:
    from exlab_store.store import Store

DocumentLocation: TypeAlias = "StorePath | str | os.PathLike[str]"
"""A `StorePath`, a URL, the absolute path of a local file, or ``@name/document``."""

_LIMIT = 4096

_mutex = threading.Lock()
_documents: dict[tuple[bool, str], StorePath] = {}
_stores: dict[Location | str, Store] = {}


def _forget() -> None:
    # A forked child opens its own stores.
    global _mutex
    _mutex = threading.Lock()
    _documents.clear()
    _stores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def known_document(location: DocumentLocation) -> StorePath | None:
    """The document at a location if nothing has to be opened for it, else None.

    Args:
        location: As for `as_document`.
    """
    if isinstance(location, StorePath):
        return location
    if not isinstance(location, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]  # may be untyped
        raise LocationError(f"a document's location is a StorePath, a URL or a path, not {type(location).__name__}")
    return _documents.get((isinstance(location, str), os.fspath(location)))


@without_variables
def as_document(location: DocumentLocation) -> StorePath:
    """The document at a location.

    The store is the folder that holds the document, opened with ``create=True``: a document may be written into
    folders that do not exist yet. Stores that were opened here stay open and serve all documents of the folder.

    Args:
        location: A `StorePath`, which is returned as it is; a URL; the absolute path of a local file; or
            ``@name/document``, in a store of the site's configuration.

    Raises:
        LocationError: The location is relative or malformed, or names no document.
        InvalidKey: The document's name is not portable.
        StoreError: The store cannot be opened; see `open_store`.
    """
    known = known_document(location)
    if known is not None:
        return known
    if isinstance(location, StorePath):  # known_document has returned it; this tells the type checker
        return location
    if isinstance(location, str) and location.startswith("@"):
        folder, _, name = location.rpartition("/")
        path = _store_at(folder or location, name if folder else "") / name
    else:
        parsed = Location.parse(location)
        path = _store_at(msgspec.structs.replace(parsed.parent, create=True), parsed.name) / parsed.name
    with _mutex:
        if len(_documents) >= _LIMIT:
            _documents.clear()
        _documents[isinstance(location, str), os.fspath(location)] = path
    return path


def _store_at(folder: Location | str, name: str) -> Store:
    if not name:
        raise LocationError(
            "the location names no document",
            location=redacted(str(folder)),
            hint="Add the document's name to the location.",
        )
    with _mutex:
        store = _stores.get(folder)
    if store is not None:
        return store
    # Not under the mutex: one share that does not answer must not keep others from being opened.
    opened = open_store(folder, create=True) if isinstance(folder, str) else open_store_at(folder)
    with _mutex:
        if len(_stores) >= _LIMIT:
            _stores.clear()  # those in use stay open: whoever holds a document of one holds the store
        store = _stores.setdefault(folder, opened)
    if store is not opened:
        opened.close()  # another thread was faster
    return store
