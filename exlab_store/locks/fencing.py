"""The lock that a caller gives to a write: it must be the document's own, and the backend must be able to fence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.errors import LockLost, NotSupported
from exlab_store.locks.held import StoreLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.retrying import RetryingHooks
    from exlab_store.location import Location
    from exlab_store.model import Expectation, HeldLock, Version

__all__ = ["fence_of", "lock_of", "writer_under"]


def lock_of(lock: HeldLock, store: object, key: str, location: Location | None) -> StoreLock:
    """The lock that was given, as a lock of this document of this store.

    Args:
        lock: The lock.
        store: The store that is to have made it.
        key: The document's key.
        location: Of the store.

    Raises:
        LockLost: It is another store's, or another document's.
    """
    if isinstance(lock, StoreLock) and lock.guards(store, key):
        return lock
    raise LockLost("the lock that was given is not this document's").at(key, location)


def fence_of(
    lock: HeldLock | None, store: object, key: str, guarantees: Guarantees, location: Location | None
) -> HeldLock | None:
    """The backend's own lock, for a write that is refused once the lock is lost; None for no lock.

    Args:
        lock: The lock that was given, or None.
        store: The store that is to have made it.
        key: The document's key.
        guarantees: Of the backend.
        location: Of the store.

    Raises:
        NotSupported: The backend does not claim ``fenced``.
        LockLost: The lock is not held any more, or is not this document's.
    """
    if lock is None:
        return None
    if not guarantees.fenced:
        raise NotSupported(
            "the backend cannot refuse a write whose lock was lost (fenced)",
            hint="Write while the lock is held, without lock=, or use update, which does that.",
        )
    held = lock_of(lock, store, key, location)
    held.ensure_held()
    return held.inner


def writer_under(
    held: StoreLock, calls: RetryingHooks, *, fenced: bool
) -> Callable[[str, bytes, Expectation, HeldLock], Version]:
    """The function that writes a document under a lock of the caller, for an `Update`.

    Args:
        held: The lock.
        calls: The backend's hooks.
        fenced: The backend refuses a write whose lock was lost. Otherwise the lock is looked at right before.
    """

    def write(key: str, data: bytes, expect: Expectation, _: HeldLock) -> Version:
        if not fenced:
            held.ensure_held()
            return calls.atomic_write(key, data, expect, None)
        return calls.atomic_write(key, data, expect, held.inner)  # the backend looks, as late as possible

    return write
