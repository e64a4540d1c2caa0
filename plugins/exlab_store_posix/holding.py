"""The question whether a lock is held, without taking it: to take it for a moment would refuse it to somebody."""

from __future__ import annotations

import os
import struct
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from exlab_store import came_from_signal_handler
from exlab_store_posix.descriptors import Descriptors, discard_all, open_into

if TYPE_CHECKING:
    from exlab_store_posix.mounts import FileSystem
    from exlab_store_posix.processes import ProcessTable

__all__ = ["KernelLocks"]

_OPEN = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)

if sys.platform == "linux":
    import fcntl

    _FLOCK = "@hhqqi4x"  # as in locking.py
    _ASK_BYTE_0 = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)

    def _byte_0_is_locked(descriptor: int) -> bool:
        # Locks of processes (fcntl, lockf) count too: they keep the byte from being locked all the same.
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _ASK_BYTE_0)
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
else:

    def _byte_0_is_locked(descriptor: int) -> bool:
        raise OSError(f"this system does not tell who has locked a byte of {descriptor}")


class KernelLocks:
    """The locks of this machine's kernel at one moment.

    Args:
        processes: Whether all locks are shown to this process.
    """

    def __init__(self, processes: ProcessTable) -> None:
        self._processes = processes

    def hold(self, path: str, kind: FileSystem) -> bool | None:
        """Whether somebody holds the lock of a lock file.

        Args:
            path: The lock file. It is opened for reading, and a symbolic link is not followed.
            kind: The file system that it is on.

        Returns:
            None if nobody can tell: on a network mount the server alone knows, other systems than Linux do not
            say, and in a container the locks of ``flock`` that are held outside are hidden.

        Raises:
            FileNotFoundError: It is gone.
        """
        if sys.platform != "linux":
            return None
        opened = Descriptors()
        try:
            descriptor = open_into(opened, path, _OPEN)
            if kind.is_of_this_machine and _byte_0_is_locked(descriptor):
                return True
            if self._identity(descriptor) in self._flocks:
                return True
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) and not opened  # and not something in /proc
            if gone or came_from_signal_handler(error):
                raise
            return None
        finally:
            discard_all(opened)
        return False if kind.is_of_this_machine and self._processes.sees_all else None

    def _identity(self, descriptor: int) -> tuple[str, int]:
        """The device and the inode as /proc/locks gives them: those of stat(2) differ on btrfs and overlay."""
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
        inode = int(fields["ino"]) if "ino" in fields else os.fstat(descriptor).st_ino
        return self._devices[int(fields["mnt_id"])], inode

    @cached_property
    def _devices(self) -> dict[int, str]:
        """The device of each mount, in hexadecimal."""
        devices: dict[int, str] = {}
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                number, _, device = line.split(" ", 3)[:3]  # 36 35 98:0 /root /mount/point ...  (proc(5))
                major, minor = map(int, device.split(":"))
                devices[int(number)] = f"{major:02x}:{minor:02x}"
        return devices

    @cached_property
    def _flocks(self) -> frozenset[tuple[str, int]]:
        """The files that are locked as a whole or from byte 0 on, by device and inode: flock has no way to ask."""
        found: set[tuple[str, int]] = set()
        with open("/proc/locks", encoding="utf-8") as file:
            for line in file:
                # 1: FLOCK  ADVISORY  WRITE 2345 fe:00:4711 0 EOF; those who wait have an arrow   (proc(5))
                words = line.split()
                # On an SMB mount ours are OFD locks, and asking for them there would take them for a moment.
                if words[1] == "FLOCK" or (words[1] == "OFDLCK" and words[6] == "0"):
                    device, _, inode = words[5].rpartition(":")
                    found.add((device, int(inode)))
        return frozenset(found)
