"""The version of a large document, computed by a second processor while the first hands the document to the disk.

SHA-256 takes 0.6 ms for 1 MiB, as long as the disk takes to store it.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Final

from exlab_store import Version, version_of

__all__ = ["LARGE", "NOT_YET", "PendingVersion", "begin_version"]

LARGE: Final = 512 * 1024
"""Documents of so many bytes gain by it; below, waking the other thread costs what it saves."""

NOT_YET: Final = Version("")
"""Stands for a version that another thread computes."""


class PendingVersion:
    """A version that is being computed. `begin_version` makes one.

    Args:
        data: The whole document.
    """

    __slots__ = ("_computed", "_data", "_version")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._version: Version | None = None
        self._computed = threading.Lock()

    def result(self) -> Version:
        """Waits for the version, or computes it here if nobody else has."""
        with self._computed:
            return self._version or version_of(self._data)

    def hold(self) -> None:
        """Lets `result` wait for `compute`."""
        self._computed.acquire()

    def compute(self) -> None:
        """Computes the version, for whom waits in `result`; only after `hold`."""
        try:
            self._version = version_of(self._data)
        finally:
            self._computed.release()


class _Assistant(threading.Thread):
    """The thread that computes, one document at a time.

    An executor's queue and futures cost as much as was gained: a write of 1 MiB took 1.10 to 1.20 x the raw calls with
    one, and takes 1.00 to 1.10 x.
    """

    def __init__(self) -> None:
        super().__init__(name="exlab-store versions", daemon=True)
        self._free = threading.Lock()
        self._asked = threading.Lock()
        self._asked.acquire()
        self._pending: list[PendingVersion] = []

    def ask(self, pending: PendingVersion) -> None:
        """Has it compute a version, unless it is busy."""
        if self._free.acquire(blocking=False):
            pending.hold()
            self._pending.append(pending)
            self._asked.release()

    def run(self) -> None:
        while True:
            self._asked.acquire()
            pending = self._pending.pop()
            with suppress(Exception):  # who asked finds out, as it computes the version itself then
                pending.compute()
            del pending  # it has the document
            self._free.release()


_starting = threading.Lock()
_assistant: _Assistant | None = None


def _forget_in_child() -> None:
    # The thread does not exist in a forked child.
    global _assistant, _starting
    _assistant = None
    _starting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def begin_version(data: bytes) -> PendingVersion:
    """Begins to compute the version of a document in another thread, if there is one that has the time.

    Args:
        data: The whole document.
    """
    global _assistant
    pending = PendingVersion(data)
    with _starting:
        if _assistant is None:
            assistant = _Assistant()
            try:
                assistant.start()
            except RuntimeError:  # no thread can be started
                return pending
            _assistant = assistant
    _assistant.ask(pending)
    return pending
