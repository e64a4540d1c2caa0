"""The times of operations: a sample of bounded size, its median and its 99th percentile."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = ["Sample", "Stopwatch", "quantile"]

_SIZE = 4096


class Sample(msgspec.Struct):
    """The durations of one operation in one process.

    Attributes:
        count: How often it was done.
        seconds: The durations, or a random choice of them: every one has the same chance to be here.
    """

    count: int = 0
    seconds: list[float] = []  # msgspec gives each instance its own

    def add(self, seconds: float) -> None:
        """Adds a duration (reservoir sampling).

        Args:
            seconds: How long it took.
        """
        self.count += 1
        if len(self.seconds) < _SIZE:
            self.seconds.append(seconds)
        elif (place := int(random.random() * self.count)) < _SIZE:  # noqa: S311  # a sample, not a secret
            self.seconds[place] = seconds


class Stopwatch:
    """Measures operations by name."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}

    @contextmanager
    def measure(self, operation: str) -> Generator[None]:
        """Measures what is done inside, if it succeeds.

        Args:
            operation: Its name.
        """
        begin = time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        self.samples.setdefault(operation, Sample()).add(seconds)


def quantile(samples: Iterable[Sample], fraction: float) -> float:
    """The duration below which a fraction of all operations stays; samples count as much as what they stand for.

    Args:
        samples: One for each process; at least one duration in all.
        fraction: 0.5 for the median.
    """
    weighted = sorted((seconds, sample.count / len(sample.seconds)) for sample in samples for seconds in sample.seconds)
    wanted = fraction * sum(weight for _, weight in weighted)
    passed = 0.0
    for seconds, weight in weighted:
        passed += weight
        if passed >= wanted:
            return seconds
    return weighted[-1][0]
