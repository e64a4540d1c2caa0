"""Contenders that take turns, so that what slows the machine down slows all of them."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from exlab_store.benching.figures import timing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exlab_store.benching.figures import Timing

__all__ = ["timed"]

_FEWEST = 3
_MOST = 100_000


def timed(
    contenders: Mapping[str, Callable[[bytes], object]], size: int, seconds: float, *, repeat: int = 1
) -> dict[str, Timing]:
    """Measures each contender once a round, in an order that is drawn anew for each.

    Args:
        contenders: By name; each is given new bytes every time, whose making is not measured.
        size: How many bytes, 8 or more.
        seconds: How long to go on; three rounds are made in any case.
        repeat: How many calls make a sample, which is their mean: more than one shows what an operation takes that is
            done over and over, with everything that it needs in the processor's caches.

    Returns:
        The timing of each, by name.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    rest = os.urandom(size - 8)  # what a file system cannot compress
    order = list(contenders)
    draw = random.Random()  # noqa: S311  # no secret; a program that seeds the shared one keeps its sequence
    for name in order:  # once in vain: imports, caches, directories
        contenders[name](bytes(size))
    end = time.monotonic() + seconds
    number = 0
    while number < _FEWEST or (number < _MOST and time.monotonic() < end):
        number += 1
        # Merely rotated, each would always come after the same other one, and its unwritten pages.
        draw.shuffle(order)
        for name in order:
            call = contenders[name]
            data = number.to_bytes(8) + rest
            began = time.perf_counter()
            result = call(data)
            for _ in range(repeat - 1):
                result = call(data)
            samples[name].append((time.perf_counter() - began) / repeat)
            del result  # to free what was read is not a part of reading it
    return {name: timing_of(values) for name, values in samples.items()}
