"""A command that is ended from outside leaves no process and no folder behind."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exlab_store.signal_handlers import ENDING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

__all__ = ["ended_in_order"]


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
