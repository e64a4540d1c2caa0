"""All measurements at one place."""

from __future__ import annotations

import os
import platform
import time
from functools import partial
from typing import TYPE_CHECKING

from exlab_store.benching.contender import Job
from exlab_store.benching.contention import contended_by_processes, contended_by_threads
from exlab_store.benching.figures import Bench, Contention, Operation
from exlab_store.benching.folder import Folder
from exlab_store.benching.taking_turns import timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.benching.bare import BareFiles

__all__ = ["HOLD", "THINK", "measure"]

SIZES = (2048, 65536, 1048576)
CROWDS = (1, 4, 8)

HOLD = 0.0005
"""Seconds that each of a crowd keeps the lock."""

THINK = 0.002
"""Seconds that each of a crowd does something else before it wants the lock again."""

_LOCK = "lock.json"


def measure(location: str, *, seconds: float, progress: Callable[[int, int, str], None] | None = None) -> Bench:
    """Measures the operations of a store, in a folder of its own that is removed afterwards.

    Args:
        location: As `open_store` takes it; ``@name`` is looked up in the configuration that is in force.
        seconds: How long each operation is measured, positive.
        progress: Called with the number of operations that are done, the number of all, and what comes next.

    Returns:
        The figures.

    Raises:
        StoreError: The place cannot be used.
    """
    began = time.monotonic()
    with Folder(location) as folder:
        steps = _Steps(folder, seconds, progress)
        operations = steps.operations()
        contentions = steps.contentions()
    return Bench(
        location=folder.shown,
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
        key = self._folder.key
        for size in SIZES:  # what is read is there, and so is the directory of the bare calls
            self._store.atomic_write(key(f"{size}.json"), bytes(size))
        bare = self._folder.bare()
        self._store.read_snapshot(key("2048.json"))
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
        return () if self._locks == "none" else tuple(self._crowd(number) for number in CROWDS)

    def _crowd(self, number: int) -> Contention:
        self._next(f"lock, {number} at once")
        path = self._folder.bare_lock_path()
        # Half the time for each, so that a crowd takes no longer than another operation.
        seconds = self._seconds / 2 if path else self._seconds
        job = Job(self._folder.location, self._folder.key(_LOCK), "", seconds, HOLD, THINK)
        if self._locks == "process":
            crowd = contended_by_threads(number, job, self._store)
            of = "thread"
        else:
            crowd = contended_by_processes(number, job)
            of = "process"
        bare_job = Job("", "", path, seconds, HOLD, THINK)
        bare = contended_by_processes(number, bare_job) if path else None
        self._did("lock")
        return Contention(number, of, crowd, bare)

    def _next(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, what)

    def _did(self, what: str) -> None:
        self._done += 1
        self._next(what)
