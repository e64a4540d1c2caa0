"""Calls in threads of their own, under a watchdog: what waits for ever is a failure, not a hang."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["Hangs", "Started", "ending_after", "together", "within"]

T = TypeVar("T")


class Hangs(AssertionError):
    """A call has not ended in the time that it had."""


class Started(Generic[T]):
    """A call that runs in a thread of its own, which does not keep the process alive.

    Args:
        call: What to run.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # it is raised again where the result is asked for
            self._error = error

    @property
    def ended(self) -> bool:
        """Whether the call has ended, however it did."""
        return not self._thread.is_alive()

    def result(self, seconds: float) -> T:
        """What the call returned; raises what it raised.

        Args:
            seconds: How long to wait for its end.

        Raises:
            Hangs: It has not ended by then.
        """
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise Hangs(f"the call has not returned after {seconds:g} s")
        if self._error is not None:
            raise self._error
        return self._results[0]


def within(seconds: float, call: Callable[[], T]) -> T:
    """Runs a call that must end in time.

    Args:
        seconds: How long it may take.
        call: What to run; it runs in another thread.

    Raises:
        Hangs: It has not ended by then.
    """
    return Started(call).result(seconds)


def together(calls: Iterable[Callable[[], T]], seconds: float) -> list[T]:
    """Runs calls at the same time, each in a thread of its own.

    Args:
        calls: What to run.
        seconds: How long each may take.

    Returns:
        What they returned, in their order. If some raised, the first of their errors is raised instead.

    Raises:
        Hangs: One has not ended by then.
    """
    waiting = list(calls)
    gate = threading.Barrier(len(waiting))

    def after_the_gate(call: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            gate.wait()
            return call()

        return run

    started = [Started(after_the_gate(call)) for call in waiting]
    return [each.result(seconds) for each in started]


@contextmanager
def ending_after(seconds: float) -> Generator[None]:
    """Interrupts a block of the main thread that goes on for too long, where the system has timers for that.

    Args:
        seconds: How long it may take.

    Raises:
        Hangs: It took longer.
    """
    if (
        sys.platform == "win32"
        or threading.current_thread() is not threading.main_thread()
        or signal.getitimer(signal.ITIMER_REAL)[0] > 0  # somebody else's watchdog is at work
    ):
        yield
        return

    def interrupt(*_: object) -> None:
        raise Hangs(f"the test has not ended after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
