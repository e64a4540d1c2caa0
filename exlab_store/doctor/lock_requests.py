"""The requests of the doctor for locks."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from exlab_store.clients import work
from exlab_store.clients.requests import StoreRequests
from exlab_store.errors import InvalidKey, StoreError

if TYPE_CHECKING:
    from exlab_store.clients.witness import Hold
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Version

__all__ = ["LockRequests", "Waited"]

_WAIT = 10.0


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


class LockRequests(StoreRequests):
    """Each public method is a request."""

    def __init__(self) -> None:
        super().__init__()
        self._lock: StoreLock | None = None
        self._writer: threading.Thread | None = None

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

    def release_elsewhere(self) -> None:
        """Releases the lock in another thread than the one that took it."""
        releasing = threading.Thread(target=self.release)
        releasing.start()
        releasing.join()

    def try_locks(self, key: str, seconds: float) -> int:
        """Takes a lock again and again without waiting for it; returns how often it was refused."""
        refused = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.store.lock(key, timeout=0, purpose="doctor").release()
            except StoreError as error:
                if error.code != "lock_timeout":
                    raise
                refused += 1
        return refused

    def lockable(self, key: str) -> bool:
        """Whether the lock of a key that may name a folder is free, or there is no such lock."""
        try:
            return self.lock(key, timeout=0).granted
        except InvalidKey:
            return True

    def update_in_vain(self, key: str) -> None:
        """Updates under a key that names a folder, which most storage systems refuse."""
        with suppress(InvalidKey):
            self.store.update(key, lambda current: current or b"0")

    def write_locked(self, key: str, data: bytes) -> Version:
        """Writes under the lock that was taken."""
        return self.store.atomic_write(key, data, lock=self._lock)

    def hold(self, key: str, client: str, seconds: float) -> list[Hold]:
        """See `work.hold`."""
        return work.hold(self.store, key, client, seconds, 3, _WAIT, "doctor")

    def count_up(self, key: str, seconds: float) -> int:
        """See `work.count_up`."""
        return work.count_up(self.store, key, seconds, 3, _WAIT)

    def begin_write_locked(self, key: str, data: bytes) -> None:
        """Begins to write under the lock that was taken."""

        def write() -> None:
            with suppress(StoreError):  # it is refused, or comes to its end before the lock is lost
                self.write_locked(key, data)

        self._writer = threading.Thread(target=write)
        self._writer.start()

    def end_write(self) -> None:
        """Waits until that write has ended, however it did."""
        if self._writer is not None:
            self._writer.join()

    def cut_connections(self) -> int:
        """Ends all network connections of this process, as a cable that is pulled would; returns how many."""
        cut = 0
        for number in _sockets():
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as connection:
                if connection.family in {socket.AF_INET, socket.AF_INET6}:
                    connection.shutdown(socket.SHUT_RDWR)
                    cut += 1
        return cut


def _sockets() -> list[int]:
    found: list[int] = []
    for number in range(3, 256):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                found.append(number)
    return found
