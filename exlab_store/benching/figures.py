"""The figures of a measurement: medians, 99th percentiles, operations a second, and the fairness of a lock."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bench", "Contention", "Crowd", "Operation", "Timing", "crowd_of", "shown", "timing_of"]


class Timing(msgspec.Struct, frozen=True):
    """How long one operation took.

    Attributes:
        count: How often it was measured.
        median: The median in seconds.
        p99: Seconds that 99 of 100 samples did not exceed.
        per_second: How many one after the other are done in a second, on average.
    """

    count: int
    median: float
    p99: float
    per_second: float


class Operation(msgspec.Struct, frozen=True):
    """One operation, by the store and by hand (`exlab_store.benching.bare`), in turns.

    Attributes:
        name: ``write``, ``read``, ``lock`` or ``update``.
        size: Bytes of the document; 0 for a lock.
        store: What the store took.
        bare: What it took by hand, or None where that is not possible.
    """

    name: str
    size: int
    store: Timing
    bare: Timing | None

    @property
    def ratio(self) -> float | None:
        """How many times as long as by hand it took by the store, by the medians: 1 is as fast, less is better."""
        return None if self.bare is None else self.store.median / self.bare.median


class Crowd(msgspec.Struct, frozen=True):
    """Several that want one lock, over and over.

    Attributes:
        per_second: How many times a second the lock was taken, by all of them.
        median: Seconds of waiting.
        p99: Seconds of waiting that 99 of 100 did not exceed.
        longest: Seconds of the longest wait.
        fairness: Jain's index of how often each got the lock: 1 for all alike, 1/n for one alone.
    """

    per_second: float
    median: float
    p99: float
    longest: float
    fairness: float


class Contention(msgspec.Struct, frozen=True):
    """A lock that several want.

    Attributes:
        number: The number of contenders.
        of: ``process`` or ``thread``.
        store: With the store's lock.
        bare: With a blocking flock, or None where there is none.
    """

    number: int
    of: str
    store: Crowd
    bare: Crowd | None

    @property
    def ratio(self) -> float | None:
        """How many times as often as with a bare flock the lock was taken: 1 is as often, more is better."""
        return None if self.bare is None else self.store.per_second / self.bare.per_second


class Bench(msgspec.Struct, frozen=True):
    """All measurements at one place.

    Attributes:
        location: The place that was measured, without secrets.
        durable: Whether the store promises that what it acknowledges survives a power cut.
        python: Python's version.
        system: The operating system with its version, and the machine's kind.
        processors: How many this process may use.
        load: How busy the machine was at the end: processes that ran or waited to, in the last minute; None where the
            system does not tell.
        seconds: How long all of it took.
        operations: One after the other.
        contentions: A lock that several want; empty for a store without locks.
        remains: What of the folder stays, in words, or None.
    """

    location: str
    durable: bool
    python: str
    system: str
    processors: int
    load: float | None
    seconds: float
    operations: tuple[Operation, ...]
    contentions: tuple[Contention, ...]
    remains: str | None


def timing_of(samples: Sequence[float]) -> Timing:
    """The timing that samples come to.

    Args:
        samples: Seconds, one or more.
    """
    total = sum(samples)
    return Timing(len(samples), statistics.median(samples), _p99(samples), len(samples) / total if total else 0.0)


def crowd_of(waits: Sequence[Sequence[float]], seconds: float) -> Crowd:
    """The figures of several that wanted one lock.

    Args:
        waits: For each of them, the seconds of each of its waits.
        seconds: How long they went on.
    """
    everything = [wait for each in waits for wait in each]
    counts = [len(each) for each in waits]
    squares = len(counts) * sum(count**2 for count in counts)
    return Crowd(
        per_second=len(everything) / seconds,
        median=statistics.median(everything) if everything else math.inf,
        p99=_p99(everything) if everything else math.inf,
        longest=max(everything, default=math.inf),
        fairness=sum(counts) ** 2 / squares if squares else 0.0,
    )


def shown(seconds: float) -> str:
    """A time with three digits or so.

    Args:
        seconds: How long.
    """
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 99.95 else f"{value:.1f} {unit}"
    return f"{seconds:.2f} s"


def _p99(samples: Sequence[float]) -> float:
    return sorted(samples)[math.ceil(len(samples) * 0.99) - 1]
