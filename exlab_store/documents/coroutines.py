"""Documents from coroutines: opening a store imports a backend and asks the storage, so it runs on a worker thread."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import RunVar

from exlab_store.aio.calls import admitted, on_worker
from exlab_store.errors import LocationError
from exlab_store.location import Location
from exlab_store.opening.locations import as_document, known_document
from exlab_store.store_path import StorePath
from exlab_store.threads import Workers, workers_for

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from exlab_store.opening.locations import DocumentLocation

__all__ = ["opened_document"]

# For locations that say only in the site's configuration where they are.
_others = Workers()


async def opened_document(location: DocumentLocation) -> StorePath:
    """As `as_document`, on a thread of the share where the document is.

    Args:
        location: As for `as_document`; errors too.
    """
    known = known_document(location)
    if known is not None:
        return known
    folder = _folder_of(location)
    workers = _others if folder is None else workers_for(folder)
    await admitted()
    async with _turn_to_open(workers, folder):
        path = known_document(location)
        if path is None:  # and not opened by another task meanwhile
            path = await on_worker(workers, lambda: as_document(location))
    _ = path.store.aio  # while these threads are there, the store takes them for its own
    return path


def _folder_of(location: DocumentLocation) -> Location | None:
    if isinstance(location, StorePath):
        return location.store.location
    try:
        return Location.parse(location).parent
    except LocationError:  # @name, or wrong: opening will say so
        return None


_openings: RunVar[WeakKeyDictionary[Workers, anyio.Lock]] = RunVar("exlab_store_openings")


def _turn_to_open(workers: Workers, folder: Location | None) -> AbstractAsyncContextManager[object]:
    """Has the folders of this machine opened one at a time by the tasks of an event loop.

    That is a millisecond of Python each, and the loop would have to wait for all threads that do it at once. Of a
    server, most of the time is spent on waiting for it.
    """
    if folder is None or folder.host:
        return nullcontext()
    try:
        locks = _openings.get()
    except LookupError:
        locks = WeakKeyDictionary[Workers, anyio.Lock]()
        _openings.set(locks)
    return locks.setdefault(workers, anyio.Lock())
