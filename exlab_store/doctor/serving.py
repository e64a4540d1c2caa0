"""The client process: it opens the store on its own, and does what it is told over a pipe.

Requests and answers are pickles: both ends are this package. The location, with whatever secret it has, travels the
same way, as arguments and environments are visible to others on a machine.
"""

from __future__ import annotations

import os
import pickle
import socket
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.doctor import tasks
from exlab_store.doctor.bypass import NO_FOLDER, Bypass, Open, find_bypass, time_flushes
from exlab_store.doctor.findings import Latencies
from exlab_store.errors import DocumentNotFound, NotSupported, StoreError
from exlab_store.guarantees import Guarantees  # noqa: TC001  # msgspec looks at it
from exlab_store.model import ABSENT, ANY, Leftover, Version
from exlab_store.opening.configuration import named_store
from exlab_store.opening.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exlab_store.clients.witness import Hold
    from exlab_store.locks.held import StoreLock
    from exlab_store.store import Store

__all__ = ["Opened", "Waited", "serve"]


class Opened(msgspec.Struct, frozen=True):
    """What a client has opened.

    Attributes:
        location: Where, without secrets.
        of_server: Whether a server keeps it.
        guarantees: What is claimed.
    """

    location: str
    of_server: bool
    guarantees: Guarantees


class Waited(msgspec.Struct, frozen=True):
    """How a wait for a lock went.

    Attributes:
        granted: Whether the lock is held now.
        seconds: How long the wait took.
        at: When it ended, `time.monotonic_ns`.
        holder: Who holds it, where the refusal says so.
    """

    granted: bool
    seconds: float
    at: int
    holder: str


