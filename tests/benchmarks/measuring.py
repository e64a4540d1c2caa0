"""Measures contenders interleaved in one run, so that what slows the machine down slows all of them."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Limit", "Result", "compare"]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a contender may cost: ``factor`` times the reference, plus ``extra`` seconds."""

    contender: str
    reference: str
    factor: float
    extra: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """The medians of one benchmark, in seconds, and whether its limit is kept."""

    title: str
    medians: Mapping[str, float]
    limit: Limit

    @property
    def ratio(self) -> float:
        return self.medians[self.limit.contender] / self.medians[self.limit.reference]

    @property
    def difference(self) -> float:
        return self.medians[self.limit.contender] - self.medians[self.limit.reference]

    @property
    def kept(self) -> bool:
        allowed = self.medians[self.limit.reference] * self.limit.factor + self.limit.extra
        return self.medians[self.limit.contender] <= allowed


def compare(
    title: str, contenders: Mapping[str, Callable[[int], object]], limit: Limit, *, rounds: int, repeat: int = 1
) -> Result:
    """Runs each contender once a round, in an order that is drawn anew each time.

    Args:
        title: What is measured.
        contenders: By name; each is given the number of the call, so that it can vary its payload.
        limit: What is claimed.
        rounds: How many samples each contender gives.
        repeat: How many calls make a sample: more than one for what takes microseconds.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for name in order:  # warm: imports, caches, directories
        contenders[name](0)
    for number in range(1, rounds + 1):
        random.shuffle(order)  # in a mere rotation each would always come after the same one, and pay for it
        for name in order:
            call = contenders[name]
            began = time.perf_counter()
            result = call(number * repeat)
            for turn in range(1, repeat):
                result = call(number * repeat + turn)
            samples[name].append((time.perf_counter() - began) / repeat)
            del result  # to free ten thousand rows is not a part of reading them
    return Result(title, {name: statistics.median(values) for name, values in samples.items()}, limit)
