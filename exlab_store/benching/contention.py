"""A lock that several processes want at the same time, or several threads where processes cannot share a store."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from exlab_store.benching.contender import GO, READY, contend
from exlab_store.benching.figures import crowd_of
from exlab_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from exlab_store.benching.contender import Job, Turns
    from exlab_store.benching.figures import Crowd
    from exlab_store.store import Store

__all__ = ["contended_by_processes", "contended_by_threads"]

_PROGRAM = "from exlab_store.benching.contender import serve; serve()"
_LAST_WORDS = 3.0


def contended_by_processes(number: int, job: Job) -> Crowd:
    """Has processes do the job at the same time.

    Args:
        number: How many.
        job: What each of them does.

    Raises:
        StoreError: One of them could not, or has died.
    """
    with ExitStack() as stack:
        contenders = [stack.enter_context(_Process(job)) for _ in range(number)]
        for contender in contenders:
            contender.await_ready()
        for contender in contenders:
            contender.go()
        return _crowd_of([contender.turns() for contender in contenders])


def contended_by_threads(number: int, job: Job, store: Store) -> Crowd:
    """Has threads of this process do the job at the same time.

    Args:
        number: How many.
        job: What each of them does.
        store: The store that they share.

    Raises:
        StoreError: One of them could not.
    """
    turns: list[Turns] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            turns.append(contend(job, store))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return _crowd_of(turns)


def _crowd_of(turns: Sequence[Turns]) -> Crowd:
    seconds = max(each.ended for each in turns) - min(each.began for each in turns)
    return crowd_of([each.waits for each in turns], seconds)


class _Process:
    """A contender in a process of its own, which ends when the context does."""

    def __init__(self, job: Job) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this very interpreter
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # The terminal's Ctrl-C is for the one who measures.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        # On standard input, as arguments are visible to others on a machine.
        self._tell(msgspec.json.encode(job) + b"\n")

    def await_ready(self) -> None:
        """Waits until it has opened the store."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if line != READY:
            self._judge(line + self._process.stdout.read())

    def go(self) -> None:
        """Lets it begin."""
        self._tell(GO)

    def turns(self) -> Turns:
        """What became of the job, when its time is over."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        return self._judge(self._process.stdout.read())

    def _judge(self, answer: bytes) -> Turns:
        try:
            done, result = pickle.loads(answer)  # noqa: S301  # from a process that we started
        except (pickle.UnpicklingError, EOFError) as error:
            raise StoreError("a process that should compete for the lock has died") from error
        if not done:
            raise result
        turns: Turns = result
        return turns

    def _tell(self, line: bytes) -> None:
        # One that has died is heard of through its answer.
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is not None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
