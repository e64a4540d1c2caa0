"""Six processes on one document in a bucket: their operations have an order."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from exlab_store import ABSENT, DocumentNotFound, Expectation, VersionConflict, open_store
from exlab_store.testing.history import Operation, Recorder, check

if TYPE_CHECKING:
    from seaweed_server import SeaweedServer

pytestmark = pytest.mark.one_interpreter

PROCESSES = 6


def _work(url: str, options: dict[str, Any], name: str, count: int) -> list[Operation]:
    """Half of the operations read; of the others, some write or delete, and most compare and swap, or update."""
    recorder, chance = Recorder(), random.Random(name)
    with open_store(url, **options) as store:
        for number in range(count):
            kind, new = chance.random(), f"{name} {number}"
            if kind < 0.5:
                with recorder.operation(name, "read") as read:
                    try:
                        read.found = store.read_snapshot("a").data.decode()
                    except DocumentNotFound:
                        read.found = None
            elif kind < 0.6:
                with recorder.operation(name, "write", new=new):
                    store.atomic_write("a", new.encode())
            elif kind < 0.85:
                found, expect = None, ABSENT
                try:
                    snapshot = store.read_snapshot("a")
                    found, expect = snapshot.data.decode(), snapshot.version
                except DocumentNotFound:
                    pass
                wanted: Expectation = expect
                with recorder.operation(name, "cas", expected=found, new=new) as swap:
                    try:
                        store.atomic_write("a", new.encode(), expect=wanted)
                    except VersionConflict:
                        swap.succeeded = False
            else:
                with recorder.operation(name, "cas", new=new) as update:

                    def change(current: bytes | None, entry: Any = update, text: str = new) -> bytes:
                        entry.expected = None if current is None else current.decode()
                        return text.encode()

                    store.update("a", change, timeout=120)
    return recorder.operations


@pytest.mark.parametrize("count", [300, pytest.param(20_004, marks=pytest.mark.slow)])
def test_the_operations_of_six_processes_on_s3_have_an_order(seaweed: SeaweedServer, count: int) -> None:
    url = seaweed.folder()
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [
            pool.submit(_work, url, seaweed.options, f"p{number}", count // PROCESSES) for number in range(PROCESSES)
        ]
        operations = [operation for part in parts for operation in part.result()]
    assert check(operations) is None
    assert len(operations) == count