class ClientSide:
    """What a client process can be asked for: each public method is a request."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._lock: StoreLock | None = None
        self._bypass: Bypass | str = "it was not looked for"
        self._held: Open | None = None
        self._options: Mapping[str, Any] = {}

    @property
    def store(self) -> Store:
        """The store that the first request has opened."""
        if self._store is None:
            raise RuntimeError("the first request opens the store")
        return self._store

    @property
    def bypass(self) -> Bypass:
        """The other way to its files."""
        if isinstance(self._bypass, str):
            raise NotSupported(f"there is no way to the files but the store: {self._bypass}")
        return self._bypass

    def open(self, location: str, config: str | None, pid: int) -> Opened:
        """Opens the store; all clients believe to be one process, as those of two hosts or containers may."""
        os.getpid = lambda: pid
        self._store = open_store(location, config=config)
        if location.startswith("@"):
            self._options = named_store(location, config)[0].options
        at = self._store.location
        if at is None:
            raise RuntimeError("the store has no location")
        return Opened(str(at), bool(at.host), self._store.guarantees)

    def close(self) -> None:
        """Closes the store."""
        if self._store is not None:
            with suppress(StoreError):
                self._store.close()

    def touch(self) -> None:
        """Asks the place anything, to see whether it answers."""
        with suppress(DocumentNotFound):
            self.store.read_snapshot("exlab-store-doctor")

    def read(self, key: str) -> tuple[bytes, Version]:
        """A document and its version."""
        snapshot = self.store.read_snapshot(key)
        return snapshot.data, snapshot.version

    def write(self, key: str, data: bytes, expect: Version | None = None) -> Version:
        """Writes, whatever is there or on a condition."""
        return self.store.atomic_write(key, data, expect=ANY if expect is None else expect)

    def create(self, key: str, data: bytes) -> bool:
        """Writes a document that must not exist; False if it does."""
        try:
            self.store.atomic_write(key, data, expect=ABSENT)
        except StoreError as error:
            if error.code != "document_exists":
                raise
            return False
        return True

    def delete(self, key: str, expect: Version | None = None) -> None:
        """Deletes, whatever is there or on a condition."""
        self.store.delete(key, expect=ANY if expect is None else expect)

    def list_keys(self, prefix: str) -> list[str]:
        """The documents below a folder."""
        return self.store.list_keys(prefix)

    def list_while(self, prefix: str, seconds: float) -> set[str]:
        """All names that were ever listed below a folder."""
        names: set[str] = set()
        end = time.monotonic() + seconds
        while not names or time.monotonic() < end:
            names.update(self.store.list_keys(prefix))
        return names

    def list_leftovers(self) -> list[Leftover]:
        """The lock files and temporary files of the store."""
        return self.store.list_leftovers()

    def lock(self, key: str, timeout: float, cancel_after: float | None = None) -> Waited:
        """Asks for a lock and keeps it."""
        began = time.monotonic()

        def cancelled() -> bool:
            return cancel_after is not None and time.monotonic() - began >= cancel_after

        try:
            self._lock = self.store.lock(key, timeout=timeout, purpose="doctor", cancelled=cancelled)
        except StoreError as error:
            if error.code != "lock_timeout":
                raise
            holder = getattr(error, "holder", None)
            return Waited(False, time.monotonic() - began, time.monotonic_ns(), "" if holder is None else str(holder))
        return Waited(True, time.monotonic() - began, time.monotonic_ns(), "")

    def release(self) -> int:
        """Releases the lock; returns the moment right before, `time.monotonic_ns`."""
        now = time.monotonic_ns()
        if self._lock is not None:
            self._lock.release()
        return now

    def write_locked(self, key: str, data: bytes) -> Version:
        """Writes under the lock that was taken."""
        return self.store.atomic_write(key, data, lock=self._lock)

    def time_operations(self, key: str, data: bytes, seconds: float, locks: bool) -> tuple[Latencies, ...]:
        """Reads, writes and locks one document for so many seconds each."""
        store = self.store
        calls: dict[str, Callable[[], object]] = {
            "write": lambda: store.atomic_write(key, data),
            "read": lambda: store.read_snapshot(key),
        }
        if locks:
            calls["lock"] = lambda: store.lock(key, timeout=10, purpose="doctor").release()
        return tuple(Latencies(name, tasks.timed(call, seconds, 400)) for name, call in calls.items())

    def hold(self, key: str, client: str, seconds: float) -> list[Hold]:
        """See `tasks.hold`."""
        return tasks.hold(self.store, key, client, seconds)

    def count_up(self, key: str, seconds: float) -> int:
        """See `tasks.count_up`."""
        return tasks.count_up(self.store, key, seconds)

    def swap_up(self, key: str, seconds: float) -> tuple[int, int]:
        """See `tasks.swap_up`."""
        return tasks.swap_up(self.store, key, seconds)

    def write_sealed(self, key: str, client: str, seconds: float, threads: int) -> int:
        """See `tasks.write_sealed`."""
        return tasks.write_sealed(self.store, key, client, seconds, threads)

    def read_sealed(self, key: str, seconds: float) -> tasks.Reads:
        """See `tasks.read_sealed`."""
        return tasks.read_sealed(self.store, key, seconds)

    # Past the store.

    def find_bypass(self, folder: str) -> tuple[bool, str]:
        """Whether there is another way to the files, and the store's directory or the reason why there is none."""
        location = self.store.location
        if location is None:
            raise RuntimeError("the store has no location")
        self._bypass = find_bypass(location, self._options, folder)
        if isinstance(self._bypass, str):
            return False, self._bypass
        return True, self._bypass.directory or ""

    def hold_open(self, key: str) -> None:
        """Keeps a document open, as another program would."""
        self._held = self.bypass.hold(key)

    def let_go(self) -> None:
        """Closes it again."""
        if self._held is not None:
            self._held.close()

    def modified(self, key: str) -> float:
        """When a document was written, by the storage's clock."""
        return self.bypass.modified(key)

    def names(self, folder: str) -> list[str]:
        """All names in a folder, whatever the store makes of them."""
        return self.bypass.names(folder)

    def time_flushes(self, key: str, size: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
        """See `bypass.time_flushes`."""
        return time_flushes(self.bypass, key, size, rounds, seconds)

    def take_lock_away(self, key: str) -> bool:
        """Removes the lock file from under its holder."""
        return not isinstance(self._bypass, str) and self._bypass.take_lock_away(key)

    def cut_connections(self) -> int:
        """Ends all network connections of this process, as a cable that is pulled would; returns how many."""
        cut = 0
        for number in _sockets():
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as connection:
                if connection.family in {socket.AF_INET, socket.AF_INET6}:
                    connection.shutdown(socket.SHUT_RDWR)
                    cut += 1
        return cut

    def clear(self, folder: str, keys: list[str]) -> bool:
        """Deletes the documents of the doctor, and its folder where that is possible: False if that stays."""
        if self.store.guarantees.lists:
            keys = self.store.list_keys(folder)
        if self.store.guarantees.deletes:
            for key in keys:
                with suppress(DocumentNotFound):
                    self.store.delete(key)
        if isinstance(self._bypass, str):
            return self._bypass == NO_FOLDER
        try:
            self._bypass.remove(folder)
        except Exception:  # of any kind; what stays is reported
            return False
        return True


def _sockets() -> list[int]:
    found: list[int] = []
    for number in range(3, 256):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                found.append(number)
    return found


def serve() -> None:
    """Does what standard input says until it ends; the module is not run as a program, so that its types have names."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    client = ClientSide()
    while True:
        try:
            name, arguments = pickle.load(requests)  # noqa: S301  # from the process that started this one
        except EOFError:
            break
        try:
            answer = (True, getattr(client, name)(**arguments))
        except StoreError as error:
            answer = (False, error)
        answers.write(pickle.dumps(answer))
        answers.flush()
    client.close()
