"""The worker processes of a demo: started together, ended together, and none that dies is overlooked."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from exlab_store.cli.demo.messages import GO, READY, Job, Report, encoded
from exlab_store.cli.demo.verdict import Ended
from exlab_store.opening.interpreter import own_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import IO, Self

__all__ = ["Crew"]

_START = 60.0

# A worker that waits for a lock or for a server gives up by itself before this.
_LINGER = 90.0
_LAST_WORDS = 3.0
_TICK = 0.1


class _Process:
    """A worker and the thread that listens to it."""

    def __init__(self, job: Job, heard: queue.Queue[_Process]) -> None:
        self.job = job
        self.ready = False
        self.ended: Ended | None = None
        self._heard = heard
        # A file takes whatever a dying interpreter has to say, without anybody reading meanwhile.
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # for as long as it lives
        self._process = subprocess.Popen(  # noqa: S603  # this program
            [own_interpreter(), "-P", "-m", "exlab_store.cli.demo.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            # The terminal's Ctrl-C is for the demo, which ends its workers in order.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._tell(job)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def go(self) -> None:
        self._tell(GO)

    def stop(self) -> None:
        """Says that it is over: standard input ends."""
        with suppress(OSError):
            self._stdin.close()

    def kill(self) -> None:
        self._process.kill()

    def join(self, timeout: float) -> None:
        self._listener.join(timeout)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        return self._process.stdin

    def _tell(self, message: Job | bytes) -> None:
        # One that has died is heard of through its end.
        with suppress(OSError):
            self._stdin.write(message if isinstance(message, bytes) else encoded(message))
            self._stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        report: Report | None = None
        with self._process.stdout as answers:
            for line in answers:
                if line == READY:
                    self.ready = True
                    self._heard.put(self)
                    continue
                with suppress(msgspec.DecodeError):
                    report = msgspec.json.decode(line, type=Report)
        code = self._process.wait()
        self.stop()
        cause = "" if report is not None else self._cause(code)
        self._complaints.close()
        self.ended = Ended(self.job.role, self.job.number, report, cause)
        self._heard.put(self)

    def _cause(self, code: int) -> str:
        if code < 0:
            with suppress(ValueError):
                return f"ended by {signal.Signals(-code).name}"
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it did not say why")
        return f"exit code {code}: {last}"


class Crew:
    """The processes of one demo; as a context manager, it leaves none behind.

    Args:
        jobs: What each is to do.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._heard: queue.Queue[_Process] = queue.Queue()
        self._processes: list[_Process] = []

    def work(self, seconds: float, tick: Callable[[float], None]) -> list[Ended]:
        """Starts all, lets them begin at the same time, and waits for their reports.

        Args:
            seconds: How long they work.
            tick: Called about ten times a second with the seconds since they began; 0 until then.

        Returns:
            What each has done, in the order of the jobs; one that died has no report.
        """
        for job in self._jobs:
            self._processes.append(_Process(job, self._heard))
        self._wait(_START, lambda process: process.ready or process.ended is not None, lambda: tick(0.0))
        for process in self._processes:
            process.go()
        begin = time.monotonic()
        self._wait(
            seconds + _LINGER,
            lambda process: process.ended is not None,
            lambda: tick(time.monotonic() - begin),
        )
        return [
            process.ended or Ended(process.job.role, process.job.number, None, "it did not end in time")
            for process in self._processes
        ]

    def _wait(self, seconds: float, enough: Callable[[_Process], bool], tick: Callable[[], None]) -> None:
        deadline = time.monotonic() + seconds
        while not all(map(enough, self._processes)) and time.monotonic() < deadline:
            with suppress(queue.Empty):
                self._heard.get(timeout=_TICK)
            tick()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.stop()
        deadline = time.monotonic() + _LAST_WORDS
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.ended is None:
                process.kill()
                process.join(_LAST_WORDS)
