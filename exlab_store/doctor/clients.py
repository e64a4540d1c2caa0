"""Clients of a store: processes of their own that open it independently, can be told what to do, and can be killed."""

from __future__ import annotations

import math
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from exlab_store.hidden_location import HiddenLocation
from exlab_store.opening.interpreter import own_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exlab_store.doctor.opened_store import Opened

__all__ = ["Client", "ClientGone", "NoAnswer", "end_all"]

_START = 20.0
_LAST_WORDS = 3.0
_PROGRAM = "from exlab_store.doctor.serving import serve; serve()"


class NoAnswer(Exception):
    """A client has not answered in time.

    Args:
        request: What it was asked for.
        seconds: How long that was.
    """

    def __init__(self, request: str, seconds: float) -> None:
        super().__init__(f"there was no answer to `{request}` within {max(0.1, seconds):.1f} s")


class ClientGone(Exception):
    """A client process has ended by itself.

    Args:
        request: What it was asked for.
        code: Its exit code; None if the process cannot end, as in a system call that does not return.
    """

    def __init__(self, request: str, code: int | None) -> None:
        super().__init__(f"a client process has ended in `{request}` with {code}")


class _Told:
    """A location on its way to the client, whose variables get it hidden again."""

    def __init__(self, location: HiddenLocation) -> None:
        self._location = location

    def __reduce__(self) -> tuple[type[HiddenLocation], tuple[str | os.PathLike[str]]]:
        return HiddenLocation, (self._location.reveal(),)


def _told(argument: object) -> object:
    return _Told(argument) if isinstance(argument, HiddenLocation) else argument


class Client:
    """A process that opens a store.

    Args:
        location: What it opens.
        config: The configuration's file for ``@name``, or None.
        patience: Seconds that an answer may take.
    """

    def __init__(self, location: str | os.PathLike[str], config: str | None, patience: float) -> None:
        self._patience = patience
        self._opened: Opened | None = None
        self._request = ""
        self.deadline = math.inf
        """When the probe that is under way must be over, by `time.monotonic`."""
        self._answers: queue.SimpleQueue[tuple[bool, Any] | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(  # noqa: S603  # this very interpreter
            [own_interpreter(), "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # The terminal's Ctrl-C is for the doctor, which ends its clients in order.
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._tell("open", location=location, config=config, pid=os.getpid())

    @property
    def opened(self) -> Opened:
        """What it has opened; waits until it has.

        Raises:
            StoreError: It could not.
        """
        opened = self._opened
        if opened is None:
            opened = self._opened = self.answer(_START)
        return cast("Opened", opened)

    def send(self, request: str, **arguments: object) -> None:
        """Tells the client to do something; `answer` gives what comes of it.

        Args:
            request: The name of a method of `serving.ClientSide`.
            arguments: Its arguments.

        Raises:
            StoreError: The store cannot be opened.
        """
        _ = self.opened  # the first answer is about that
        self._tell(request, **arguments)

    def _tell(self, request: str, **arguments: object) -> None:
        self._request = request
        stream = self._process.stdin
        with suppress(OSError):  # one that has gone is heard of through its answer
            if stream is not None:
                stream.write(pickle.dumps((request, {name: _told(value) for name, value in arguments.items()})))
                stream.flush()

    def answer(self, seconds: float | None = None) -> Any:
        """What comes of the last request.

        Args:
            seconds: How long that may take; None for the client's patience.

        Raises:
            StoreError: What the store raised.
            NoAnswer: It took too long.
            ClientGone: The process has ended.
        """
        limit = min(self._patience if seconds is None else seconds, max(0.0, self.deadline - time.monotonic()))
        try:
            answer = self._answers.get(timeout=limit)
        except queue.Empty:
            raise NoAnswer(self._request, limit) from None
        if answer is None:
            raise ClientGone(self._request, self._gone())
        done, result = answer
        if not done:
            raise result
        return result

    def ask(self, request: str, /, **arguments: Any) -> Any:
        """Sends and waits for the answer.

        Args:
            request: As for `send`.
            arguments: As for `send`.
        """
        self.send(request, **arguments)
        return self.answer()

    def kill(self) -> None:
        """Ends the process as a crash would: it does nothing any more."""
        self._process.kill()
        self._gone()
        self._listener.join(_LAST_WORDS)
        self._close_input()

    def end(self) -> None:
        """Ends the process in peace, or by force if it does not go."""
        self._close_input()
        try:
            self._process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._listener.join(_LAST_WORDS)

    def _gone(self) -> int | None:
        # A process that stands in a call of a dead mount does not even end when it is killed.
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_LAST_WORDS)
        return None

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def _listen(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        # What cannot be read is what a killed process had no time to write.
        with stream, suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                self._answers.put(pickle.load(stream))  # noqa: S301  # from a process that we started
        self._answers.put(None)


class _Ends(Protocol):
    def end(self) -> None: ...


def end_all(clients: Iterable[_Ends]) -> None:
    """Ends several clients; those that are slow to go do so at the same time.

    Args:
        clients: The clients to end.
    """
    enders = [threading.Thread(target=client.end) for client in clients]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()
