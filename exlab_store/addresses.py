"""What a document is called: its URL, its place among the turns of this process, and errors that say where."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from exlab_store.errors import StoreError
    from exlab_store.location import Location
    from exlab_store.store import Store

__all__ = ["address_of", "place_of", "placed", "url_of"]


def url_of(location: Location | None, key: str) -> str:
    """The URL of a document, without secrets; the key alone where the store has no location."""
    if location is None:
        return key
    return f"{location}{key}" if location.path == "/" else f"{location}/{key}"


def place_of(store: Store, key: str) -> Hashable:
    """What stands for a document among the turns of this process.

    Two stores at one location share their turns; nameless ones (a fresh memory store) share nothing.
    """
    address = store.address
    return (id(store), key) if address is None else address + key


def address_of(location: Location | None) -> str | None:
    """What the URL of each document of a store begins with; None for one that nobody else can open."""
    return url_of(location, "") if location is not None and location.shared else None


def placed(error: StoreError, key: str | None, location: Location | None) -> StoreError:
    """The error, with the document and the store filled in where it does not name them."""
    if error.key is None and isinstance(key, str):
        error.key = key
    if error.location is None and location is not None:
        error.location = str(location)
    return error
