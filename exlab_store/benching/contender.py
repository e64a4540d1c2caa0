"""One of several that want a lock: it takes it, keeps it, gives it back and thinks, until its time is over."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from exlab_store.benching.bare import bare_lock
from exlab_store.clients.requests import StoreRequests, on_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.store import Store

__all__ = ["ContenderRequests", "Job", "Turns", "contend"]


class Job(msgspec.Struct, frozen=True):
    """What a contender does.

    Attributes:
        bare: The path of a file whose flock is taken instead of the store's lock, or empty text.
        seconds: How long to go on.
        hold: Seconds that the lock is kept.
        think: Seconds between two locks.
    """

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


def contend(store: Store, job: Job, key: str, stopped: Callable[[], bool] = lambda: False) -> Turns:
    """Does the job.

    Args:
        store: The store.
        job: The contender's job.
        key: The document whose lock is wanted.
        stopped: Asked after each lock; True ends the job before its time.

    Raises:
        StoreError: The lock could not be taken or given back.
    """
    take = _bare(job.bare) if job.bare else _of_store(store, key)
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
        if time.monotonic() >= end or stopped():
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


class ContenderRequests(StoreRequests):
    """What a contender in a process of its own can be asked for; each public method is a request."""

    def prepare(self, key: str) -> None:
        """Takes the lock once, so that no later wait has to make its file."""
        self.store.lock(key).release()

    contend = on_store(contend)
