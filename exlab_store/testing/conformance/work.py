"""What clients do at the same time, whether they are threads of this process or processes of their own."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import msgspec

from exlab_store.clients.witness import Hold, is_whole, sealed
from exlab_store.errors import DocumentNotFound, VersionConflict, WriteOutcomeUnknown
from exlab_store.model import ABSENT
from exlab_store.testing.history import Operation, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.model import Expectation
    from exlab_store.store import Store

__all__ = [
    "BODY",
    "Reads",
    "compare_and_swap",
    "create",
    "hold",
    "increment",
    "operate",
    "read_sealed",
    "write_sealed",
]

_HOLD = 0.001
BODY = 200_000


class Reads(msgspec.Struct, frozen=True):
    """What a reader saw.

    Attributes:
        whole: How many documents were as somebody wrote them.
        torn: How many were not.
    """

    whole: int
    torn: int


def hold(store: Store, key: str, client: str, times: int) -> list[Hold]:
    """Takes a lock again and again and writes down when it was held.

    Args:
        store: The client's store.
        key: The document.
        client: The client's name.
        times: How often.
    """
    held: list[Hold] = []
    for _ in range(times):
        with store.lock(key, timeout=20.0):
            began = time.monotonic_ns()
            time.sleep(_HOLD)  # room for another to get in, if the lock lets it
            held.append(Hold(began, time.monotonic_ns(), client))
    return held


def write_sealed(store: Store, key: str, client: str, times: int) -> int:
    """Writes documents one after the other, without a lock.

    Args:
        store: The client's store.
        key: The document.
        client: The client's name.
        times: The number of repetitions.

    Returns:
        How many were acknowledged.
    """
    for number in range(times):
        store.atomic_write(key, sealed(client, number, BODY))
    return times


def read_sealed(store: Store, key: str, stop: Callable[[], bool]) -> Reads:
    """Reads until it is told to stop, and at least once.

    Args:
        store: The client's store.
        key: The document, which exists.
        stop: Asked after each read.
    """
    whole = torn = 0
    while True:
        if is_whole(store.read_snapshot(key).data):
            whole += 1
        else:
            torn += 1
        if stop():
            return Reads(whole, torn)


def increment(store: Store, key: str, times: int) -> None:
    """Counts up with locked updates.

    Args:
        store: The client's store.
        key: The document, a number in decimal digits; may be absent for 0.
        times: By how much.
    """
    for _ in range(times):
        store.update(key, lambda current: str(int(current or b"0") + 1).encode())


def compare_and_swap(store: Store, key: str, times: int) -> None:
    """Counts up with compare-and-swap.

    Args:
        store: The client's store.
        key: The document, a number in decimal digits; may be absent for 0.
        times: By how much.
    """
    done = 0
    while done < times:
        value, expect = _current(store, key)
        try:
            store.atomic_write(key, str(int(value or "0") + 1).encode(), expect=expect)
        except VersionConflict:
            continue
        done += 1


def create(store: Store, key: str, client: str) -> bool:
    """Writes a document that must not exist yet.

    Args:
        store: The client's store.
        key: The document.
        client: Who; it is what is written.

    Returns:
        Whether this client made it.
    """
    try:
        store.atomic_write(key, client.encode(), expect=ABSENT)
    except VersionConflict:
        return False
    return True


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


def _current(store: Store, key: str) -> tuple[str | None, Expectation]:
    try:
        snapshot = store.read_snapshot(key)
    except DocumentNotFound:
        return None, ABSENT
    return snapshot.data.decode(), snapshot.version


def _read(store: Store, key: str, client: str, recorder: Recorder) -> tuple[str | None, Expectation]:
    with recorder.operation(client, "read") as entry:
        entry.found, version = _current(store, key)
    return entry.found, version


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
