"""The beginning of a watch: from what a caller asks for to a stream of changes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from exlab_store.errors import NotSupported
from exlab_store.key_pattern import KeyPattern
from exlab_store.keys import check_key
from exlab_store.locks.held import check_timeout
from exlab_store.watching.known import KnownDocuments
from exlab_store.watching.pace import DEFAULT_INTERVAL, Pace, check_interval
from exlab_store.watching.stream import ChangeStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from exlab_store.errors import StoreError
    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.retrying import RetryingHooks
    from exlab_store.location import Location
    from exlab_store.model import Snapshot, Version

__all__ = ["WatchedStore", "begin_watch"]


class _ListKeys(Protocol):
    def __call__(self, prefix: str = ..., *, pattern: str | None = ...) -> Iterable[str]: ...


class WatchedStore(NamedTuple):
    """The part of a store that a watch uses.

    Attributes:
        guarantees: What it promises.
        location: Where it is, or None.
        hooks: Its hooks.
        read: As `Store.read_snapshot`.
        list_keys: As `Store.list_keys`.
        is_closed: Whether it was closed.
    """

    guarantees: Guarantees
    location: Location | None
    hooks: RetryingHooks
    read: Callable[[str], Snapshot]
    list_keys: _ListKeys
    is_closed: Callable[[], bool]


def begin_watch(
    store: WatchedStore,
    prefix: str,
    *,
    pattern: str | None,
    since: Mapping[str, Version | None] | None,
    timeout: float | None,
    cancelled: Callable[[], bool] | None,
    interval: float | None,
    onerror: Callable[[StoreError], object] | None,
) -> ChangeStream:
    """Begins a watch; see `Store.watch`.

    Args:
        store: What is watched.
        prefix: See `Store.watch`, as for the others.
        pattern: Which keys.
        since: What the caller knows.
        timeout: Seconds until it ends.
        cancelled: Ends it.
        interval: Seconds between two looks.
        onerror: Told of an outage.

    Raises:
        StoreError: As `Store.watch` does.
    """
    if timeout is not None:
        check_timeout(timeout)
    if interval is None:
        interval = store.location.watch_interval if store.location is not None else None
    pace = Pace(check_interval(DEFAULT_INTERVAL if interval is None else interval))

    def explained(error: StoreError) -> StoreError:
        return error.at(prefix or None, store.location)

    if prefix:
        check_key(prefix)
    if store.guarantees.watch == "none":
        raise NotSupported("the backend does not list its keys, so that nothing tells of changes")
    hooks = store.hooks
    fits = KeyPattern(pattern).fits if pattern is not None else None
    known = KnownDocuments(
        prefix, fits, store.read, store.list_keys, partial(store.list_keys, prefix, pattern=pattern), since or {}
    )
    return ChangeStream(
        known,
        (lambda: hooks.watch_changes(prefix)) if store.guarantees.watch == "pushed" else None,
        pace,
        timeout=timeout,
        cancelled=cancelled,
        store_is_closed=store.is_closed,
        onerror=onerror,
        explained=explained,
        from_now=since is None,
    )
