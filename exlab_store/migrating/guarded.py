"""Writing and deleting on a condition, under a lock that is held already, whatever the backend guarantees.

`Store` takes a held lock only where the backend fences, and takes the lock itself for a condition where it needs one.
Whoever holds it already on a backend that does not fence (a network mount) compares under it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.errors import DocumentNotFound, VersionConflict
from exlab_store.expectations import ensure_expected
from exlab_store.model import ANY

if TYPE_CHECKING:
    from exlab_store.model import Expectation, Version
    from exlab_store.store import Store, StoreLock

__all__ = ["delete_under", "write_under"]


def write_under(store: Store, key: str, data: bytes, expect: Expectation, held: StoreLock | None) -> Version:
    """As `Store.atomic_write`, under a lock.

    Args:
        store: The store.
        key: The document's key.
        data: The whole document.
        expect: As for `Store.atomic_write`.
        held: The document's lock; None where the backend has none.

    Returns:
        The version as written.

    Raises:
        StoreError: As `Store.atomic_write`.
    """
    if held is not None and store.guarantees.fenced:
        return store.atomic_write(key, data, expect=expect, lock=held)
    expect = _left_to_check(store, key, expect, held)
    return store.atomic_write(key, data, expect=expect)


def delete_under(store: Store, key: str, expect: Expectation, held: StoreLock | None) -> None:
    """As `Store.delete`, under a lock.

    Args:
        store: The store.
        key: The document's key.
        expect: As for `Store.delete`.
        held: As for `write_under`.

    Raises:
        StoreError: As `Store.delete`.
    """
    if held is not None and store.guarantees.fenced:
        store.delete(key, expect=expect, lock=held)
    else:
        store.delete(key, expect=_left_to_check(store, key, expect, held))


def _left_to_check(store: Store, key: str, expect: Expectation, held: StoreLock | None) -> Expectation:
    """What the backend has to check itself; the rest is checked here, as close to the write as possible."""
    if held is None:
        return expect  # the store takes the lock, or says that it cannot
    held.ensure_held()
    if expect is ANY or store.guarantees.conditional_write == "native":
        return expect
    try:
        found: Version | None = store.read_snapshot(key).version
    except DocumentNotFound:
        found = None
    try:
        ensure_expected(expect, found)
    except VersionConflict as error:
        raise error.at(key, store.location) from None
    held.ensure_held()
    return ANY
