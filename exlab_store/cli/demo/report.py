"""The report of a worker process of the demo."""

from __future__ import annotations

from typing import Literal

import msgspec

from exlab_store.cli.demo.timings import Sample  # noqa: TC001  # msgspec looks at it

__all__ = ["Report", "Role"]

Role = Literal["writer", "reader"]


class Report(msgspec.Struct):
    """What a worker has done.

    Attributes:
        timings: For each operation, how often and how long.
        torn: How many reads gave a document that nobody wrote.
        torn_examples: What was wrong with the first few.
        records: The serial of the last record that the store has acknowledged.
        increments: How many increments of the counter the store has acknowledged.
        fields: How many added fields the store has acknowledged.
        fault: Why the worker ended early, or None.
    """

    timings: dict[str, Sample] = {}
    torn: int = 0
    torn_examples: list[str] = []
    records: int = 0
    increments: int = 0
    fields: int = 0
    fault: str | None = None
