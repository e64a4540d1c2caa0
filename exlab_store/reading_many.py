"""Reading many documents, several at a time where one alone would wait for the storage."""

from __future__ import annotations

import time
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from exlab_store.errors import BackendUnavailable, DocumentNotFound, StoreError
from exlab_store.first_imports import import_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from queue import SimpleQueue

    from exlab_store.model import Snapshot

__all__ = ["DEFAULT_CONCURRENCY", "QUICK", "ReadOutcome", "check_concurrency", "outcome_of", "read_each"]

# 1,000 documents over SMB at 10 ms take 76 round trips' time with 16 threads, 48 with 32 and 32 with 64; more threads
# are in each other's way.
DEFAULT_CONCURRENCY = 64

# Seconds. A read that takes no longer keeps the processor busy most of the time, on an SMB server nearby as well, and
# several at once would only be in each other's way.
QUICK = 0.002


class ReadOutcome(NamedTuple):
    """What has become of a read.

    Attributes:
        key: The document's key.
        snapshot: What was read; None for a missing document, or where there is an error.
        error: Why it could not be read.
    """

    key: str
    snapshot: Snapshot | None
    error: StoreError | None

    def reported(self, onerror: Callable[[StoreError], object] | None) -> bool:
        """Whether there is something to yield; an error goes to ``onerror`` instead, or is raised."""
        if self.error is None:
            return True
        if onerror is None:
            raise self.error
        onerror(self.error)
        return False


def check_concurrency(concurrency: int) -> None:
    """Refuses to read fewer than one document at a time."""
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")


def outcome_of(read: Callable[[str], Snapshot], key: str) -> ReadOutcome:
    """Reads one document.

    Args:
        read: As `Store.read_snapshot`.
        key: The document's key.
    """
    try:
        return ReadOutcome(key, read(key), None)
    except DocumentNotFound:
        return ReadOutcome(key, None, None)
    except StoreError as error:
        return ReadOutcome(key, None, error)


def read_each(
    read: Callable[[str], Snapshot],
    keys: Iterable[str],
    concurrency: int,
    onerror: Callable[[StoreError], object] | None,
) -> Iterator[tuple[str, Snapshot | None]]:
    """Reads in this thread while that is quick, and then in several.

    Args:
        read: As `Store.read_snapshot`.
        keys: The documents' keys; as many are taken as are read.
        concurrency: How many are read at a time.
        onerror: See `Store.read_many`.
    """
    for outcome in _outcomes(read, iter(keys), concurrency):
        if outcome.reported(onerror):
            yield outcome.key, outcome.snapshot


def _outcomes(read: Callable[[str], Snapshot], keys: Iterator[str], concurrency: int) -> Iterator[ReadOutcome]:
    for key in keys:
        began = time.perf_counter()
        outcome = outcome_of(read, key)
        quick = time.perf_counter() - began < QUICK
        yield outcome
        if not quick and concurrency > 1:
            break
    yield from _in_threads(read, keys, concurrency)


def _in_threads(read: Callable[[str], Snapshot], keys: Iterator[str], concurrency: int) -> Iterator[ReadOutcome]:
    import_whole("concurrent.futures.thread", "queue", "exlab_store.threads")  # 20 ms to import
    try:
        from concurrent.futures import Future, ThreadPoolExecutor
    except RuntimeError:  # the interpreter shuts down, and starts no threads any more
        for key in keys:
            yield outcome_of(read, key)
        return
    from queue import SimpleQueue

    from exlab_store.threads import submitted

    ended: SimpleQueue[Future[ReadOutcome]] = SimpleQueue()
    # Threads of their own: those of a pool that others use might all be waiting for reads like these. Leaving the
    # block, for whatever reason, waits for the reads that are under way.
    with ThreadPoolExecutor(concurrency, thread_name_prefix="exlab-store-read") as executor:

        def begin(some: Iterable[str]) -> int:
            begun = 0
            for key in some:
                call = _in_this_context(read, key)
                try:
                    future = submitted(executor, call)
                except BackendUnavailable:  # there is no thread for it
                    future = Future[ReadOutcome]()
                    future.set_result(call())
                future.add_done_callback(ended.put)
                begun += 1
            return begun

        under_way = begin(islice(keys, concurrency))
        while under_way:
            outcome = ended.get().result()
            under_way += begin(islice(keys, 1)) - 1
            yield outcome


def _in_this_context(read: Callable[[str], Snapshot], key: str) -> Callable[[], ReadOutcome]:
    context = copy_context()
    return lambda: context.run(outcome_of, read, key)
