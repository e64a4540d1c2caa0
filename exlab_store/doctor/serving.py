"""The client process: it opens the store on its own, and does what it is told over a pipe.

Requests and answers are pickles: both ends are this package. The location, with whatever secret it has, travels the
same way, as arguments and environments are visible to others on a machine.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.doctor import tasks
from exlab_store.doctor.bypass import NO_FOLDER
from exlab_store.doctor.file_requests import FileRequests
from exlab_store.doctor.findings import Latencies
from exlab_store.doctor.machines.serving import MachineRequests
from exlab_store.errors import DocumentNotFound, StoreError
from exlab_store.model import ABSENT, ANY, Leftover, Version

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["serve"]

_DESCRIPTORS = "/dev/fd"
_REPORT = "Report it to the backend's author."


class ClientSide(MachineRequests, FileRequests):
    """What a client process can be asked for: each public method is a request."""

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

    def swap_up(self, key: str, seconds: float) -> tuple[int, int]:
        """See `tasks.swap_up`."""
        return tasks.swap_up(self.store, key, seconds)

    def write_sealed(self, key: str, client: str, seconds: float, threads: int) -> int:
        """See `tasks.write_sealed`."""
        return tasks.write_sealed(self.store, key, client, seconds, threads)

    def read_sealed(self, key: str, seconds: float) -> tasks.Reads:
        """See `tasks.read_sealed`."""
        return tasks.read_sealed(self.store, key, seconds)

    def make_sealed(self, folder: str, seconds: float, conditional: bool) -> int:
        """See `tasks.make_sealed`."""
        return tasks.make_sealed(self.store, folder, seconds, conditional)

    def read_made(self, folder: str, seconds: float) -> tuple[int, int]:
        """See `tasks.read_made`."""
        return tasks.read_made(self.store, folder, seconds)

    def versions_of(self, key: str, data: bytes, seconds: float) -> set[Version]:
        """See `tasks.versions_of`."""
        return tasks.versions_of(self.store, key, data, seconds)

    def replace_seen(self, key: str, seconds: float) -> set[bytes]:
        """See `tasks.replace_seen`."""
        return tasks.replace_seen(self.store, key, seconds)

    def delete_seen(self, key: str, seconds: float) -> set[bytes]:
        """See `tasks.delete_seen`."""
        return tasks.delete_seen(self.store, key, seconds)

    def write_and_delete(self, key: str, seconds: float) -> int:
        """See `tasks.write_and_delete`."""
        return tasks.write_and_delete(self.store, key, seconds)

    def look(self, folder: str, seconds: float) -> None:
        """Lists the lock files and temporary files below a folder, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.store.list_leftovers(folder)

    def descriptors_after(self, key: str, times: int, locks: bool) -> int:
        """By how many open descriptors this process has more after so many writes, reads and locks than after one."""

        def work() -> int:
            self.store.atomic_write(key, b"1")
            self.store.read_snapshot(key)
            if locks:
                self.store.update(key, lambda current: current or b"")
            gc.collect()
            return len(os.listdir(_DESCRIPTORS)) if os.path.isdir(_DESCRIPTORS) else 0

        before = work()
        return [work() for _ in range(times)][-1] - before

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
        except Exception as error:  # a backend's own, past the store; its text may show what it was given
            answer = (False, StoreError(f"`{name}` raised {type(error).__name__}", hint=_REPORT))
        answers.write(pickle.dumps(answer))
        answers.flush()
    client.close()
