"""One of several that want a lock: it takes it, keeps it, gives it back and thinks, until its time is over."""

from __future__ import annotations

import os
import pickle
import sys
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from exlab_store.benching.bare import bare_lock
from exlab_store.errors import StoreError
from exlab_store.hidden_location import HiddenLocation
from exlab_store.opening.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.store import Store

__all__ = ["READY", "Job", "Place", "Turns", "contend", "encoded", "serve"]

READY = b"ready\n"

M = TypeVar("M", "Place", "Job")


class Place(msgspec.Struct, frozen=True):
    """Where the lock is that is wanted.

    Attributes:
        location: The store's location, with whatever secret it has.
        key: The document whose lock it is.
    """

    location: HiddenLocation
    key: str


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


def encoded(message: Place | Job) -> bytes:
    """A line of JSON for a contender; the location in clear: hand it on in the same expression.

    Args:
        message: What it is told.
    """
    return msgspec.json.encode(message, enc_hook=os.fspath) + b"\n"


def decoded(line: bytes, kind: type[M]) -> M:
    """What was `encoded`.

    Args:
        line: The line.
        kind: What it must be.
    """
    return msgspec.json.decode(line, type=kind, dec_hook=lambda _, text: HiddenLocation(text))


def contend(job: Job, store: Store, key: str, stopped: Callable[[], bool] = lambda: False) -> Turns:
    """Does the job.

    Args:
        job: The contender's job.
        store: The store.
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


def _place(line: bytes) -> Place | None:
    return decoded(line, Place) if line else None


def serve() -> None:
    """Opens the place that standard input names, and does one job after the other that it says.

    Each is answered on standard output with a pickle of what came of it. Nothing is opened before the place is told:
    one whose parent has gone meanwhile finds the end of its input, and leaves no trace.
    """
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    place = _place(requests.readline())
    if place is None:
        return
    try:
        with open_store(place.location) as store:
            store.lock(place.key).release()
            answers.write(READY)
            answers.flush()
            for line in requests:
                turns = contend(decoded(line, Job), store, place.key)
                answers.write(pickle.dumps((True, turns)))
                answers.flush()
    except StoreError as error:
        answers.write(pickle.dumps((False, error)))
        answers.flush()
