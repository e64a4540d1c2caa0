"""The same work by hand, without a store: the reference for a store's times.

A write is the fewest system calls that promise the same. A read is Python's ``open().read()``, as most would write it,
and not the fewest calls. A lock excludes others, and notes nowhere who has it.
"""

from __future__ import annotations

import os
import sys

__all__ = ["AVAILABLE", "BareFiles", "bare_lock"]

AVAILABLE = sys.platform != "win32"
"""Whether this system has the calls: flock, and fsync of a directory."""

if sys.platform != "win32":
    import fcntl

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)


class BareFiles:
    """A directory, by hand: no checks, no errors of its own, nothing that others could see of a lock.

    Args:
        directory: An existing directory.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def write(self, name: str, data: bytes) -> None:
        """Temporary file, write, fsync, rename, fsync of the directory: the least that survives a power cut."""
        temporary = f"{self._directory}/{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC, 0o666)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(temporary, f"{self._directory}/{name}")
        descriptor = os.open(self._directory, os.O_RDONLY | _DIRECTORY | _CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)

    def read(self, name: str) -> bytes:
        """The whole file, by ``open().read()``."""
        with open(f"{self._directory}/{name}", "rb") as file:
            return file.read()

    def lock(self, name: str) -> int:
        """Waits for the lock; closing the descriptor releases it."""
        return bare_lock(f"{self._directory}/{name}")

    def lock_and_release(self, name: str) -> None:
        """Takes the lock and gives it back."""
        descriptor = os.open(f"{self._directory}/{name}", os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o666)
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.close(descriptor)

    def update(self, name: str, data: bytes) -> None:
        """Reads and writes under the lock."""
        descriptor = self.lock(f"{name}.lock")
        try:
            self.read(name)
            self.write(name, data)
        finally:
            os.close(descriptor)


def bare_lock(path: str) -> int:
    """Opens a file and waits for its flock.

    Args:
        path: The file; it is made if it is missing.

    Returns:
        The descriptor, whose closing releases the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o666)
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
