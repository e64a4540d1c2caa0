"""All figures of one run, as they are kept between measuring and printing."""

from __future__ import annotations

import statistics

import msgspec
from evidence import Evidence  # noqa: TC002  # msgspec looks at it

from exlab_store.benching.figures import Crowd, Timing  # noqa: TC001  # msgspec looks at them

__all__ = ["SHORT", "Crowded", "Looped", "Machine", "Pair", "Peak", "Results", "SmbRow"]

SHORT = 0.5
"""Seconds for each contender: with less, a run shows only that all of it works."""


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


class Pair(msgspec.Struct):
    """One operation by this package and by what a limit compares it with, the two in turns.

    Attributes:
        title: What is done.
        reference: With what it is compared.
        ours: What this package took.
        theirs: What the reference took.
    """

    title: str
    reference: str
    ours: Timing
    theirs: Timing

    @property
    def ratio(self) -> float:
        """How many times as long as the reference this package took."""
        return self.ours.median / self.theirs.median


class Peak(msgspec.Struct):
    """The memory that something took at most, in sizes of the document.

    Attributes:
        whole: All of it.
        beyond: Without what it returned.
    """

    whole: float
    beyond: float


class Looped(msgspec.Struct):
    """What an event loop felt of one load, run after run.

    Attributes:
        place: Where the store was.
        loop: ``asyncio`` or ``trio``.
        load: What the tasks did.
        pauses: Seconds for which the loop was held up at most, by run.
        idle: The same of a loop that only ticks, before the first run and after each of them.
        threads: How many threads there were more, at most in any run.
        seconds: The median of what the runs took.
        wanted: How many updates were to be made, in all runs.
        missing: How many of them were not made, or were made though they had been cancelled.
        left: Locks that could not be taken when all was over.
    """

    place: str
    loop: str
    load: str
    pauses: list[float]
    idle: list[float]
    threads: int
    seconds: float
    wanted: int
    missing: int
    left: int

    @property
    def median(self) -> float:
        """The median of the runs' longest hold-ups, in seconds."""
        return statistics.median(self.pauses)


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
        seconds: How long each contender was measured, about; less than half a second shows that all of it works.
        took: Seconds in all.
        missing: A line for each contender that was left out.
        evidence: Power cuts and torn reads, by contender.
        writes: By size in bytes, by contender.
        pairs: What the limits are about, each with nobody but the two.
        reads: Of 2 KiB, by contender.
        locks: Taken and released by one process, by contender.
        crowds: By several at once.
        contended: The crowd that a limit is about, with nobody but the two.
        updates: Read, change and write under a lock, by contender.
        smb: Over SMB.
        catalogue: By action and number of projects, by contender.
        memory: Also by action and number of projects, by contender.
        imports: Seconds, by what is imported.
        event_loop: What an event loop felt of many tasks.
    """

    machine: Machine
    seconds: float
    took: float = 0.0
    missing: list[str] = []
    evidence: dict[str, Evidence] = {}
    writes: dict[str, dict[str, Timing]] = {}
    pairs: list[Pair] = []
    reads: dict[str, Timing] = {}
    locks: dict[str, Timing] = {}
    crowds: list[Crowded] = []
    contended: list[Crowded] = []
    updates: dict[str, Timing] = {}
    smb: list[SmbRow] = []
    catalogue: dict[str, dict[str, Timing]] = {}
    memory: dict[str, dict[str, Peak]] = {}
    imports: dict[str, float] = {}
    event_loop: list[Looped] = []

    @property
    def short(self) -> bool:
        """Whether the run was too short for its figures to mean anything."""
        return self.seconds < SHORT
