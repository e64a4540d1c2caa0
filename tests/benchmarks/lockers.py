"""Everybody who locks a document between processes, alone and in a crowd.

As a program it is one of a crowd: it takes the lock, keeps it, gives it back and thinks, until its time is over.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from exlab_store import open_store
from exlab_store.benching.bare import bare_lock
from exlab_store.benching.figures import Crowd, crowd_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Taken = Callable[[], object]
    Locker = Callable[[], Taken]

__all__ = ["FILELOCK", "FLOCK", "OURS", "crowds", "locker", "lockers"]

OURS = "exlab_store"
FLOCK = "open, blocking flock"
FILELOCK = "filelock.FileLock"


def _ours(directory: str) -> Locker:
    store = open_store(directory)
    return lambda: store.lock("ours.json", timeout=120).release


def _flock(directory: str) -> Locker:
    path = f"{directory}/bare.lock"

    def take() -> Taken:
        descriptor = bare_lock(path)
        return lambda: os.close(descriptor)

    return take


def _filelock(directory: str) -> Locker:
    import filelock

    lock = filelock.FileLock(f"{directory}/filelock.lock")

    def take() -> Taken:
        lock.acquire(timeout=120)
        return lock.release

    return take


def _filelock_1_ms(directory: str) -> Locker:
    import filelock

    lock = filelock.FileLock(f"{directory}/filelock-1.lock")

    def take() -> Taken:
        lock.acquire(timeout=120, poll_interval=0.001)
        return lock.release

    return take


def _portalocker(directory: str) -> Locker:
    import portalocker

    lock = portalocker.Lock(f"{directory}/portalocker.lock", timeout=120)

    def take() -> Taken:
        lock.acquire()
        return lock.release

    return take


def _fasteners(directory: str) -> Locker:
    import fasteners

    lock = fasteners.InterProcessLock(f"{directory}/fasteners.lock")

    def take() -> Taken:
        lock.acquire(timeout=120)
        return lock.release

    return take


_ALL: dict[str, Callable[[str], Locker]] = {
    OURS: _ours,
    FLOCK: _flock,
    FILELOCK: _filelock,
    "filelock, polling every 1 ms": _filelock_1_ms,
    "portalocker": _portalocker,
    "fasteners": _fasteners,
}


def locker(name: str, directory: str) -> Locker:
    """One of them."""
    return _ALL[name](directory)


def lockers(directory: str) -> tuple[dict[str, Locker], list[str]]:
    """All that are installed, and a line for each that is not."""
    found: dict[str, Locker] = {}
    missing: list[str] = []
    for name in _ALL:
        try:
            found[name] = locker(name, directory)
        except ImportError as error:
            missing.append(f"{name}: left out, as {error.name} is not installed")
    return found, missing


def crowds(
    directory: str, number: int, *, hold: float, think: float, seconds: float, rounds: int, only: tuple[str, ...] = ()
) -> dict[str, Crowd]:
    """So many processes that want one lock, with each contender in turn, several times over.

    Args:
        directory: Where the lock files are.
        number: How many processes.
        hold: Seconds that each keeps the lock.
        think: Seconds between two locks.
        seconds: How long a contender is measured, over all rounds.
        rounds: How often each has its turn.
        only: These contenders, or all that are installed.
    """
    names = list(only or lockers(directory)[0])
    waits: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(number)])
    took: dict[str, float] = defaultdict(float)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found, duration = _crowd(directory, name, number, hold, think, seconds / rounds)
            took[name] += duration
            for everything, each in zip(waits[name], found, strict=True):
                everything += each
    return {name: crowd_of(waits[name], took[name]) for name in names}


def _crowd(
    directory: str, name: str, number: int, hold: float, think: float, seconds: float
) -> tuple[list[list[float]], float]:
    arguments = [directory, name, str(hold), str(think), str(seconds)]
    processes = [
        subprocess.Popen([sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(number)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", f"{name} has failed"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in processes]
    took = max(ended for _, ended, _ in answers) - min(began for began, _, _ in answers)
    return [waits for _, _, waits in answers], took


def _one_of_a_crowd(directory: str, name: str, hold: float, think: float, seconds: float) -> None:
    take = locker(name, directory)
    take()()
    print("ready", flush=True)
    sys.stdin.readline()
    waits: list[float] = []
    begin = time.monotonic()  # the same clock in all processes
    end = begin + seconds
    while True:
        began = time.perf_counter()
        give_back = take()
        waits.append(time.perf_counter() - began)
        if hold:
            time.sleep(hold)
        give_back()
        if time.monotonic() >= end:
            break
        if think:
            time.sleep(think)
    print(json.dumps([begin, time.monotonic(), waits]))


if __name__ == "__main__":
    _one_of_a_crowd(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))
