"""From a location, as document functions take it, to a document in a store; what was resolved once is remembered.

A name is remembered as long as the configuration stays: ``@lab`` would otherwise be one place for `open_store`, which
reads the file, and another for a document that was looked up before the file was changed.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from exlab_store.errors import LocationError
from exlab_store.first_imports import import_whole
from exlab_store.forked_child import in_forked_child
from exlab_store.hidden_location import hides_location, is_name, is_text
from exlab_store.location import Location, redacted
from exlab_store.mutex import under_mutex
from exlab_store.opening.stores import open_store, open_store_at
from exlab_store.secret import without_variables
from exlab_store.store_path import StorePath

__all__ = ["DocumentLocation", "as_document", "known_document"]

if TYPE_CHECKING:
    from exlab_store.store import Store

DocumentLocation: TypeAlias = "StorePath | str | os.PathLike[str]"
"""A `StorePath`, a URL, the absolute path of a local file, or ``@name/document``."""

_LIMIT = 4096


class _Memory:
    """What was resolved, and with which configuration; None for what is not in one."""

    def __init__(self, configuration: object = None) -> None:
        self.configuration = configuration
        self.documents: dict[tuple[bool, str], StorePath] = {}
        self.stores: dict[Location | str, Store] = {}


_mutex = threading.Lock()
_locations = _Memory()
_names = _Memory()


def _forget() -> None:
    # A forked child opens its own stores.
    global _mutex, _locations, _names
    _mutex = threading.Lock()
    _locations, _names = _Memory(), _Memory()


in_forked_child(_forget)


def known_document(location: DocumentLocation) -> StorePath | None:
    """The document at a location if nothing has to be opened or looked up for it, else None.

    Args:
        location: As for `as_document`.
    """
    if isinstance(location, StorePath):
        return location
    if not isinstance(location, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]  # may be untyped
        raise LocationError(f"a document's location is a StorePath, a URL or a path, not {type(location).__name__}")
    return None if is_name(location) else _locations.documents.get((is_text(location), os.fspath(location)))


def _names_today() -> _Memory:
    import_whole("exlab_store.opening.configuration")  # who gives URLs needs no configuration
    from exlab_store.opening.configuration import fingerprint

    configuration = fingerprint()

    def found_names() -> _Memory:
        global _names
        if _names.configuration != configuration:
            _names = _Memory(configuration)
        return _names

    return under_mutex(_mutex, found_names)


@without_variables
@hides_location
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
        ConfigError: ``@name`` is to be looked up and the configuration cannot be read or is wrong.
        StoreError: The store cannot be opened; see `open_store`.
    """
    known = known_document(location)
    if known is not None:
        return known
    if isinstance(location, StorePath):  # known_document has returned it; this tells the type checker
        return location
    if is_name(location):
        memory = _names_today()
        known = memory.documents.get((True, os.fspath(location)))
        if known is not None:
            return known
        folder, _, name = os.fspath(location).rpartition("/")
        path = _store_at(folder or name, name if folder else "", memory) / name
    else:
        memory = _locations
        parsed = Location.parse(location)
        path = _store_at(msgspec.structs.replace(parsed.parent, create=True), parsed.name, memory) / parsed.name

    def remember() -> None:
        if len(memory.documents) >= _LIMIT:
            memory.documents.clear()
        memory.documents[is_text(location), os.fspath(location)] = path

    under_mutex(_mutex, remember)
    return path


def _store_at(folder: Location | str, name: str, memory: _Memory) -> Store:
    if not name:
        raise LocationError(
            "the location names no document",
            location=redacted(str(folder)),
            hint="Add the document's name to the location.",
        )
    store = under_mutex(_mutex, lambda: memory.stores.get(folder))
    if store is not None:
        return store
    # Not under the mutex: one share that does not answer must not keep others from being opened.
    opened = open_store(folder, create=True) if isinstance(folder, str) else open_store_at(folder)

    def keep() -> Store:
        if len(memory.stores) >= _LIMIT:
            memory.stores.clear()  # those in use stay open: whoever holds a document of one holds the store
        return memory.stores.setdefault(folder, opened)

    store = under_mutex(_mutex, keep)
    if store is not opened:
        opened.close()  # another thread was faster
    return store
