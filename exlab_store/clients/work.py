"""The work of several clients on one store at the same time, as threads or as processes, and its results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from exlab_store.clients.witness import Hold, is_whole, sealed
from exlab_store.errors import DocumentExists, DocumentNotFound, StoreError, VersionConflict
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT
from exlab_store.model import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store.model import Expectation
    from exlab_store.store import Store

__all__ = [
    "Reads",
    "count_up",
    "create",
    "current",
    "hold",
    "number",
    "read_sealed",
    "rounds",
    "swap_up",
    "write_sealed",
]

_HOLD = 0.001


class Reads(msgspec.Struct, frozen=True):
    """What a reader saw.

    Attributes:
        whole: How many documents were as somebody wrote them.
        torn: How many were not.
        missing: How often there was none, though one is replaced all the time.
        longest: Milliseconds that the slowest took.
    """

    whole: int
    torn: int
    missing: int
    longest: float


def rounds(seconds: float, times: int) -> Iterator[int]:
    """Numbers from 0: so many in any case, and more of them as long as there is time.

    Args:
        seconds: How long, from the first on; 0 for just so many.
        times: The number of repetitions.
    """
    end = time.monotonic() + seconds
    number = 0
    while number < times or time.monotonic() < end:
        yield number
        number += 1


def number(data: bytes) -> int:
    """What a counter stands at.

    Args:
        data: The document.

    Raises:
        StoreError: It is no number, so nobody has written it like that.
    """
    if not data.isdigit():
        raise StoreError(
            f"a counter was read as {len(data)} bytes that nobody has written",
            hint="Do not let programs use this place.",
        )
    return int(data)


def current(store: Store, key: str) -> tuple[bytes | None, Expectation]:
    """A document, or None where there is none, and the expectation that it stays like that.

    Args:
        store: The client's store.
        key: The document.
    """
    try:
        snapshot = store.read_snapshot(key)
    except DocumentNotFound:
        return None, ABSENT
    return snapshot.data, snapshot.version


def create(store: Store, key: str, data: bytes) -> bool:
    """Writes a document that must not exist.

    Args:
        store: The client's store.
        key: The document.
        data: What is written.

    Returns:
        Whether this client made it; False if it existed.
    """
    try:
        store.atomic_write(key, data, expect=ABSENT)
    except DocumentExists:
        return False
    return True


def hold(
    store: Store,
    key: str,
    client: str,
    seconds: float,
    times: int,
    timeout: float = DEFAULT_LOCK_TIMEOUT,
    purpose: str = "",
) -> list[Hold]:
    """Takes a lock again and again and writes down when it was held.

    Args:
        store: The client's store.
        key: The document.
        client: The client's name.
        seconds: For how long.
        times: How often at least.
        timeout: Seconds to wait for the lock.
        purpose: That of the lock.
    """
    held: list[Hold] = []
    for _ in rounds(seconds, times):
        with store.lock(key, timeout=timeout, purpose=purpose):
            began = time.monotonic_ns()
            time.sleep(_HOLD)  # room for another to get in, if the lock lets it
            held.append(Hold(began, time.monotonic_ns(), client))
    return held


def write_sealed(store: Store, key: str, client: str, seconds: float, times: int, size: int) -> int:
    """Writes documents one after the other, without a lock.

    Args:
        store: The client's store.
        key: The document.
        client: The client's name.
        seconds: For how long.
        times: How many at least.
        size: As for `sealed`.

    Returns:
        How many were acknowledged.
    """
    done = 0
    for number in rounds(seconds, times):
        store.atomic_write(key, sealed(client, number, size))
        done += 1
    return done


def read_sealed(store: Store, key: str, stopped: Callable[[], bool], times: int = 1) -> Reads:
    """Reads until it is told to stop.

    Args:
        store: The client's store.
        key: The document, which exists.
        stopped: Asked after each read.
        times: How many whole documents to read at least, as long as each is whole.
    """
    whole = torn = missing = 0
    longest = 0.0
    while True:
        before = whole
        began = time.perf_counter()
        try:
            data = store.read_snapshot(key).data
        except DocumentNotFound:
            missing += 1
        else:
            longest = max(longest, (time.perf_counter() - began) * 1000)
            whole, torn = (whole + 1, torn) if is_whole(data) else (whole, torn + 1)
        if stopped() and (whole >= times or whole == before):
            return Reads(whole, torn, missing, longest)


def count_up(store: Store, key: str, seconds: float, times: int, timeout: float = DEFAULT_LOCK_TIMEOUT) -> int:
    """Counts up with locked updates.

    Args:
        store: The client's store.
        key: The document, a number in decimal digits; may be absent for 0.
        seconds: For how long.
        times: How often at least.
        timeout: Seconds to wait for the lock.

    Returns:
        How many updates were acknowledged.
    """
    done = 0
    for _ in rounds(seconds, times):
        store.update(key, lambda data: str(number(b"0" if data is None else data) + 1).encode(), timeout=timeout)
        done += 1
    return done


def swap_up(store: Store, key: str, seconds: float, times: int, patience: float) -> tuple[int, int]:
    """Counts up with compare-and-swap.

    Args:
        store: The client's store.
        key: The document, a number in decimal digits; may be absent for 0.
        seconds: For how long.
        times: How many writes are to be acknowledged at least.
        patience: How many seconds more it may try until they are.

    Returns:
        How many writes were acknowledged, and how many refused.
    """
    done = refused = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or (done < times and time.monotonic() < end + patience):
        data, expect = current(store, key)
        try:
            store.atomic_write(key, str(number(b"0" if data is None else data) + 1).encode(), expect=expect)
        except VersionConflict:
            refused += 1
        else:
            done += 1
    return done, refused
