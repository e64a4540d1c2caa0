"""Documents from coroutines: opening a store imports its backend and looks at the place, so it happens off the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.errors import LocationError
from exlab_store.location import Location
from exlab_store.off_loop import admitted, on_worker
from exlab_store.paths import StorePath
from exlab_store.resolving import as_document, known_document
from exlab_store.workers import Workers, workers_for

if TYPE_CHECKING:
    from exlab_store.resolving import DocumentLocation

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
    workers = _workers_of(location)
    await admitted()
    path = await on_worker(workers, lambda: as_document(location))
    _ = path.store.aio  # while these threads are there, the store takes them for its own
    return path


def _workers_of(location: DocumentLocation) -> Workers:
    if isinstance(location, StorePath):
        return workers_for(location.store.location)
    try:
        return workers_for(Location.parse(location).parent)
    except LocationError:  # @name, or wrong: opening will say so
        return _others
