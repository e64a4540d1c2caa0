"""A fault at every system call of an operation: the process is killed there, or the call fails.

`Stage.calls` asks strace for a reference: the calls of the operation itself, without those of the interpreter's
start and those for memory. `Stage.run` repeats the operation with one fault at one of them. A kill comes before the
call is carried out, and a call that fails is not carried out either (a failed close leaves its descriptor open, which
the kernel itself never does).
"""

from __future__ import annotations

import enum
import os
import re
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from exlab_store.opening.interpreter import own_interpreter
from exlab_store.testing.crash.requirements import CannotTest, require_linux, require_program
from exlab_store.testing.crash.stage import ACKNOWLEDGED, SIGNAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from exlab_store.testing.crash.programs import Program

__all__ = ["Call", "Fault", "Outcome", "Stage"]

# Not -m: runpy warns of a module that its package has imported already.
_STAGE = "from exlab_store.testing.crash.stage import main; main()"

# What the interpreter asks the kernel for on its own account. A process may be killed there as anywhere else, but
# such a call does not fail with an error of a file system.
_NOT_STORAGE = frozenset(
    "clock_gettime clock_nanosleep exit exit_group futex getegid geteuid getgid getpid getppid getrandom gettid "
    "getuid gettimeofday restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sched_yield sigaltstack uname".split()
)

# How often a process asks for memory depends on its past: an update did so once, and never where a module was read
# from Python's cache. A kill there leaves the same as one at the next call.
_MEMORY = frozenset(("brk", "madvise", "mmap", "mprotect", "mremap", "munmap"))


class Fault(enum.Enum):
    """What happens instead of a system call."""

    KILL = "signal=KILL"
    """The process ends at once, as with ``kill -9``."""

    EIO = "error=EIO"
    """The device does not answer."""

    ENOSPC = "error=ENOSPC"
    """There is no room left."""


class Call(NamedTuple):
    """One system call of an operation.

    Attributes:
        name: As in the kernel's manual: ``fsync``.
        ordinal: The how-manieth call of that name it is, from 1.
        text: As strace shows it, for messages.
    """

    name: str
    ordinal: int
    text: str

    def takes(self, fault: Fault) -> bool:
        """Whether the fault can happen at this call at all.

        Args:
            fault: The fault.
        """
        return fault is Fault.KILL or self.name not in _NOT_STORAGE


class Outcome(NamedTuple):
    """What an operation with a fault came to.

    Attributes:
        acknowledged: It returned.
        error: What it raised: the error's code or type, a colon, and the message; None if it raised nothing.
        killed: Its process was killed before it returned or raised.
    """

    acknowledged: bool
    error: str | None
    killed: bool

    @property
    def code(self) -> str:
        """The error's code, or its type where it has none; empty without an error."""
        return (self.error or "").partition(":")[0]


class Stage:
    """Runs a program's operation again and again, each time with one fault. A context manager.

    Args:
        program: What is run; see ``programs``.

    Raises:
        CannotTest: strace is missing.
    """

    def __init__(self, program: Program) -> None:
        require_linux()
        self._strace = require_program("strace", "strace")
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            [own_interpreter(), "-c", _STAGE, str(program.file), program.function],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    def calls(self, place: Path) -> list[Call]:
        """The system calls of the operation, in order, without a fault; those for memory are left out.

        Args:
            place: The directory the program works in, made ready for it.

        Raises:
            CannotTest: strace may not trace here.
            RuntimeError: The operation fails without any fault.
        """
        with tempfile.TemporaryDirectory() as directory:
            trace = Path(directory, "trace")
            outcome = self._run(place, ["-y", "-o", str(trace)])
            if not outcome.acknowledged:
                raise RuntimeError(f"the operation fails without a fault: {outcome.error}")
            return _parsed(trace.read_text(encoding="utf-8", errors="replace"))

    def run(self, place: Path, call: Call, fault: Fault, while_alive: Callable[[], None] | None = None) -> Outcome:
        """Runs the operation with one fault.

        Args:
            place: The directory the program works in, made ready as for `calls`.
            call: Where the fault happens.
            fault: What happens.
            while_alive: Called when the operation has returned or raised and its process is still there; not
                when it was killed.

        Raises:
            CannotTest: strace may not trace here.
        """
        name = call.name
        inject = f"inject={name}:{fault.value}:when={call.ordinal}"
        return self._run(place, ["-o", os.devnull, "-e", f"trace={name}", "-e", inject], while_alive)

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # a fork may be waiting for us, and the stage for it
        self.close()

    def _run(self, place: Path, options: list[str], while_alive: Callable[[], None] | None = None) -> Outcome:
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        self._process.stdin.write(f"{place}\n".encode())
        answer = self._line()
        if not answer.isdigit():
            raise RuntimeError(f"the program {answer}" if answer else f"the stage ended: {self._process.wait()}")
        child = int(answer)
        tracer = subprocess.Popen(  # noqa: S603  # strace with our own options
            [self._strace, "-f", "-p", answer, *options], stderr=subprocess.PIPE, text=True, errors="replace"
        )
        with tracer:
            assert tracer.stderr is not None  # noqa: S101  # it is a pipe
            said = tracer.stderr.readline()
            if "attached" not in said:
                tracer.kill()
                os.kill(child, SIGNAL)
                self._line()
                os.kill(child, SIGNAL)
                self._line()
                raise CannotTest(f"strace may not attach to processes here; run the tests as root: {said.strip()}")
            os.kill(child, SIGNAL)
            answer = self._line()
            if answer.startswith("ended"):
                return Outcome(acknowledged=False, error=None, killed=True)
            try:
                if while_alive is not None:
                    while_alive()
            finally:
                os.kill(child, SIGNAL)
                self._line()
        acknowledged = answer == ACKNOWLEDGED
        return Outcome(acknowledged=acknowledged, error=None if acknowledged else answer, killed=False)

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        return self._process.stdout.readline().decode().rstrip("\n")


def _parsed(trace: str) -> list[Call]:
    """The calls between the line that says go and the one that acknowledges."""
    counts: dict[str, int] = {}
    calls: list[Call] = []
    for line in trace.splitlines():
        match = re.match(r"(?:\d+\s+)?(\w+)\((.*)", line)
        if match is None:  # the end of a call that another thread interrupted, a signal, an exit
            continue
        name, rest = match.groups()
        if name == "write" and re.match(f'1<[^>]*>, "{ACKNOWLEDGED}', rest):
            break
        if name in _MEMORY or name == "rt_sigtimedwait":  # the latter is the stage's own
            continue
        counts[name] = counts.get(name, 0) + 1
        calls.append(Call(name, counts[name], f"{name}({rest}"))
    return calls
