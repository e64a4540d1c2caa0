"""Whose lock file it is: ``filelock.ReadWriteLock`` keeps an SQLite database under the same name.

The owner's record is written into a lock file that was made for it, or that holds one already. Nothing is written into
a database, nor into an empty file that another program has made: ``ReadWriteLock`` never writes a page, and an empty
file is a database too.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from exlab_store_smb.wire import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store_smb.wire.shapes import Reply, SmbRequest

__all__ = ["RECORD_AT", "OwnLockFiles", "beginning", "is_database", "keeps_records", "look_at"]

# The record begins behind byte 0: a client without the lock can neither read nor write that byte.
RECORD_AT: Final = 1
_DATABASE: Final = b"SQLite format 3\0"[RECORD_AT:]  # https://www.sqlite.org/fileformat.html, 1.3
_REMEMBERED: Final = 1024
_FORGOTTEN_AFTER: Final = 600.0  # seconds; a look costs one round trip


class OwnLockFiles:
    """The lock files of a store that keep records, as was seen a while ago: they are not looked at again.

    Nobody may delete a lock file. Where somebody does, and another program makes a database of that name, it is seen.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def __contains__(self, path: str) -> bool:
        seen = self._seen.get(path)
        return seen is not None and time.monotonic() - seen < _FORGOTTEN_AFTER

    def add(self, path: str) -> None:
        """Remembers one.

        Args:
            path: The file's name on the share.
        """
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[path] = time.monotonic()


def look_at(path: str, *, anew: bool = False) -> list[SmbRequest]:
    """The requests that read how a lock file begins; they disturb nobody.

    Args:
        path: The file's name on the share.
        anew: They are a chain of their own in a compound.
    """
    return [replace(messages.open_lock_file_to_read(path), anew=anew), beginning(), messages.close()]


def beginning() -> SmbRequest:
    """The request that reads how a lock file begins, to tell by `is_database`."""
    return messages.read(RECORD_AT, len(_DATABASE))


def keeps_records(seen: Sequence[Reply]) -> bool:
    """Whether a lock file is one for records of ours, as far as its beginning tells.

    Args:
        seen: The answers to `look_at`.
    """
    _, answered, _ = seen
    return answered.ok and bool(messages.read_bytes(answered)) and not is_database(answered)


def is_database(answered: Reply) -> bool:
    """Whether a lock file is an SQLite database.

    Args:
        answered: The answer to `beginning`.
    """
    return answered.ok and messages.read_bytes(answered) == _DATABASE
