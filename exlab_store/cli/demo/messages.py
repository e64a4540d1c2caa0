"""What the demo and its worker processes tell each other: a line of JSON each."""

from __future__ import annotations

import json
import os
from typing import Literal

import msgspec

from exlab_store.cli.demo.timings import Sample  # noqa: TC001  # msgspec looks at it
from exlab_store.hidden_location import HiddenLocation

__all__ = ["GO", "READY", "Job", "Report", "Role", "encoded", "job_of"]

Role = Literal["writer", "reader"]

READY = b"ready\n"
GO = b"go\n"


class Job(msgspec.Struct, frozen=True):
    """What a worker is to do; its first line of standard input, as the location may hold a password.

    Attributes:
        role: What it is.
        number: Which of its role, from 1.
        location: Where the store is.
        folder: The key below which all documents are.
        seconds: How long to work.
    """

    role: Role
    number: int
    location: HiddenLocation
    folder: str
    seconds: float


def encoded(job: Job) -> bytes:
    """A job as a line, with the location in clear: hand it on in the same expression.

    Args:
        job: The job.
    """
    # json, unlike msgspec, carries names that are not UTF-8.
    return json.dumps(msgspec.structs.asdict(job), default=os.fspath).encode() + b"\n"


def job_of(line: bytes) -> Job:
    """The job that was `encoded`.

    Args:
        line: The line.
    """
    fields = json.loads(line, object_hook=lambda told: told | {"location": HiddenLocation(told["location"])})
    return Job(**fields)


class Report(msgspec.Struct):
    """What a worker has done; its last line of standard output.

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
