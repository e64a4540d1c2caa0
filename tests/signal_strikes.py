"""A handler of signals that raises, at every moment at which Python may run one."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Alarm", "TimeUp", "striking"]

PACKAGE_AND_PATHS = ("exlab_store", "genericpath", "posixpath")  # the latter two are `os.path`


class TimeUp(TimeoutError):
    """What job queues raise, and an `OSError` as those of the file system are."""


class Alarm:
    """A handler of SIGALRM that raises once for each time it is set."""

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.is_set:
            self.is_set = False
            raise TimeUp("my time is over")


@contextmanager
def striking(
    alarm: Alarm,
    moment: int,
    *,
    lines: bool = False,
    modules: tuple[str, ...] = PACKAGE_AND_PATHS,
) -> Iterator[list[str]]:
    """Has the handler run at one of the moments at which Python may run it: after calls, and where functions begin.

    Args:
        alarm: The handler.
        moment: Which one, counted from 1.
        lines: At the beginnings of lines instead.
        modules: How the names of the modules begin that are struck.

    Yields:
        Where that was; empty if there are fewer moments.
    """
    where: list[str] = []
    passed = 0

    def watch(frame: FrameType, event: str, argument: object) -> None:
        nonlocal passed
        if event not in {"call", "c_return"} or not frame.f_globals.get("__name__", "").startswith(modules):
            return
        if event == "call" and frame.f_code.co_name == "<genexpr>":
            return  # one that is closed before its end is called too, and what is raised in it then goes nowhere
        caller: FrameType | None = frame
        while caller is not None:
            if caller.f_code.co_name == "__del__":
                return  # what is raised in one goes nowhere
            caller = caller.f_back
        passed += 1
        if passed == moment:
            sys.setprofile(None)
            sys.settrace(None)
            called = getattr(argument, "__qualname__", "")
            where.append(f"{frame.f_code.co_qualname}:{frame.f_lineno} {event} {called}")
            alarm.is_set = True
            alarm(signal.SIGALRM, frame)

    def trace(frame: FrameType, event: str, argument: object) -> object:
        if event == "line":
            watch(frame, "call", argument)
        return trace

    (sys.settrace if lines else sys.setprofile)(trace if lines else watch)
    try:
        yield where
    finally:
        sys.setprofile(None)
        sys.settrace(None)
