"""The work of a client while others do the same, and its notes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from exlab_store.clients.witness import is_whole, sealed
from exlab_store.clients.work import current, rounds
from exlab_store.clients.work import write_sealed as write_in_one_thread
from exlab_store.errors import DocumentNotFound, StoreError, VersionConflict
from exlab_store.model import ABSENT, ANY

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.model import Version
    from exlab_store.store import Store

__all__ = [
    "BODY",
    "delete_seen",
    "make_sealed",
    "read_made",
    "replace_seen",
    "timed",
    "versions_of",
    "write_and_delete",
    "write_sealed",
]

BODY = 60_000
_MADE = 50  # all are deleted again, each with a flush


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
    done: list[int] = []
    faults: list[StoreError] = []

    def write(number: int) -> None:
        try:
            done.append(write_in_one_thread(store, key, f"{client} {number}", seconds, 3, BODY))
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
    return {store.atomic_write(key, data) for _ in rounds(seconds, 1)}


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
    for number in rounds(seconds, 0):
        found, expect = current(store, key)
        try:
            store.atomic_write(key, f"content {number}".encode(), expect=expect)
        except VersionConflict:
            continue
        if found is not None:
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
    for _ in rounds(seconds, 0):
        found, expect = current(store, key)
        if found is None:
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
    for _ in rounds(seconds, 3):
        store.atomic_write(key, b"1")
        store.read_snapshot(key)
        store.delete(key)
        done += 1
    return done
