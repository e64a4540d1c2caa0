"""Calls in threads of their own, under a watchdog: what waits for ever is a failure, not a hang."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Hangs", "Started", "together", "within"]

T = TypeVar("T")


class Hangs(BaseException):
    """A call has not ended in the time that it had.

    It is no `Exception`: nothing between the call and the test may take it for an error of the storage, and Hypothesis
    would repeat what hangs some hundred times to make it smaller.
    """


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
        __tracebackhide__ = True
        try:
            self._results.append(self._call())
        except BaseException as error:  # it is raised again where the result is asked for
            self._error = error

    @property
    def ended(self) -> bool:
        """Whether the call has ended, however it did."""
        return not self._thread.is_alive()

    def ends_within(self, seconds: float) -> bool:
        """Whether the call has ended, or does so soon.

        Args:
            seconds: How long to wait for that.
        """
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stands_at(self) -> str:
        """The last steps of its thread, for the message of a hang."""
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if frame is None:
            return "its thread has ended"
        return "its thread stands at\n" + "".join(traceback.format_stack(frame)[-8:])

    def result(self, seconds: float) -> T:
        """What the call returned; raises what it raised.

        Args:
            seconds: How long to wait for its end.

        Raises:
            Hangs: It has not ended by then.
        """
        __tracebackhide__ = True
        if not self.ends_within(seconds):
            raise Hangs(f"the call has not returned after {seconds:g} s; {self.stands_at()}")
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
