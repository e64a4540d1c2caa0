"""Ctrl-C and its like: the first one ends what is measured, and the next one does not end what is cleaned up then."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exlab_store.signal_handlers import ENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType, TracebackType
    from typing import Any, Self

__all__ = ["PATIENCE", "Interruptions"]

PATIENCE = 1.0
"""Seconds: more than the removal of a few files takes, and less than somebody waits without wondering."""

_NUMBERS = (signal.SIGINT, *ENDING)


class Interruptions:
    """Signals that raise something, put off as long as the context is open, except where they are allowed.

    The first one that is put off takes effect when the context ends, unless an error is on its way already. One that
    comes `PATIENCE` after that or later is not put off: a storage that does not answer keeps nobody. In threads other
    than the main one, which get no signals, nothing changes.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._allowed = False
        self._put_off: list[int] = []
        self._patient_until = 0.0

    @contextmanager
    def allowed(self) -> Generator[None]:
        """Lets one through, at once; whatever comes after that one is put off again."""
        self._allowed = True
        try:
            if self._put_off:
                self._take(self._put_off.pop(), None)
            yield
        finally:
            self._allowed = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._allowed:
            self._allowed = False  # by the time that it raises: nothing can come in between
            self._handlers[number](number, frame)
            self._allowed = True
            return
        if not self._put_off:
            self._put_off.append(number)
            self._patient_until = time.monotonic() + PATIENCE
        elif time.monotonic() >= self._patient_until:
            self._handlers[number](number, frame)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._take)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if exc_type is None and self._put_off:
            number = self._put_off[0]
            self._handlers[number](number, None)
