"""The verdict on a demo, from the workers' reports and the stored documents: the torn reads and the lost updates.

Pure functions, so that they can be shown a run in which something was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exlab_store.cli.demo import marked
from exlab_store.cli.demo.marked import TornDocument
from exlab_store.cli.demo.timings import Sample, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exlab_store.cli.demo.report import Report, Role

__all__ = ["Demonstration", "OperationTiming", "Stored", "Verdict", "WorkerEnd", "judged"]

_WRITES = ("durable write", "lock + update", "equipment rewrite", "catalogue publish")
_READS = ("snapshot read", "catalogue read")


class WorkerEnd(msgspec.Struct, frozen=True):
    """A worker that has ended.

    Attributes:
        role: What it was.
        number: Which of its role.
        report: What it has done, or None for one that died.
        cause: How it died.
    """

    role: Role
    number: int
    report: Report | None
    cause: str = ""


class Stored(msgspec.Struct, frozen=True):
    """The documents as they are in the end; None for one that is missing.

    Attributes:
        record: The record.
        counter: The counter.
        equipment: For each instrument, its ``equipment.json``.
        catalogue_flaw: What is wrong with the catalogue, or None.
    """

    record: bytes | None
    counter: bytes | None
    equipment: dict[str, bytes | None]
    catalogue_flaw: str | None = None


class OperationTiming(msgspec.Struct, frozen=True):
    """How long one kind of operation took.

    Attributes:
        operation: Its name.
        count: How often it was done.
        median_ms: Half of them took less.
        p99_ms: 99 of 100 took less.
    """

    operation: str
    count: int
    median_ms: float
    p99_ms: float


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of a demo; its keys are those of ``--json``.

    Attributes:
        documents_written: How many writes the store has acknowledged.
        reads: How many documents the readers got.
        torn_reads: How many of these, of those the writers read, and of those stored in the end nobody wrote.
        lost_updates: How many acknowledged changes are not in the documents in the end.
        increments: How many increments of the counter were acknowledged.
        added_fields: How many fields added to equipment documents were acknowledged.
        operations: How long each took.
        problems: What went wrong, in words; empty if nothing did.
    """

    documents_written: int
    reads: int
    torn_reads: int
    lost_updates: int
    increments: int
    added_fields: int
    operations: tuple[OperationTiming, ...]
    problems: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing was torn, nothing was lost, and nobody failed."""
        return not self.problems


def judged(ended: Sequence[WorkerEnd], stored: Stored) -> Verdict:
    """Counts.

    Args:
        ended: Every worker.
        stored: What is there in the end.
    """
    count = _Count(ended)
    count.workers()
    count.record(stored.record)
    count.counter(stored.counter)
    count.equipment(stored.equipment)
    if stored.catalogue_flaw is not None:
        count.torn_in_the_end(stored.catalogue_flaw)
    return count.verdict()


class _Count:
    def __init__(self, ended: Sequence[WorkerEnd]) -> None:
        self._ended = ended
        self._writers: dict[int, Report] = {
            worker.number: worker.report for worker in ended if worker.role == "writer" and worker.report is not None
        }
        # What a worker did last before it died, or failed, may be there without having been acknowledged.
        self._uncertain = any(worker.report is None or worker.report.fault for worker in ended)
        self._numbers = {0} | {worker.number for worker in ended if worker.role == "writer"}
        self._torn = 0
        self._lost = 0
        self._problems: list[str] = []

    def workers(self) -> None:
        for worker in self._ended:
            name = f"{worker.role} {worker.number}"
            if worker.report is None:
                self._problems.append(f"{name} died: {worker.cause}")
                continue
            if worker.report.fault:
                self._problems.append(f"{name} gave up: {worker.report.fault}")
            if worker.report.torn:
                self._torn += worker.report.torn
                examples = "; ".join(worker.report.torn_examples)
                self._problems.append(f"{name} read {_times(worker.report.torn, 'torn document')}: {examples}")

    def torn_in_the_end(self, flaw: str) -> None:
        self._torn += 1
        self._problems.append(f"in the end, {flaw}")

    def record(self, data: bytes | None) -> None:
        if data is None:
            self.torn_in_the_end("the record has vanished")
            return
        try:
            last = marked.read_record(data)
        except TornDocument as error:
            self.torn_in_the_end(str(error))
            return
        writer = self._writers.get(last.writer)
        # The last write of all is the last one of some writer; 0 is the one from before the writers.
        if writer is not None and last.serial < writer.records:
            self._lose(
                1, f"the record is number {last.serial} of writer {last.writer}, who wrote {writer.records} later"
            )
        elif last.writer not in self._numbers:
            self.torn_in_the_end(f"the record is by {last.writer}, who is none of the writers")
        elif last.writer == 0 and any(report.records for report in self._writers.values()):
            self._lose(1, "the record is the one from before the writers began")

    def counter(self, data: bytes | None) -> None:
        if data is None:
            self.torn_in_the_end("the counter has vanished")
            self._lose(self._increments(), "with the counter, all increments are gone")
            return
        try:
            counter = marked.read_counter(data)
        except TornDocument as error:
            self.torn_in_the_end(str(error))
            self._lose(self._increments(), "with the counter, all increments are gone")
            return
        for number, report in self._writers.items():
            found = counter.by_writer.get(str(number), 0)
            lost = report.increments - found
            self._lose(lost, f"writer {number} was acknowledged {report.increments} increments, and {found} are there")
            if lost < 0 and not self._uncertain:
                self._problems.append(f"writer {number} has {-lost} increments too many")

    def equipment(self, documents: Mapping[str, bytes | None]) -> None:
        for name, data in documents.items():
            expected = self._fields(name)
            if data is None:
                if self._registered():
                    self._lose(len(expected) + 1, f"equipment.json of {name} has vanished")
                continue
            try:
                found = marked.added_fields(marked.check_equipment(data, name))
            except TornDocument as error:
                self.torn_in_the_end(str(error))
                self._lose(len(expected), f"with equipment.json of {name}, its added fields are gone")
                continue
            missing = sorted(expected - found)
            self._lose(len(missing), f"equipment.json of {name} lacks {', '.join(missing[:3])}")

    def verdict(self) -> Verdict:
        samples: dict[str, list[Sample]] = {}
        for worker in self._ended:
            if worker.report is not None:
                for operation, sample in worker.report.timings.items():
                    samples.setdefault(operation, []).append(sample)
        operations = tuple(
            OperationTiming(
                name,
                sum(sample.count for sample in samples[name]),
                round(quantile(samples[name], 0.5) * 1000, 4),
                round(quantile(samples[name], 0.99) * 1000, 4),
            )
            for name in (*_WRITES, *_READS)
            if name in samples
        )
        counts = {operation.operation: operation.count for operation in operations}
        return Verdict(
            documents_written=sum(counts.get(name, 0) for name in _WRITES),
            reads=sum(counts.get(name, 0) for name in _READS),
            torn_reads=self._torn,
            lost_updates=self._lost,
            increments=self._increments(),
            added_fields=sum(report.fields for report in self._writers.values()),
            operations=operations,
            problems=tuple(self._problems),
        )

    def _increments(self) -> int:
        return sum(report.increments for report in self._writers.values())

    def _registered(self) -> bool:
        counts = (report.timings.get("equipment rewrite", Sample()).count for report in self._writers.values())
        return any(count >= len(marked.INSTRUMENTS) for count in counts)

    def _fields(self, instrument: str) -> set[str]:
        return {
            marked.field_name(number, serial)
            for number, report in self._writers.items()
            for serial in range(1, report.fields + 1)
            if marked.instrument_of(serial) == instrument
        }

    def _lose(self, number: int, problem: str) -> None:
        if number > 0:
            self._lost += number
            self._problems.append(f"{_times(number, 'lost update')}: {problem}")


def _times(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Demonstration(msgspec.Struct, frozen=True):
    """What was done, where, and how it went.

    Attributes:
        location: The folder.
        remains: What of it stays, in words, or None.
        durable: Whether the store promises that what it acknowledges survives a power cut.
        seconds: How long the processes worked.
        writers: How many wrote.
        readers: How many read.
        projects: How many projects the catalogue has.
        instruments: How many instruments were registered, by each writer.
        verdict: How it went.
    """

    location: str
    remains: str | None
    durable: bool
    seconds: float
    writers: int
    readers: int
    projects: int
    instruments: int
    verdict: Verdict
