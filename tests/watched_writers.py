"""Writers in processes of their own, whose every change is written down, and the check of what a watch has told."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exlab_store import ChangeStream, Store

__all__ = ["median_delay", "told_of_all"]

END = "end"
WRITERS = 3


def _write(location: str, options: dict[str, Any], name: str, count: int) -> list[tuple[str, str | None]]:
    """Writes and deletes documents of its own in folders that all share; gives each state that was acknowledged."""
    choices = random.Random(name)  # the same each time
    states: list[tuple[str, str | None]] = []
    there: set[str] = set()
    with open_store(location, **options) as store:
        for number in range(count):
            key = f"run {choices.randrange(5)}/{choices.choice(['', 'deep/er/'])}{name}-{choices.randrange(4)}.json"
            if key in there and choices.random() < 0.2:
                store.delete(key)
                there.discard(key)
                states.append((key, None))
            else:
                states.append((key, store.atomic_write(key, f"{name} {number}".encode())))
                there.add(key)
    return states


def median_delay(stream: ChangeStream, writer: Store, times: int = 200) -> float:
    """Seconds from the end of a write to the moment at which the watch has told it, the median of many."""
    delays: list[float] = []
    for number in range(times):
        version = writer.atomic_write(f"run {number % 5}/document.json", str(number).encode())
        written = time.perf_counter()
        while next(stream).version != version:
            pass
        delays.append(time.perf_counter() - written)
    return statistics.median(delays)


def told_of_all(
    stream: ChangeStream,
    location: str,
    options: Mapping[str, Any],
    changes: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[int, list[str]]:
    """Has three processes make changes, and follows them.

    Args:
        stream: A watch of the whole store, which ends by itself.
        location: For the writers.
        options: Of the location.
        changes: How many, in all.
        meanwhile: Called in a thread of its own while they write.

    Returns:
        How many changes were told; and what was told wrong, in words: nothing, if all is well.
    """
    with ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn")) as processes:
        writing = [
            processes.submit(_write, location, dict(options), str(number), changes // WRITERS)
            for number in range(WRITERS)
        ]
        written: list[list[tuple[str, str | None]]] = []

        def end() -> None:
            try:
                written.extend(each.result() for each in writing)
            finally:
                with open_store(location, **options) as store:
                    store.atomic_write(END, b"")

        threads = [threading.Thread(target=call) for call in (end, meanwhile)]
        for thread in threads:
            thread.start()
        told: dict[str, list[str | None]] = {}
        last: dict[str, str | None] = {}
        for change in stream:
            told.setdefault(change.key, []).append(change.version)
            if change.key == END or last:
                threads[0].join()
                last = {key: version for states in written for key, version in states}
            if last and all((told.get(key) or [None])[-1] == version for key, version in last.items()):
                break
        for thread in threads:
            thread.join()
    last = {key: version for states in written for key, version in states}
    states = {(key, version) for of_one in written for key, version in of_one} | {(END, told.get(END, [None])[-1])}
    wrong = [f"the last state of {key} was not told" for key in last if (told.get(key) or [None])[-1] != last[key]]
    wrong += [
        f"{key}: {version} was never written" for key in told for version in told[key] if (key, version) not in states
    ]
    return sum(map(len, told.values())), wrong
