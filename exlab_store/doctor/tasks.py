"""What a client does with its store while others do the same, and what it writes down."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec

from exlab_store.clients.witness import Hold, is_whole, sealed
from exlab_store.errors import DocumentNotFound, StoreError, VersionConflict
from exlab_store.model import ABSENT, ANY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.model import Expectation, Version
    from exlab_store.store import Store

__all__ = [
    "BODY",
    "Reads",
    "count_up",
    "delete_seen",
    "hold",
    "make_sealed",
    "number",
    "read_made",
    "read_sealed",
    "replace_seen",
    "swap_up",
    "timed",
    "versions_of",
    "write_and_delete",
    "write_sealed",
]

_HOLD = 0.001
BODY = 60_000
_WAIT = 10.0
_MADE = 50  # all are deleted again, each with a flush


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


def timed(call: Callable[[], object], seconds: float, at_most: int) -> tuple[float, ...]:
    """Does something again and again, five times at least.

    Args:
        call: The call to make.
        seconds: For how long.
        at_most: How often.

    Returns:
        How long each took, in milliseconds.
    """
    taken: list[float] = []
    end = time.monotonic() + seconds
    while len(taken) < at_most and (len(taken) < 5 or time.monotonic() < end):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return tuple(taken)


def hold(store: Store, key: str, client: str, seconds: float) -> list[Hold]:
    """Takes a lock again and again and writes down when it was held.

    Args:
        store: The client's store.
        key: The document.
        client: The client's name.
        seconds: For how long.
    """
    held: list[Hold] = []
    end = time.monotonic() + seconds
    while len(held) < 3 or time.monotonic() < end:
        with store.lock(key, timeout=_WAIT, purpose="doctor"):
            began = time.monotonic_ns()
            time.sleep(_HOLD)  # room for another to get in, if the lock lets it
            held.append(Hold(began, time.monotonic_ns(), client))
    return held


def write_sealed(store: Store, key: str, client: str, seconds: float, threads: int) -> int:
    """Writes documents one after the other, without a lock.

    Args:
        store: The client's store.
        key: The document.
        client: The client's name.
        seconds: For how long.
        threads: How many threads do that at the same time.

    Returns:
        How many were acknowledged.

    Raises:
        StoreError: What the first writer that failed has met.
    """
    end = time.monotonic() + seconds
    done = [0] * threads
    faults: list[StoreError] = []

    def write(number: int) -> None:
        try:
            while not faults and (done[number] < 3 or time.monotonic() < end):
                store.atomic_write(key, sealed(f"{client} {number}", done[number], BODY))
                done[number] += 1
        except StoreError as error:
            faults.append(error)

    # All have one name: what tells writers apart must not be the thread's.
    writers = [threading.Thread(target=write, args=(number,), name="writer") for number in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    if faults:
        raise faults[0]
    return sum(done)


def read_sealed(store: Store, key: str, seconds: float) -> Reads:
    """Reads a document that exists, again and again.

    Args:
        store: The client's store.
        key: The document.
        seconds: For how long.
    """
    whole = torn = missing = 0
    longest = 0.0
    end = time.monotonic() + seconds
    while whole < 3 or time.monotonic() < end:
        began = time.perf_counter()
        try:
            data = store.read_snapshot(key).data
        except DocumentNotFound:
            missing += 1
            if time.monotonic() > end:
                break
            continue
        longest = max(longest, (time.perf_counter() - began) * 1000)
        if is_whole(data):
            whole += 1
        else:
            torn += 1
            if time.monotonic() > end:
                break
    return Reads(whole, torn, missing, longest)


def count_up(store: Store, key: str, seconds: float) -> int:
    """Counts up with locked updates.

    Args:
        store: The client's store.
        key: The document, a number in decimal digits; may be absent for 0.
        seconds: For how long.

    Returns:
        How many updates were acknowledged.
    """
    done = 0
    end = time.monotonic() + seconds
    while done < 3 or time.monotonic() < end:
        store.update(key, lambda current: str(number(b"0" if current is None else current) + 1).encode(), timeout=_WAIT)
        done += 1
    return done


def swap_up(store: Store, key: str, seconds: float) -> tuple[int, int]:
    """Counts up with compare-and-swap.

    Args:
        store: The client's store.
        key: The document, a number in decimal digits; may be absent for 0.
        seconds: For how long.

    Returns:
        How many writes were acknowledged, and how many refused.
    """
    done = refused = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or (not done and time.monotonic() < end + _WAIT / 2):
        value, expect = _current(store, key)
        try:
            store.atomic_write(key, str(number(value) + 1).encode(), expect=expect)
        except VersionConflict:
            refused += 1
        else:
            done += 1
    return done, refused


def _current(store: Store, key: str) -> tuple[bytes, Expectation]:
    try:
        snapshot = store.read_snapshot(key)
    except DocumentNotFound:
        return b"0", ABSENT
    return snapshot.data, snapshot.version


def make_sealed(store: Store, folder: str, seconds: float, conditional: bool) -> int:
    """Makes new documents one after the other.

    Args:
        store: The client's store.
        folder: The folder's key.
        seconds: For how long.
        conditional: Make them with ``expect=ABSENT``.

    Returns:
        How many.
    """
    made = 0
    end = time.monotonic() + seconds
    while made < 5 or (made < _MADE and time.monotonic() < end):
        data = sealed("maker", made, BODY)
        store.atomic_write(f"{folder}/{made}.json", data, expect=ABSENT if conditional else ANY)
        made += 1
    return made


def read_made(store: Store, folder: str, seconds: float) -> tuple[int, int]:
    """Reads new documents as soon as they are there.

    Args:
        store: The client's store.
        folder: Where `make_sealed` makes them.
        seconds: For how long.

    Returns:
        How many were whole, and how many were not.
    """
    whole = torn = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            data = store.read_snapshot(f"{folder}/{whole + torn}.json").data
        except DocumentNotFound:
            continue
        if is_whole(data):
            whole += 1
        else:
            torn += 1
    return whole, torn


def versions_of(store: Store, key: str, data: bytes, seconds: float) -> set[Version]:
    """Writes one content again and again.

    Args:
        store: The client's store.
        key: The document.
        data: The content.
        seconds: For how long.

    Returns:
        The versions that the writes gave back.
    """
    versions: set[Version] = set()
    end = time.monotonic() + seconds
    while not versions or time.monotonic() < end:
        versions.add(store.atomic_write(key, data))
    return versions


def replace_seen(store: Store, key: str, seconds: float) -> set[bytes]:
    """Makes a document, and replaces it as long as it is what was read.

    Args:
        store: The client's store.
        key: The document.
        seconds: For how long.

    Returns:
        The contents that were replaced; each is written once.
    """
    replaced: set[bytes] = set()
    written = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, expect = _current(store, key)
        written += 1
        try:
            store.atomic_write(key, f"content {written}".encode(), expect=expect)
        except VersionConflict:
            continue
        if expect is not ABSENT:
            replaced.add(found)
    return replaced


def delete_seen(store: Store, key: str, seconds: float) -> set[bytes]:
    """Deletes a document as long as it is what was read.

    Args:
        store: The client's store.
        key: The document.
        seconds: For how long.

    Returns:
        The contents that were deleted.
    """
    deleted: set[bytes] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, expect = _current(store, key)
        if expect is ABSENT:
            continue
        try:
            store.delete(key, expect=expect)
        except (VersionConflict, DocumentNotFound):
            continue
        deleted.add(found)
    return deleted


def write_and_delete(store: Store, key: str, seconds: float) -> int:
    """Writes a document, reads it and deletes it, again and again.

    Args:
        store: The client's store.
        key: The document, which nobody else uses.
        seconds: For how long.

    Returns:
        How often.
    """
    done = 0
    end = time.monotonic() + seconds
    while done < 3 or time.monotonic() < end:
        store.atomic_write(key, b"1")
        store.read_snapshot(key)
        store.delete(key)
        done += 1
    return done
