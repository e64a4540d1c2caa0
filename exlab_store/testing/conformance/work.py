"""The work of the clients of a history: they read, change a document in several ways, and note the outcomes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from exlab_store.clients.work import current
from exlab_store.errors import VersionConflict, WriteOutcomeUnknown
from exlab_store.testing.history import Operation, Recorder

if TYPE_CHECKING:
    from exlab_store.model import Expectation
    from exlab_store.store import Store

__all__ = ["BODY", "operate"]

BODY = 200_000


def operate(store: Store, key: str, client: str, times: int, *, swaps: bool, updates: bool) -> list[Operation]:
    """Reads, and changes the document in turn in each way that is wanted; writes down what came of it.

    Args:
        store: The client's store.
        key: The document.
        client: Who; the values that it writes are its own.
        times: How many changes.
        swaps: Change with compare-and-swap.
        updates: Change with updates under the lock.
    """
    recorder = Recorder()
    ways = [way for way, wanted in ((_swap, swaps), (_update, updates)) if wanted] or [_read_only]
    for number, way in zip(range(times), itertools.cycle(ways), strict=False):
        way(store, key, client, f"{client} {number}", recorder)
    return recorder.operations


def _read(store: Store, key: str, client: str, recorder: Recorder) -> tuple[str | None, Expectation]:
    with recorder.operation(client, "read") as entry:
        data, expect = current(store, key)
        entry.found = None if data is None else data.decode()
    return entry.found, expect


def _read_only(store: Store, key: str, client: str, new: str, recorder: Recorder) -> None:
    del new
    _read(store, key, client, recorder)


def _swap(store: Store, key: str, client: str, new: str, recorder: Recorder) -> None:
    found, version = _read(store, key, client, recorder)
    with recorder.operation(client, "cas", expected=found, new=new) as entry:
        try:
            store.atomic_write(key, new.encode(), expect=version)
        except VersionConflict:
            entry.succeeded = False
        except WriteOutcomeUnknown:
            entry.known = False


def _update(store: Store, key: str, client: str, new: str, recorder: Recorder) -> None:
    _read(store, key, client, recorder)
    with recorder.operation(client, "cas", new=new) as entry:

        def change(current: bytes | None) -> bytes:
            entry.expected = None if current is None else current.decode()
            return new.encode()

        try:
            store.update(key, change)
        except WriteOutcomeUnknown:
            entry.known = False
