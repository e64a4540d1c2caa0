"""What processes of the tests do with one document, and write down, so that its history can be checked."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from exlab_store import ABSENT, DocumentNotFound, Expectation, Store, VersionConflict, open_store
from exlab_store.testing.history import Operation, Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PROCESSES", "USUAL", "history_of_processes", "operate"]

Kind = Literal["read", "write", "swap", "update"]

PROCESSES = 6
KEY = "a"
USUAL: Sequence[Kind] = ("read", "read", "read", "swap", "update")


def operate(
    location: str, options: Mapping[str, Any], name: str, count: int, kinds: Sequence[Kind] = USUAL
) -> list[Operation]:
    """Reads and changes the document.

    Args:
        location: The store.
        options: Of the store.
        name: Whose operations; the values that are written are its own.
        count: How many.
        kinds: What is drawn from for each operation: to read, to write whatever is there, to compare and swap, or to
            update under the lock.
    """
    recorder, chance = Recorder(), random.Random(name)
    with open_store(location, **options) as store:
        for number in range(count):
            kind, new = chance.choice(kinds), f"{name} {number}"
            if kind == "write":
                with recorder.operation(name, "write", new=new):
                    store.atomic_write(KEY, new.encode())
            elif kind == "read":
                with recorder.operation(name, "read") as read:
                    read.found = _found(store)[0]
            elif kind == "swap":
                found, expect = _found(store)
                with recorder.operation(name, "cas", expected=found, new=new) as swap:
                    try:
                        store.atomic_write(KEY, new.encode(), expect=expect)
                    except VersionConflict:
                        swap.succeeded = False
            else:
                with recorder.operation(name, "cas", new=new) as update:

                    def change(current: bytes | None, entry: Any = update, text: str = new) -> bytes:
                        entry.expected = None if current is None else current.decode()
                        return text.encode()

                    store.update(KEY, change, timeout=120)
    return recorder.operations


def _found(store: Store) -> tuple[str | None, Expectation]:
    try:
        snapshot = store.read_snapshot(KEY)
    except DocumentNotFound:
        return None, ABSENT
    return snapshot.data.decode(), snapshot.version


def history_of_processes(
    places: Sequence[tuple[str, Mapping[str, Any]]], count: int, kinds: Sequence[Kind] = USUAL
) -> list[Operation]:
    """The operations of one process for each place, all on the same document.

    Args:
        places: The location and the options of each process's store.
        count: How many operations, of all together.
        kinds: As for `operate`.
    """
    with ProcessPoolExecutor(len(places), mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [
            pool.submit(operate, location, options, f"p{number}", count // len(places), kinds)
            for number, (location, options) in enumerate(places)
        ]
        return [operation for part in parts for operation in part.result()]
