"""The requests that a client process of the doctor answers."""

from __future__ import annotations

import gc
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.clients import work
from exlab_store.clients.requests import on_store
from exlab_store.doctor import tasks
from exlab_store.doctor.bypass import NO_FOLDER
from exlab_store.doctor.file_requests import FileRequests
from exlab_store.doctor.findings import Latencies
from exlab_store.doctor.machines.serving import MachineRequests
from exlab_store.doctor.watch_requests import WatchRequests
from exlab_store.errors import DocumentNotFound, StoreError
from exlab_store.signal_handlers import mode_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.model import Leftover

__all__ = ["DoctorRequests"]

_DESCRIPTORS = "/dev/fd"
_PATIENCE = 5.0


class DoctorRequests(MachineRequests, FileRequests, WatchRequests):
    """Each public method is a request."""

    def touch(self) -> None:
        """Asks the place anything, to see whether it answers."""
        with suppress(DocumentNotFound):
            self.store.read_snapshot("exlab-store-doctor")

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
        """See `work.swap_up`."""
        return work.swap_up(self.store, key, seconds, 1, _PATIENCE)

    def read_sealed(self, key: str, seconds: float) -> work.Reads:
        """See `work.read_sealed`."""
        end = time.monotonic() + seconds
        return work.read_sealed(self.store, key, lambda: time.monotonic() > end, 3)

    write_sealed = on_store(tasks.write_sealed)
    make_sealed = on_store(tasks.make_sealed)
    read_made = on_store(tasks.read_made)
    versions_of = on_store(tasks.versions_of)
    replace_seen = on_store(tasks.replace_seen)
    delete_seen = on_store(tasks.delete_seen)
    write_and_delete = on_store(tasks.write_and_delete)

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
            return len(os.listdir(_DESCRIPTORS)) if stat.S_ISDIR(mode_at(_DESCRIPTORS)) else 0

        before = work()
        return [work() for _ in range(times)][-1] - before

    def _without_folder(self, folder: str) -> bool:
        """Whether the store itself shows and removes folders, and this one is not there any more."""
        try:
            self.store.delete_folder(folder)
        except DocumentNotFound:  # where a folder goes with its last document
            return True
        except StoreError:
            return False
        return True

    def clear(self, folder: str, keys: list[str]) -> bool:
        """Deletes the documents of the doctor, and its folder where that is possible: False if that stays."""
        if self.store.guarantees.lists:
            keys = self.store.list_keys(folder)
        if self.store.guarantees.deletes:
            for key in keys:
                with suppress(DocumentNotFound):
                    self.store.delete(key)
        if isinstance(self._bypass, str):
            return self._bypass == NO_FOLDER or self._without_folder(folder)
        try:
            self._bypass.remove(folder)
        except Exception:  # of any kind; what stays is reported
            return False
        return True
