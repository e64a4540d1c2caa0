"""One worker process of the demo: it writes or it reads until its time is over, then reports.

Nothing of a demo that was interrupted, or killed, goes on: a worker ends with the demo.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, cast

from exlab_store import ConfigError, DocumentNotFound, StoreError
from exlab_store.cli.demo import marked
from exlab_store.cli.demo.documents import Documents
from exlab_store.cli.demo.marked import TornDocument
from exlab_store.cli.demo.projects import ENDPOINT, sample_projects
from exlab_store.cli.demo.report import Report
from exlab_store.cli.demo.timings import Stopwatch
from exlab_store.clients.requests import StoreRequests
from exlab_store.documents import EquipmentCacheWriter, EquipmentJson, now, read_catalogue, write_catalogue

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from exlab_store import StorePath
    from exlab_store.cli.demo.report import Role

__all__ = ["WorkerRequests"]

_EXAMPLES = 3

# More would only make the documents large: every field of every writer stays.
_MOST_FIELDS = 400


class _Worker:
    def __init__(self, number: int, seconds: float, documents: Documents, over: threading.Event) -> None:
        self.number = number
        self.documents = documents
        self.watch = Stopwatch()
        self.report = Report(timings=self.watch.samples)
        self.rows = sample_projects()
        self._seconds = seconds
        self._over = over

    def rounds(self) -> Iterator[int]:
        end = time.monotonic() + self._seconds
        number = 0
        while time.monotonic() < end and not self._over.is_set():
            number += 1
            yield number

    def torn(self, error: object) -> None:
        self.report.torn += 1
        if len(self.report.torn_examples) < _EXAMPLES:
            self.report.torn_examples.append(str(error))


def _write(worker: _Worker) -> None:
    with asyncio.Runner() as loop:
        equipment = EquipmentCacheWriter()
        # All writers register all instruments, at the same time.
        loop.run(_register(worker, equipment))
        for number in worker.rounds():
            _replace_record(worker, number)
            _count(worker)
            if number % 4 == 1:
                _add_field(worker)
            elif number % 4 == 3:
                name = marked.instrument_of(number // 4)
                with worker.watch.measure("equipment rewrite"):
                    loop.run(equipment.write_equipment(worker.documents.equipment[name], _payload(name, number)))
            if number % 8 == worker.number % 8:
                _publish(worker, number)


async def _register(worker: _Worker, equipment: EquipmentCacheWriter) -> None:
    async def register(name: str, path: StorePath) -> None:
        with worker.watch.measure("equipment rewrite"):
            await equipment.write_equipment(path, _payload(name, 0))

    async with asyncio.TaskGroup() as tasks:
        for name, path in worker.documents.equipment.items():
            tasks.create_task(register(name, path))


def _payload(name: str, number: int) -> EquipmentJson:
    label = f"{name.replace('_', ' ').title()}, {'rewritten' if number else 'registered'}"
    return EquipmentJson(id=name, label=label, configured_local_root="/data/lab", configured_nas_root="//nas01/lab")


def _replace_record(worker: _Worker, number: int) -> None:
    data = marked.record(worker.number, number)
    with worker.watch.measure("durable write"):
        worker.documents.record.atomic_write(data)
    worker.report.records = number


def _count(worker: _Worker) -> None:
    try:
        with worker.watch.measure("lock + update"):
            worker.documents.counter.update(lambda current: marked.counted(current, worker.number))
        worker.report.increments += 1
    except TornDocument as error:
        worker.torn(error)


def _add_field(worker: _Worker) -> None:
    serial = worker.report.fields + 1
    if serial > _MOST_FIELDS:
        return
    path = worker.documents.equipment[marked.instrument_of(serial)]
    field = marked.field_name(worker.number, serial)
    try:
        with worker.watch.measure("lock + update"):
            path.update(lambda current: marked.with_field(current, field))
        worker.report.fields = serial
    except TornDocument as error:
        worker.torn(error)


def _publish(worker: _Worker, number: int) -> None:
    # Unique among the writers, and next to each other in size.
    publication = number * 100 + worker.number
    catalogue = marked.catalogue_of(worker.rows, publication, now(), ENDPOINT)
    with worker.watch.measure("catalogue publish"):
        write_catalogue(worker.documents.catalogue, catalogue)


def _read(worker: _Worker) -> None:
    documents = worker.documents
    seen: set[str] = set()
    for number in worker.rounds():
        _check(worker, documents.record, marked.read_record)
        _check(worker, documents.counter, marked.read_counter)
        name = marked.instrument_of(number)
        try:
            _check(worker, documents.equipment[name], partial(marked.check_equipment, identifier=name))
            seen.add(name)
        except DocumentNotFound as error:
            # Until the first writer has registered it, it is not there; once it was, it stays.
            if name in seen:
                worker.torn(error)
        if number % 16 == 1:
            _check_catalogue(worker)


def _check(worker: _Worker, path: StorePath, check: Callable[[bytes], object]) -> None:
    with worker.watch.measure("snapshot read"):
        data = path.read_snapshot().data
    try:
        check(data)
    except TornDocument as error:
        worker.torn(error)


def _check_catalogue(worker: _Worker) -> None:
    try:
        with worker.watch.measure("catalogue read"):
            catalogue = read_catalogue(worker.documents.catalogue, expected_endpoint=ENDPOINT)
        marked.check_catalogue(catalogue, worker.rows)
    except TornDocument as error:
        worker.torn(error)
    except ConfigError as error:
        if isinstance(error.__cause__, StoreError):
            raise  # it could not be read at all
        worker.torn(error.message)


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(cast("ExceptionGroup[Exception]", error))
        else:
            yield error


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"


class WorkerRequests(StoreRequests):
    """What a worker can be asked for; each public method is a request."""

    def work(self, role: Role, number: int, folder: str, seconds: float) -> Report:
        """Writes or reads the documents below a folder, as the worker of a number."""
        worker = _Worker(number, seconds, Documents(self.store, folder), self.over)
        try:
            (_write if role == "writer" else _read)(worker)
        except* Exception as group:
            worker.report.fault = "; ".join(map(_sentence, _leaves(group)))
        return worker.report
