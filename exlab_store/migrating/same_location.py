"""Source and target must be two locations: whoever copies a document onto itself and deletes "the other" loses it."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from exlab_store.errors import DocumentNotFound, LocationError, StoreError
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from exlab_store.location import Location
    from exlab_store.store import Store

__all__ = ["is_mark", "mark", "name_of", "refuse_if_inside", "refuse_if_marked", "refuse_same_location"]

_MARK = ".exlab-store-migration-"


def name_of(store: Store) -> str:
    """What to call a store.

    Args:
        store: The store.

    Returns:
        Its location, without secrets; ``(a backend)`` for one that was opened with a backend object.
    """
    return "(a backend)" if store.location is None else str(store.location)


def refuse_same_location(source: Store, target: Store) -> None:
    """Refuses two stores whose locations say that they are one, or one inside the other.

    Args:
        source: The store that documents come from.
        target: The store that documents go to.

    Raises:
        LocationError: They are.
    """
    if source is target:
        raise _refusal("the source and the target are the same place", target)
    first, second = source.location, target.location
    if first is None or second is None or not (first.shared and second.shared) or _server(first) != _server(second):
        return
    path, other = _path(first), _path(second)
    if path == other:
        raise _refusal("the source and the target are the same place", target)
    if other.startswith(path + "/"):
        raise _refusal("the target is inside the source", target)
    if path.startswith(other + "/"):
        raise _refusal("the source is inside the target", target)


def _refusal(what: str, target: Store) -> LocationError:
    hint = "Give two places that have nothing in common; nothing was copied."
    return LocationError(what, location=name_of(target), hint=hint)


def _server(location: Location) -> tuple[str, str, int | None]:
    return location.scheme, location.host.lower(), location.port


def _path(location: Location) -> str:
    # Through links, as far as this machine can see them; a server's it cannot.
    if location.scheme != "file":
        return location.path.rstrip("/")
    try:
        real = os.path.realpath(location.local_path, strict=True)
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        real = os.path.realpath(location.local_path)  # a part of it is missing
    return os.path.normcase(real).replace(os.sep, "/").rstrip("/")


@contextmanager
def mark(store: Store) -> Generator[str | None]:
    """Keeps a document in a store for a moment; who finds it in another has found this one there.

    Locations do not tell that a mount and a share are one directory. This does.

    Args:
        store: The store that gets the mark.

    Yields:
        Its key; None where the target deletes nothing, so that it would stay.

    Raises:
        StoreError: It cannot be written; nor could the documents be.
    """
    if not store.guarantees.deletes:
        yield None
        return
    key = f"{_MARK}{secrets.token_hex(8)}"
    try:
        store.atomic_write(key, b"")
        yield key
    finally:
        with suppress(StoreError):
            store.delete(key)


def is_mark(key: str) -> bool:
    """Whether a key is a mark's: of another migration, or of one that was killed at that very moment.

    Args:
        key: As it was listed.
    """
    return key.rpartition("/")[2].startswith(_MARK)


def refuse_if_marked(source: Store, target: Store, key: str | None, listed: Iterable[str]) -> None:
    """Refuses a source in which the target's mark is found.

    Args:
        source: Where it is looked for.
        target: Where it is.
        key: The mark's key, or None.
        listed: All that the source lists.

    Raises:
        LocationError: The mark is there.
    """
    if key is None:
        return
    if any(found.endswith(f"/{key}") for found in listed):
        raise _refusal("the target is inside the source", target)
    with suppress(DocumentNotFound):
        source.read_snapshot(key)
        raise _refusal("the source and the target are the same place", target)


def refuse_if_inside(target: Store, key: str | None, listed: Iterable[str]) -> None:
    """Refuses a target in which the source's mark is found.

    Args:
        target: Where it is looked for.
        key: The mark's key, or None.
        listed: All that the target lists.

    Raises:
        LocationError: The mark is there.
    """
    if key is not None and any(found.endswith(f"/{key}") for found in listed):
        raise _refusal("the source is inside the target", target)
