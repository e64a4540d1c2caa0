"""All measurements at one place."""

from __future__ import annotations

import math
import os
import platform
import time
from functools import partial
from typing import TYPE_CHECKING

from exlab_store.benching.contender import Job
from exlab_store.benching.contention import ContendingProcesses, contended_by_threads, crowd_after
from exlab_store.benching.figures import Bench, Contention, Operation
from exlab_store.benching.folder import SIZES, Folder
from exlab_store.benching.interruptions import Interruptions
from exlab_store.benching.taking_turns import timed
from exlab_store.hidden_location import hides_location

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.benching.bare import BareFiles
    from exlab_store.benching.contender import Turns
    from exlab_store.benching.figures import Crowd

__all__ = ["HOLD", "THINK", "measure"]

CROWDS = (1, 4, 8)

HOLD = 0.0005
"""Seconds that each of a crowd keeps the lock."""

THINK = 0.002
"""Seconds that each of a crowd does something else before it wants the lock again."""

_LOCK = "lock.json"

_LONGEST_TURN = 1.0


@hides_location
def measure(
    location: str | os.PathLike[str],
    *,
    seconds: float,
    progress: Callable[[int, int, str], None] | None = None,
    left: Callable[[str], None] | None = None,
) -> Bench:
    """Measures the operations of a store, in a folder of its own that is removed afterwards.

    What would interrupt the removal, Ctrl-C say, is put off until it is done, unless it takes long and comes again.

    Args:
        location: As `open_store` takes it; ``@name`` is looked up in the configuration that is in force.
        seconds: How long each operation is measured, positive.
        progress: Called with the number of operations that are done, the number of all, and what comes next.
        left: Called with what of the folder stays, in words, if there are no figures to say it.

    Returns:
        The figures.

    Raises:
        StoreError: The place cannot be used.
    """
    folder: Folder | None = None
    try:
        with Interruptions() as interruptions:
            with interruptions.allowed():
                folder = Folder(location)
            return _measured(folder, interruptions, seconds, progress)
    except BaseException:
        if folder is not None and folder.remains is not None and left is not None:
            left(folder.remains)
        raise


def _measured(
    folder: Folder,
    interruptions: Interruptions,
    seconds: float,
    progress: Callable[[int, int, str], None] | None,
) -> Bench:
    began = time.monotonic()
    with folder:
        steps = _Steps(folder, seconds, progress)
        try:
            with interruptions.allowed():
                operations = steps.operations()
                contentions = steps.contentions()
        finally:
            steps.over()
    return Bench(
        location=folder.place,
        durable=folder.store.guarantees.durable,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processors=_processors(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        seconds=time.monotonic() - began,
        operations=operations,
        contentions=contentions,
        remains=folder.remains,
    )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Steps:
    def __init__(self, folder: Folder, seconds: float, progress: Callable[[int, int, str], None] | None) -> None:
        self._folder = folder
        self._store = folder.store
        self._seconds = seconds
        self._progress = progress
        self._locks = folder.store.guarantees.lock_scope
        self._done = 0
        self._total = len(SIZES) + 1 + (0 if self._locks == "none" else 2 + len(CROWDS))

    def operations(self) -> tuple[Operation, ...]:
        """One operation after the other."""
        self._next("write")
        self._folder.fill()
        bare = self._folder.bare()
        found = [self._write(size, bare) for size in SIZES]
        found.append(self._read(bare))
        if self._locks != "none":
            found += [self._lock(bare), self._update(bare)]
        return tuple(found)

    def _write(self, size: int, bare: BareFiles | None) -> Operation:
        name = f"{size}.json"
        write = partial(self._store.atomic_write, self._folder.key(name))
        return self._compared("write", size, write, None if bare is None else partial(bare.write, name))

    def _read(self, bare: BareFiles | None) -> Operation:
        name = f"{SIZES[0]}.json"
        key = self._folder.key(name)
        return self._compared(
            "read",
            SIZES[0],
            lambda _: self._store.read_snapshot(key),
            None if bare is None else lambda _: bare.read(name),
        )

    def _lock(self, bare: BareFiles | None) -> Operation:
        key = self._folder.key(_LOCK)
        return self._compared(
            "lock",
            0,
            lambda _: self._store.lock(key).release(),
            None if bare is None else lambda _: bare.lock_and_release(_LOCK),
        )

    def _update(self, bare: BareFiles | None) -> Operation:
        key, name = self._folder.key("update.json"), "update.json"
        if bare is not None:
            bare.write(name, bytes(SIZES[0]))
        return self._compared(
            "update",
            SIZES[0],
            lambda data: self._store.update(key, lambda _: data),
            None if bare is None else partial(bare.update, name),
        )

    def _compared(
        self, name: str, size: int, store: Callable[[bytes], object], bare: Callable[[bytes], object] | None
    ) -> Operation:
        contenders = {"store": store} | ({} if bare is None else {"bare": bare})
        timings = timed(contenders, size or 8, self._seconds)
        self._did(name)
        return Operation(name, size, timings["store"], timings.get("bare"))

    def contentions(self) -> tuple[Contention, ...]:
        """The lock that several want."""
        if self._locks == "none":
            return ()
        key = self._folder.key(_LOCK)
        if self._locks == "process":

            def threads(number: int, job: Job) -> list[Turns]:
                return contended_by_threads(number, job, self._store, key)

            return tuple(self._crowd(number, "thread", threads) for number in CROWDS)
        self._next("lock, several at once")
        with ContendingProcesses(max(CROWDS), self._folder.location, key) as processes:
            return tuple(self._crowd(number, "process", processes.contended) for number in CROWDS)

    def _crowd(self, number: int, of: str, contended: Callable[[int, Job], list[Turns]]) -> Contention:
        self._next(f"lock, {number} at once")
        path = self._folder.bare_lock_path()
        # The lock and the bare one in turns, each as often first as last: what changes meanwhile, changes for both.
        turns = ["", path, path, ""] if path else ["", ""]
        times = math.ceil(self._seconds / len(turns) / _LONGEST_TURN)
        seconds = self._seconds / len(turns) / times
        done: dict[str, list[list[Turns]]] = {}
        for bare in turns * times:
            done.setdefault(bare, []).append(contended(number, Job(bare, seconds, HOLD, THINK)))
        self._did("lock")
        crowds: dict[str, Crowd] = {bare: crowd_after(rounds) for bare, rounds in done.items()}
        return Contention(number, of, crowds[""], crowds.get(path) if path else None)

    def over(self) -> None:
        """Says that nothing is left to measure."""
        if self._progress is not None:
            self._progress(self._done, self._total, "removing the folder")

    def _next(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, what)

    def _did(self, what: str) -> None:
        self._done += 1
        self._next(what)
