"""Clients in processes of their own, which can be told what to do, and killed.

A client reads requests from its standard input, one JSON object a line, and answers each on its standard output.
The location and its options travel the same way, as command lines are visible to everybody on a machine.
"""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.errors import StoreError
from exlab_store.opening.interpreter import own_interpreter
from exlab_store.opening.stores import open_store
from exlab_store.testing.conformance import work
from exlab_store.testing.conformance.running import Started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from exlab_store.clients.witness import Hold
    from exlab_store.locks.held import StoreLock
    from exlab_store.store import Store
    from exlab_store.testing.history import Operation

__all__ = ["ClientProcess"]

_START = 60.0


class _Answer(msgspec.Struct):
    result: Any = None
    error: str = ""


class ClientProcess:
    """Another process that has opened the same storage.

    Args:
        location: What it opens.
        options: The options that belong to it.
        patience: Seconds that an answer may take.
        pid: The process identifier that the client is to believe it has; None for its own. Two hosts, or two
            containers, do have the same one.
        under: A program with arguments that runs the client, such as strace.
    """

    def __init__(
        self,
        location: str,
        options: Mapping[str, object],
        patience: float,
        *,
        pid: int | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self._patience = patience
        self._process = subprocess.Popen(  # noqa: S603  # this very interpreter
            [*under, own_interpreter(), "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self.send("open", location=location, options=dict(options), pid=pid)

    def ready(self) -> Self:
        """Waits until the storage is open."""
        self.answer(_START)
        return self

    def send(self, request: str, **arguments: object) -> None:
        """Tells the client to do something; `answer` gives what comes of it.

        Args:
            request: The name of a method of the class `_Client`.
            arguments: Its arguments.
        """
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError("the client has no standard input")
        stream.write(msgspec.json.encode([request, arguments]) + b"\n")
        stream.flush()

    def answer(self, seconds: float | None = None) -> Any:
        """What the client answers; raises the `StoreError` that it raised.

        Args:
            seconds: How long that may take; None for the harness's patience.
        """
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError("the client has no standard output")
        line = Started(stream.readline).result(self._patience if seconds is None else seconds)
        if not line:
            raise AssertionError(f"the client process has ended with {self._process.wait()}; see its standard error")
        answer = msgspec.json.decode(line, type=_Answer)
        if answer.error:
            raise pickle.loads(base64.b64decode(answer.error))  # noqa: S301  # from a process that we started
        return answer.result

    def ask(self, request: str, **arguments: object) -> Any:
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
        self._process.wait()
        self._close_pipes()

    def end(self) -> None:
        """Ends the process in peace, or by force if it does not answer."""
        self._close_pipes()
        try:
            self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self.kill()

    def _close_pipes(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # what was not sent yet goes to nobody


class _Client:
    """What a client process can do; each method is a request."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._lock: StoreLock | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the first request opens the store")
        return self._store

    def open(self, location: str, options: dict[str, Any], pid: int | None) -> None:
        if pid is not None:
            os.getpid = lambda: pid
        self._store = open_store(location, **options)

    def lock(self, key: str, timeout: float) -> str:
        self._lock = self.store.lock(key, timeout=timeout, purpose="conformance")
        return self._lock.owner.id

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def begin_program(self) -> int:
        # A program gets what descriptors are inheritable: os.system, and much else, closes none.
        command = [own_interpreter(), "-c", "import time; time.sleep(600)"]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, close_fds=False, stdin=quiet, stdout=quiet, stderr=quiet).pid  # noqa: S603

    def read(self, key: str) -> str:
        return self.store.read_snapshot(key).data.decode()

    def write(self, key: str, text: str) -> str:
        return self.store.atomic_write(key, text.encode())

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def update(self, key: str, text: str) -> str:
        return self.store.update(key, lambda _: text.encode())

    def hold(self, key: str, client: str, times: int) -> list[Hold]:
        return work.hold(self.store, key, client, times)

    def write_sealed(self, key: str, client: str, times: int) -> int:
        return work.write_sealed(self.store, key, client, times)

    def increment(self, key: str, times: int) -> None:
        work.increment(self.store, key, times)

    def compare_and_swap(self, key: str, times: int) -> None:
        work.compare_and_swap(self.store, key, times)

    def create(self, key: str, client: str) -> bool:
        return work.create(self.store, key, client)

    def operate(self, key: str, client: str, times: int, swaps: bool, updates: bool) -> list[Operation]:
        return work.operate(self.store, key, client, times, swaps=swaps, updates=updates)


def _answer_to(call: Callable[[], object]) -> _Answer:
    try:
        return _Answer(result=call())
    except StoreError as error:
        return _Answer(error=base64.b64encode(pickle.dumps(error)).decode())


def _serve() -> None:
    client = _Client()
    for line in sys.stdin.buffer:
        request, arguments = msgspec.json.decode(line, type=tuple[str, dict[str, Any]])
        method: Callable[..., object] = getattr(client, request)
        answer = _answer_to(partial(method, **arguments))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
