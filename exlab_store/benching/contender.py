"""One of several that want a lock: it takes it, keeps it, gives it back and thinks, until its time is over."""

from __future__ import annotations

import os
import pickle
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from exlab_store.benching.bare import bare_lock
from exlab_store.errors import StoreError
from exlab_store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.store import Store

__all__ = ["GO", "READY", "Job", "Turns", "contend", "serve"]

READY = b"ready\n"
GO = b"go\n"


class Job(msgspec.Struct, frozen=True):
    """What a contender does.

    Attributes:
        location: The store's location, with whatever secret it has.
        key: The document whose lock is wanted.
        bare: The path of a file whose flock is taken instead of the store's lock, or empty text.
        seconds: How long to go on.
        hold: Seconds that the lock is kept.
        think: Seconds between two locks.
    """

    location: str
    key: str
    bare: str
    seconds: float
    hold: float
    think: float


class Turns(msgspec.Struct, frozen=True):
    """What became of a job.

    Attributes:
        began: When, by the monotonic clock, which is the same in all processes.
        ended: When it was over.
        waits: The seconds of each wait for the lock.
    """

    began: float
    ended: float
    waits: list[float]


def contend(job: Job, store: Store | None) -> Turns:
    """Does the job.

    Args:
        job: What.
        store: The store; None with a bare path.
    """
    take = _bare(job.bare) if store is None else _of_store(store, job.key)
    waits: list[float] = []
    begin = time.monotonic()
    end = begin + job.seconds
    while True:
        began = time.perf_counter()
        give_back = take()
        waits.append(time.perf_counter() - began)
        if job.hold:
            time.sleep(job.hold)
        give_back()
        if time.monotonic() >= end:
            return Turns(begin, time.monotonic(), waits)
        if job.think:
            time.sleep(job.think)


def _of_store(store: Store, key: str) -> Callable[[], Callable[[], None]]:
    return lambda: store.lock(key, purpose="benchmark").release


def _bare(path: str) -> Callable[[], Callable[[], None]]:
    def take() -> Callable[[], None]:
        descriptor = bare_lock(path)
        return lambda: os.close(descriptor)

    return take


def serve() -> None:
    """Does the job that standard input says, and answers on standard output with a pickle of what came of it."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    job = msgspec.json.decode(requests.readline(), type=Job)
    try:
        store = None if job.bare else open_store(job.location)
        if store is not None:
            store.lock(job.key).release()
        answers.write(READY)
        answers.flush()
        if requests.readline() != GO:
            return  # whoever wanted to know has gone
        answer: tuple[bool, object] = (True, contend(job, store))
    except StoreError as error:
        answer = (False, error)
    answers.write(pickle.dumps(answer))
    answers.flush()
