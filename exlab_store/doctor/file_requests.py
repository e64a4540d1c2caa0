"""The requests of the doctor for files of a store, past the store."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import closing

from exlab_store.clients.requests import StoreRequests
from exlab_store.doctor.bypass import Bypass, Open, find_bypass, time_flushes
from exlab_store.errors import NotSupported
from exlab_store.hidden_location import is_name
from exlab_store.opening.configuration import named_store

__all__ = ["FileRequests"]


class FileRequests(StoreRequests):
    """Each public method is a request."""

    def __init__(self) -> None:
        super().__init__()
        self._bypass: Bypass | str = "it was not looked for"
        self._held: Open | None = None

    @property
    def bypass(self) -> Bypass:
        """The other way to its files."""
        if isinstance(self._bypass, str):
            raise NotSupported(f"there is no way to the files but the store: {self._bypass}")
        return self._bypass

    def find_bypass(self, folder: str) -> tuple[bool, str]:
        """Whether there is another way to the files, and the store's directory or the reason why there is none."""
        location = self.store.location
        if location is None:
            raise RuntimeError("the store has no location")
        named = is_name(self._location)
        options = named_store(os.fspath(self._location), self._config)[0].options if named else {}
        self._bypass = find_bypass(location, options, folder)
        if isinstance(self._bypass, str):
            return False, self._bypass
        directory = self._bypass.directory
        return True, os.path.realpath(directory, strict=True) if directory else ""

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

    def room(self) -> tuple[int, int, int, int] | None:
        """The free and all bytes, and the free and all files, which are 0 and 0 where nothing bounds their number."""
        directory = None if isinstance(self._bypass, str) else self._bypass.directory
        if directory is None:
            return None
        if sys.platform == "win32":
            usage = shutil.disk_usage(directory)
            return usage.free, usage.total, 0, 0
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize, status.f_favail, status.f_files

    def modes(self, key: str) -> tuple[int, int]:
        """The mode of a document and that of the store's folder, where they have paths."""
        directory = self.bypass.directory or ""
        return os.stat(os.path.join(directory, key)).st_mode, os.stat(directory).st_mode

    def plant(self, folder: str, count: int, seconds: float) -> int:
        """Makes empty files in a folder that is there, as long as there is time; returns how many."""
        end = time.monotonic() + seconds
        for number in range(count):
            if time.monotonic() > end:
                return number
            with closing(self.bypass.open_to_write(f"{folder}/{number}.json")):
                pass
        return count

    def remove_folder(self, folder: str) -> None:
        """Removes a folder of the doctor with all that is in it."""
        self.bypass.remove(folder)
