"""The least that an observer of a third party can be: it counts what was done where."""

from __future__ import annotations

from collections import Counter as _Counter
from collections.abc import Generator
from contextlib import contextmanager

from exlab_store import Observation, Observer

counted: _Counter[str] = _Counter()


class Counter(Observer):
    @contextmanager
    def around(self, observation: Observation) -> Generator[None]:
        yield
        counted[f"{observation.operation} in {observation.location}: {observation.outcome}"] += 1
