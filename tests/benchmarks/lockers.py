"""Everybody who locks a document between processes, alone and in a crowd.

As a program it is one of a crowd: it takes the lock, keeps it, gives it back and thinks, until its time is over.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from exlab_store import open_store
from exlab_store.benching.bare import BareFiles
from exlab_store.benching.figures import Crowd, crowd_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FILELOCK", "FLOCK", "OURS", "Locker", "crowds", "locker", "lockers"]

OURS = "exlab_store"
FLOCK = "open, blocking flock, close"
FILELOCK = "filelock.FileLock"


@dataclass(frozen=True, slots=True)
class Locker:
    """Somebody who locks.

    Attributes:
        take: Waits for the lock; what it returns gives it back.
        once: Takes the lock, which nobody else wants, and gives it back, with nothing of this program between.
    """

    take: Callable[[], Callable[[], object]]
    once: Callable[[], object]


def _ours(directory: str) -> Locker:
    store = open_store(directory)
    return Locker(
        lambda: store.lock("ours.json", timeout=120).release, lambda: store.lock("ours.json", timeout=120).release()
    )


def _flock(directory: str) -> Locker:
    files = BareFiles(directory)

    def take() -> Callable[[], object]:
        descriptor = files.lock("bare.lock")
        return lambda: os.close(descriptor)

    return Locker(take, lambda: files.lock_and_release("bare.lock"))


def _filelock(directory: str, **options: Any) -> Locker:
    import filelock

    return _used_again(filelock.FileLock(f"{directory}/filelock{len(options)}.lock", timeout=120, **options))


def _portalocker(directory: str, **options: Any) -> Locker:
    import portalocker

    return _used_again(portalocker.Lock(f"{directory}/portalocker{len(options)}.lock", timeout=120, **options))


def _fasteners(directory: str, **options: Any) -> Locker:
    import fasteners

    lock = fasteners.InterProcessLock(f"{directory}/fasteners{len(options)}.lock")
    return _used_again(lock, timeout=120, **options)


def _used_again(lock: Any, **how: Any) -> Locker:
    """A lock object that is made once, as its library wants it.

    Args:
        lock: With ``acquire`` and ``release``.
        how: What ``acquire`` is given.
    """

    def take() -> Callable[[], object]:
        lock.acquire(**how)
        release: Callable[[], object] = lock.release
        return release

    def once() -> None:
        lock.acquire(**how)
        lock.release()

    return Locker(take, once)


_ALL: dict[str, Callable[[str], Locker]] = {
    OURS: _ours,
    FLOCK: _flock,
    FILELOCK: _filelock,
    "filelock, polling every 1 ms": partial(_filelock, poll_interval=0.001),
    "portalocker": _portalocker,
    "portalocker, polling every 1 ms": partial(_portalocker, check_interval=0.001),
    "fasteners": _fasteners,
    "fasteners, polling every 1 ms": partial(_fasteners, delay=0.001, max_delay=0.001),
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
            missing.append(f"{name}: left out, as {error.name or error} is not installed")
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
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            found, duration = _crowd(directory, name, number, hold, think, seconds / rounds)
            took[name] += duration
            for everything, each in zip(waits[name], found, strict=True):
                everything += each
    return {name: crowd_of(waits[name], took[name]) for name in sorted(names)}


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
    take = locker(name, directory).take
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
