"""All figures of one run, as they are kept between measuring and printing."""

from __future__ import annotations

import msgspec
from evidence import Evidence  # noqa: TC002  # msgspec looks at it

from exlab_store.benching.figures import Crowd, Timing  # noqa: TC001  # msgspec looks at them

__all__ = ["Crowded", "Machine", "Results", "SmbRow"]


class Machine(msgspec.Struct):
    """What the figures depend on.

    Attributes:
        processors: How many the run could use.
        processor: What the system calls them.
        kernel: Name and version.
        file_system: Where it was measured.
        python: Python's version.
        versions: Of the package and its peers.
        load: Processes that ran or waited to, in the minute before the run and in its last.
        date: The day.
    """

    processors: int
    processor: str
    kernel: str
    file_system: str
    python: str
    versions: dict[str, str]
    load: list[float]
    date: str


class Crowded(msgspec.Struct):
    """One crowd, with each contender.

    Attributes:
        number: How many processes.
        hold: Seconds that each keeps the lock.
        think: Seconds between two locks.
        figures: By contender.
    """

    number: int
    hold: float
    think: float
    figures: dict[str, Crowd]


class SmbRow(msgspec.Struct):
    """One operation over SMB.

    Attributes:
        delay: Seconds of a round trip.
        title: What was done.
        medians: Seconds, by contender.
        round_trips: By contender.
    """

    delay: float
    title: str
    medians: dict[str, float]
    round_trips: dict[str, int]


class Results(msgspec.Struct, kw_only=True):
    """One run; a section that was not wanted is empty.

    Attributes:
        machine: Where.
        seconds: How long each row was measured.
        took: Seconds in all.
        missing: A line for each contender that was left out.
        evidence: Power cuts and torn reads, by contender.
        writes: By size in bytes, by contender.
        alone: As ``writes``, of this package and the raw system calls, without the others between them.
        reads: Of 2 KiB, by contender.
        locks: Taken and released by one process, by contender.
        crowds: By several at once.
        updates: Read, change and write under a lock, by contender.
        smb: Over SMB.
        catalogue: By action and number of projects, by contender.
        memory: The peak beyond the result, in sizes of the document, by action and contender.
        imports: Seconds, by what is imported.
    """

    machine: Machine
    seconds: float
    took: float = 0.0
    missing: list[str] = []
    evidence: dict[str, Evidence] = {}
    writes: dict[str, dict[str, Timing]] = {}
    alone: dict[str, dict[str, Timing]] = {}
    reads: dict[str, Timing] = {}
    locks: dict[str, Timing] = {}
    crowds: list[Crowded] = []
    updates: dict[str, Timing] = {}
    smb: list[SmbRow] = []
    catalogue: dict[str, dict[str, Timing]] = {}
    memory: dict[str, dict[str, float]] = {}
    imports: dict[str, float] = {}
