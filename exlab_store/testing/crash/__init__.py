"""Crash tests for local storage, on Linux: every system call may be the last, and so may every write of the disk.

- `Stage` runs an operation with a fault at one of its system calls: the process is killed, or the call fails.
- `recorded` runs writers on a disk that logs what it sees, and `broken_promises` looks at the disks that a power
  cut may have left: is every acknowledged write there, and every document whole?

- `not_promised` holds the system calls of an operation against what POSIX promises, whatever the file system.

strace does the first and the last; the second needs root, FUSE (fuse3 and mfusepy) and the programs that make file
systems. Where something is missing, `CannotTest` says what to install.
"""

from __future__ import annotations

from exlab_store.testing.crash.file_systems import BTRFS, EXT2, EXT4, XFS, FileSystemKind
from exlab_store.testing.crash.ledger import Ledger, Loss, Notes, stamp_of, stamped
from exlab_store.testing.crash.power_cut import Cut, Recording, Seen, broken_promises, images, recorded
from exlab_store.testing.crash.programs import Program
from exlab_store.testing.crash.promised_names import not_promised
from exlab_store.testing.crash.requirements import CannotTest
from exlab_store.testing.crash.system_calls import Call, Fault, Outcome, Stage

__all__ = [
    "BTRFS",
    "EXT2",
    "EXT4",
    "XFS",
    "Call",
    "CannotTest",
    "Cut",
    "Fault",
    "FileSystemKind",
    "Ledger",
    "Loss",
    "Notes",
    "Outcome",
    "Program",
    "Recording",
    "Seen",
    "Stage",
    "broken_promises",
    "images",
    "not_promised",
    "recorded",
    "stamp_of",
    "stamped",
]
