"""A command that is ended from outside leaves no process and no folder behind, and says nothing of Python's."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exlab_store.signal_handlers import ENDING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

__all__ = ["end_at_next_interrupt", "ended_in_order"]


@contextmanager
def ended_in_order() -> Generator[None]:
    """Whoever ends this process, by closing its terminal or by a time limit, has its ``finally`` blocks run."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # One that is ignored stays so: nohup.
    before = {number: signal.signal(number, end) for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_next_interrupt() -> None:
    """Lets the next Ctrl-C end this process at once, as nothing is left to be put in order.

    Python would raise `KeyboardInterrupt` somewhere in the end of the interpreter, and print it there: so did 18 of 279
    commands to which a second Ctrl-C came within 30 ms of the first. One that is ignored stays so.
    """
    while True:
        try:  # around all of it, and no `suppress`: one that comes here is raised here
            in_main_thread = threading.current_thread() is threading.main_thread()
            if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
        except KeyboardInterrupt:
            continue
        return
