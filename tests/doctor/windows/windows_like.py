"""A backend that does not replace a document while another process has it open, as Windows servers do."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "testing" / "broken"))
from reference_files import FileBackend

from exlab_store import BackendUnavailable, Expectation, HeldLock, Location, Version, hookimpl

PATIENCE = 10.0


class WindowsLike(FileBackend):
    """It waits until the document is closed, or refuses at once."""

    def __init__(self, root: str, *, waits: bool) -> None:
        super().__init__(root)
        self.waits = waits

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        deadline = time.monotonic() + PATIENCE
        while _is_open_elsewhere(self.path(key)):
            if not self.waits or time.monotonic() > deadline:
                raise BackendUnavailable("somebody has the document open", exhausted=True)
            time.sleep(0.005)
        return super().atomic_write(key, data, expect, lock)


def _is_open_elsewhere(path: str) -> bool:
    if not path.endswith("held-open.json"):
        return False  # looking through all processes takes its time
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != os.readlink("/proc/self"):
            try:
                if any(os.readlink(file) == path for file in (process / "fd").iterdir()):
                    return True
            except OSError:
                continue
    return False


def open_backend(location: Location, options: Mapping[str, object]) -> WindowsLike:
    """``windows://waits/<directory>`` or ``windows://refuses/<directory>``."""
    return WindowsLike(location.path, waits=location.host == "waits")
