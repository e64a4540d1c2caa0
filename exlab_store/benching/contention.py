"""A lock that several processes want at the same time, or several threads where processes cannot share a store."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from exlab_store.benching.contender import ContenderRequests, contend
from exlab_store.benching.figures import crowd_of
from exlab_store.clients.client import ClientGone, NoAnswer
from exlab_store.clients.process import ClientProcess
from exlab_store.errors import StoreError
from exlab_store.hidden_location import hides_location

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Sequence
    from types import TracebackType
    from typing import Self

    from exlab_store.benching.contender import Job, Turns
    from exlab_store.benching.figures import Crowd
    from exlab_store.store import Store

__all__ = ["ContendingProcesses", "contended_by_threads", "crowd_after"]

_PATIENCE = 120.0  # seconds, beside those of a job: each takes the lock once more after its time


class ContendingProcesses:
    """Processes that want a lock at the same time, with the store open as long as the context.

    Args:
        number: How many there are at most.
        location: The store's.
        key: The document whose lock it is.
    """

    @hides_location
    def __init__(self, number: int, location: str | os.PathLike[str], key: str) -> None:
        self._number = number
        self._location = location
        self._key = key
        self._stack = ExitStack()
        self._clients: list[ClientProcess] = []

    def contended(self, number: int, job: Job) -> list[Turns]:
        """Has some of them do a job at the same time; the others do nothing.

        Args:
            number: The number of contenders.
            job: What each of them does.

        Raises:
            StoreError: One of them could not, or has died.
        """
        clients = self._clients[:number]
        with _deaths_told():
            for client in clients:
                client.send("contend", job=job, key=self._key)
            return [client.answer(job.seconds + _PATIENCE) for client in clients]

    def __enter__(self) -> Self:
        """Starts them.

        Raises:
            StoreError: One of them cannot open the store.
        """
        with _deaths_told(), ExitStack() as stack:
            for _ in range(self._number):
                self._clients.append(stack.enter_context(ClientProcess(ContenderRequests, _PATIENCE)))
            # Only now, when all of them would be ended: one that nobody knows of must not open the store.
            for client in self._clients:
                client.open(self._location)
            for client in self._clients:
                client.send("prepare", key=self._key)
            for client in self._clients:
                client.answer()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(exc_type, exc, traceback)


@contextmanager
def _deaths_told() -> Generator[None]:
    try:
        yield
    except ClientGone as error:
        raise StoreError("a process that should compete for the lock has died") from error
    except NoAnswer as error:
        raise StoreError("a process that should compete for the lock does not answer") from error


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
            turns.append(contend(store, job, key, stop.is_set))
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
