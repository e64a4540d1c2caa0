"""Client processes: started here, told what to do over a pipe, and ended in order or killed."""

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
from typing import TYPE_CHECKING, Any

from exlab_store.clients.client import Client, ClientGone, NoAnswer
from exlab_store.hidden_location import HiddenLocation, hides_location
from exlab_store.opening.interpreter import own_interpreter
from exlab_store.secret import Secret, hidden, without_variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import IO, Self

    from exlab_store.clients.requests import StoreDescription, StoreRequests

__all__ = ["ClientProcess", "end_all"]

_PROGRAM = "from exlab_store.clients.serving import serve; from {module} import {name}; serve({name})"
_START = 60.0
_FAREWELL = 3.0
_KILLED = 3.0

if sys.platform == "win32":
    # Windows knows no sessions. A console's Ctrl-C and Ctrl-Break go to all of its processes: a client has its own.
    _OWN_CONSOLE = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    # There, Ctrl-C does not interrupt a wait for another thread: it takes effect when the wait is over.
    _SLICE = 0.1
else:
    _OWN_CONSOLE = 0
    _SLICE = math.inf


class _Pickler(pickle.Pickler):
    """Writes what is hidden in clear, for the client, whose variables get it hidden again.

    The types themselves refuse to be pickled. Only the pipe to the client has the text.
    """

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, (HiddenLocation, Secret)):
            return type(value), (value.reveal(),)
        return NotImplemented


class ClientProcess(Client):
    """A process that opens a store. As a context manager it is ended in peace, or killed after an error.

    Args:
        requests: The class whose methods it can be asked for.
        patience: Seconds that an answer may take.
        start: Seconds that it may take to start and to open the store.
        farewell: Seconds that it may take to end in peace.
        under: A program with arguments that runs the client, such as strace.
        complaints: Where its standard error goes, as for `subprocess.Popen`.

    Raises:
        NotSupported: This program is a frozen application, which has no Python to start.
    """

    def __init__(
        self,
        requests: type[StoreRequests],
        patience: float,
        *,
        start: float = _START,
        farewell: float = _FAREWELL,
        under: Sequence[str] = (),
        complaints: IO[bytes] | int | None = subprocess.DEVNULL,
    ) -> None:
        super().__init__(patience)
        self._start = start
        self._farewell = farewell
        self._opened: StoreDescription | None = None
        self._request = ""
        self._answers: queue.SimpleQueue[tuple[bool, Any] | None] = queue.SimpleQueue()
        program = _PROGRAM.format(module=requests.__module__, name=requests.__name__)
        self._process = subprocess.Popen(  # noqa: S603  # this very interpreter
            [*under, own_interpreter(), "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            # The terminal's Ctrl-C is for this process, which ends its clients in order.
            start_new_session=True,
            creationflags=_OWN_CONSOLE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @without_variables
    @hides_location
    def open(
        self,
        location: str | os.PathLike[str],
        options: Mapping[str, object] | None = None,
        *,
        config: str | None = None,
        pid: int | None = None,
    ) -> Self:
        """Tells it to open the store, once, and does not wait; it opens nothing before.

        Args:
            location: As `open_store` takes it; hidden as soon as it may have a password.
            options: The backend's own options, each of which may be a password.
            config: The configuration's file for ``@name``; None to look for it.
            pid: The process identifier that the client is to believe it has; None for its own. Two hosts, or two
                containers, do have the same one.
        """
        self._tell("open", location=location, options=hidden(options or {}), config=config, pid=pid)
        return self

    @property
    def opened(self) -> StoreDescription:
        """See `Client`."""
        opened: StoreDescription = self._opened or self.answer(self._start)
        self._opened = opened
        return opened

    def send(self, request: str, **arguments: Any) -> None:
        """See `Client`."""
        _ = self.opened  # the first answer is about that
        self._tell(request, **arguments)

    def _tell(self, request: str, **arguments: object) -> None:
        self._request = request
        stream = self._process.stdin
        # One that has gone is heard of through its answer.
        with suppress(OSError, ValueError):
            if stream is not None:
                _Pickler(stream).dump((request, arguments))
                stream.flush()

    def answer(self, seconds: float | None = None) -> Any:
        """See `Client`."""
        limit = self._limit(seconds)
        end = time.monotonic() + limit
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                answer = self._answers.get(timeout=min(left, _SLICE))
                break
            except queue.Empty:
                if left <= _SLICE:
                    raise NoAnswer(self._request, limit) from None
        if answer is None:
            self._answers.put(None)  # for whoever asks once more
            raise ClientGone(self._request, self._gone(_KILLED))
        done, result = answer
        if not done:
            raise result
        return result

    def kill(self) -> None:
        """See `Client`."""
        self._process.kill()
        self._gone(_KILLED)
        self._listener.join(_KILLED)
        self._close_input()

    def end(self) -> None:
        """See `Client`."""
        self._close_input()
        if self._gone(self._farewell) is None:
            self.kill()
        self._listener.join(_KILLED)

    def _gone(self, seconds: float) -> int | None:
        # A process that stands in a call of a dead mount does not even end when it is killed.
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            self.end()
        else:
            self.kill()


def end_all(clients: Iterable[Client]) -> None:
    """Ends several clients; those that are slow to go do so at the same time.

    Args:
        clients: The clients to end.
    """
    enders = [threading.Thread(target=client.end) for client in clients]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join()
