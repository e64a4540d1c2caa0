"""The process that runs a program many times, each time in a fork of its own that waits to be attached to.

Starting Python and importing a store takes longer than an operation on it, so both are done once. Spoken over
standard input and output, one line each: the place to work in comes in, the fork's process identifier goes out;
on `SIGNAL` the fork acts and its outcome goes out, unless it is killed; on a second one the fork ends, and its exit
status goes out.

The fork waits for signals, as a tracer that attaches to a waiting process may or may not see the call it waits in:
it has to be one that no operation makes, or the ordinals of the others would be wrong.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exlab_store.testing.crash.programs import Program, function_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACKNOWLEDGED", "SIGNAL", "main"]

ACKNOWLEDGED = "acknowledged"
SIGNAL = signal.SIGUSR1


def _say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def _act(function: Callable[..., object], place: Path) -> None:
    steps = function(place)
    next(steps)  # type: ignore[call-overload]
    _say(str(os.getpid()))
    signal.sigwait({SIGNAL})
    try:
        next(steps)  # type: ignore[call-overload]
        outcome = ACKNOWLEDGED
    except BaseException as error:
        outcome = ": ".join((getattr(error, "code", type(error).__name__), " ".join(str(error).split())))
    _say(outcome)
    signal.sigwait({SIGNAL})


def main() -> None:
    """Serves one program until standard input ends."""
    function = function_of(Program(Path(sys.argv[1]), sys.argv[2]))
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                _act(function, Path(line.rstrip("\n")))
            except BaseException as error:
                _say(f"cannot prepare: {error!r}")
            finally:
                # Neither the generator's end nor the interpreter's is part of what is tested.
                os._exit(0)
        _, status = os.waitpid(child, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")
