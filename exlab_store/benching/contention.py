"""A lock that several processes want at the same time, or several threads where processes cannot share a store."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from exlab_store.benching.contender import READY, contend, encoded
from exlab_store.benching.figures import crowd_of
from exlab_store.errors import StoreError
from exlab_store.opening.interpreter import own_interpreter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import IO, Self

    from exlab_store.benching.contender import Job, Place, Turns
    from exlab_store.benching.figures import Crowd
    from exlab_store.store import Store

__all__ = ["Processes", "contended_by_threads", "crowd_after"]

_PROGRAM = "from exlab_store.benching.contender import serve; serve()"
_LAST_WORDS = 3.0


class Processes:
    """Processes that want a lock at the same time, with the store open as long as the context.

    Args:
        number: How many there are at most.
        place: Where the lock is.
    """

    def __init__(self, number: int, place: Place) -> None:
        self._number = number
        self._place = place
        self._stack = ExitStack()
        self._contenders: list[_Process] = []

    def contended(self, number: int, job: Job) -> list[Turns]:
        """Has some of them do a job at the same time; the others do nothing.

        Args:
            number: The number of contenders.
            job: What each of them does.

        Raises:
            StoreError: One of them could not, or has died.
        """
        contenders = self._contenders[:number]
        for contender in contenders:
            contender.tell(job)
        return [contender.turns() for contender in contenders]

    def __enter__(self) -> Self:
        """Starts them.

        Raises:
            StoreError: One of them cannot open the store.
        """
        with ExitStack() as stack:
            for _ in range(self._number):
                self._contenders.append(stack.enter_context(_Process()))
            # Only now, when all of them would be ended: one that nobody knows of must not open the store.
            for contender in self._contenders:
                contender.tell(self._place)
            for contender in self._contenders:
                contender.await_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(exc_type, exc, traceback)


def contended_by_threads(number: int, job: Job, store: Store, key: str) -> list[Turns]:
    """Has threads of this process do a job at the same time.

    Args:
        number: The number of contenders.
        job: What each of them does.
        store: The store that they share.
        key: The document whose lock they want.

    Raises:
        StoreError: One of them could not.
    """
    turns: list[Turns] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def work() -> None:
        try:
            turns.append(contend(job, store, key, stop.is_set))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(number)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        # An interruption may strike inside `start`: a thread that has a number runs, whether or not `start` returned.
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if failures:
        raise failures[0]
    return turns


def crowd_after(rounds: Sequence[Sequence[Turns]]) -> Crowd:
    """The figures of a crowd.

    Args:
        rounds: What became of the job, of each round and each contender in it; the same contenders in all rounds.
    """
    seconds = sum(max(each.ended for each in turns) - min(each.began for each in turns) for turns in rounds)
    waits = [[wait for each in turns for wait in each.waits] for turns in zip(*rounds, strict=True)]
    return crowd_of(waits, seconds)


class _Process:
    """A contender in a process of its own, which ends when the context does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this very interpreter
            [own_interpreter(), "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # The terminal's Ctrl-C is for the one who measures.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def tell(self, message: Place | Job) -> None:
        """Sends a message, on standard input: arguments are visible to others on a machine."""
        # One that has died is heard of through its answer.
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(encoded(message))
                self._process.stdin.flush()

    def await_ready(self) -> None:
        """Waits until it has opened the store."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        line = self._process.stdout.readline()
        if line != READY:
            self._judge(io.BytesIO(line + self._process.stdout.read()))

    def turns(self) -> Turns:
        """What became of the job, when its time is over."""
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        return self._judge(self._process.stdout)

    def _judge(self, answers: IO[bytes]) -> Turns:
        try:
            done, result = pickle.load(answers)  # noqa: S301  # from a process that we started
        except (pickle.UnpicklingError, EOFError) as error:
            raise StoreError("a process that should compete for the lock has died") from error
        if not done:
            raise result
        turns: Turns = result
        return turns

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
