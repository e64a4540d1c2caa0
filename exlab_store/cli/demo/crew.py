"""The worker processes of a demo: started together, ended together, and none that dies is overlooked."""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from exlab_store.cli.demo.report import Report
from exlab_store.cli.demo.verdict import WorkerEnd
from exlab_store.cli.demo.worker import WorkerRequests
from exlab_store.clients.client import ClientGone, NoAnswer
from exlab_store.clients.process import ClientProcess, end_all
from exlab_store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import IO, Self

    from exlab_store.cli.demo.folder import DemoFolder
    from exlab_store.cli.demo.report import Role

__all__ = ["Crew"]

T = TypeVar("T")

_START = 60.0

# A worker that waits for a lock or for a server gives up by itself before this.
_LINGER = 90.0
_TICK = 0.1


class _WorkerProcess:
    """One of the crew."""

    def __init__(self, role: Role, number: int) -> None:
        self.role: Role = role
        self.number = number
        self.end: WorkerEnd | None = None
        # A file takes whatever a dying interpreter has to say, without anybody reading meanwhile.
        self.complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as it lives
        self.client = ClientProcess(WorkerRequests, _TICK, start=_TICK, complaints=self.complaints)

    def await_answer(self, answer: Callable[[], T], until: float, tick: Callable[[], None]) -> T | None:
        """What it answers; None if it has ended, or must not take longer.

        Args:
            answer: Asks for the answer and raises `NoAnswer` as long as there is none.
            until: By when there must be one, by `time.monotonic`.
            tick: Called as long as there is none.
        """
        while self.end is None:
            try:
                return answer()
            except NoAnswer:
                if time.monotonic() > until:
                    self._ended(None, "it did not end in time")
                tick()
            except ClientGone as gone:
                self._ended(None, self._cause(gone.code))
            except StoreError as error:
                self._ended(Report(fault=str(error)))
        return None

    def report(self, until: float, tick: Callable[[], None]) -> WorkerEnd:
        """What it has done in the end.

        Args:
            until: As for `await_answer`.
            tick: As for `await_answer`.
        """
        report: Report | None = self.await_answer(self.client.answer, until, tick)
        return self.end or self._ended(report)

    def _ended(self, report: Report | None, cause: str = "") -> WorkerEnd:
        self.end = WorkerEnd(self.role, self.number, report, cause)
        return self.end

    def _cause(self, code: int | None) -> str:
        with suppress(ValueError, TypeError):
            return f"ended by {signal.Signals(-code).name}"  # type: ignore[operator]  # None is a TypeError
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it did not say why")
        return f"exit code {code}: {last}"


class Crew:
    """The processes of one demo; as a context manager, it leaves none behind.

    Args:
        writers: How many write.
        readers: How many read.
    """

    def __init__(self, writers: int, readers: int) -> None:
        self._members: list[tuple[Role, int]] = [
            *(("writer", number + 1) for number in range(writers)),
            *(("reader", number + 1) for number in range(readers)),
        ]
        self._processes: list[_WorkerProcess] = []

    def work(self, folder: DemoFolder, seconds: float, tick: Callable[[float], None]) -> list[WorkerEnd]:
        """Starts all, lets them begin at the same time, and waits for their reports.

        Args:
            folder: Where.
            seconds: How long they work.
            tick: Called about ten times a second with the seconds since they began; 0 until then.

        Returns:
            What each has done, first the writers; one that died has no report.
        """
        for role, number in self._members:
            self._processes.append(_WorkerProcess(role, number))
            self._processes[-1].client.open(folder.location)
        begin = time.monotonic()
        for process in self._processes:
            client = process.client
            process.await_answer(lambda client=client: client.opened, begin + _START, lambda: tick(0.0))  # type: ignore[misc]
        for process in self._processes:
            if process.end is None:
                process.client.send(
                    "work", role=process.role, number=process.number, folder=folder.key, seconds=seconds
                )
        begin = time.monotonic()
        until = begin + seconds + _LINGER
        return [process.report(until, lambda: tick(time.monotonic() - begin)) for process in self._processes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end_all(process.client for process in self._processes)
        for process in self._processes:
            process.complaints.close()
