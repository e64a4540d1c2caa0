"""Lock files and temporary files below a folder of the server, for those who look after a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exlab_store import InvalidKey, Leftover, is_key, is_temporary_name
from exlab_store_sftp.locking import owner_in
from exlab_store_sftp.server_script import call

if TYPE_CHECKING:
    from exlab_store_sftp.listing import FolderLister, ListedEntry
    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.server_shell import ServerShell
    from exlab_store_sftp.time_limit import TimeLimit

__all__ = ["ensure_temporary", "find_leftovers", "look_at_locks"]

_LOCK: Final = ".lock"
_AT_A_TIME: Final = 64
_SMALLEST_PAGE: Final = 512  # bytes of a database [https://www.sqlite.org/fileformat.html, 1.3.2]


async def find_leftovers(lister: FolderLister, prefix: str) -> list[Leftover]:
    """What is below a folder, at any depth; of locks nothing is known yet.

    Args:
        lister: Of the store.
        prefix: The folder's key, or empty text.

    Raises:
        asyncssh.Error: As the server says.
    """
    found: list[Leftover] = []
    async for folder, entries in lister.walk(prefix):
        found += [_leftover(folder, entry) for entry in entries if _is_leftover(entry)]
    return found


def _is_leftover(entry: ListedEntry) -> bool:
    if entry.kind != "file" or entry.is_link or not _is_text(entry.name):
        return False
    return is_temporary_name(entry.name) or entry.name.endswith(_LOCK)


def _leftover(folder: str, entry: ListedEntry) -> Leftover:
    return Leftover(
        name=f"{folder}/{entry.name}" if folder else entry.name,
        kind="temporary" if is_temporary_name(entry.name) else "lock",
        size=entry.size,
        modified=entry.modified,
    )


async def look_at_locks(
    found: list[Leftover], shell: ServerShell, folder: StoreFolder, deadline: TimeLimit
) -> list[Leftover]:
    """The same with ages by the server's clock, and with who holds each lock by what its file says.

    A lock file that is an SQLite database, as ``filelock.ReadWriteLock`` keeps it, says nothing of that.

    Whether a lock is held is not said: taking it to find out would disturb somebody.

    Args:
        found: What was found.
        shell: Reads the files.
        folder: The store's.
        deadline: Until when.

    Raises:
        ConnectionGone: The connection has ended.
    """
    told: list[Leftover] = []
    for start in range(0, len(found), _AT_A_TIME):
        some = found[start : start + _AT_A_TIME]
        locks = [each for each in some if each.kind == "lock"]
        databases = await _databases(
            [each.name for each in locks if each.size >= _SMALLEST_PAGE], shell, folder, deadline
        )
        names = [each.name for each in locks if each.name not in databases]
        request = call("records", *(folder.base + name for name in names))
        *records, (_, now) = await shell.ask_lines(request, deadline, len(names) + 1)
        owners = {name: owner_in(record) for name, (_, record) in zip(names, records, strict=True)}
        told += [
            msgspec.structs.replace(
                each,
                age=None if each.modified is None else max(0.0, float(now) - each.modified),
                owner=owners.get(each.name),
                database=each.name in databases,
            )
            for each in some
        ]
    return told


async def _databases(names: list[str], shell: ServerShell, folder: StoreFolder, deadline: TimeLimit) -> set[str]:
    """Which of some lock files are SQLite databases; only large ones are asked about, as each takes a program there."""
    if not names:
        return set()
    request = call("databases", *(folder.base + name for name in names))
    answers = await shell.ask_lines(request, deadline, len(names))
    return {name for name, (word, _) in zip(names, answers, strict=True) if word == "database"}


def ensure_temporary(name: str) -> None:
    """Refuses what is not the name of a temporary file.

    Args:
        name: ``/``-separated below the store's folder.

    Raises:
        InvalidKey: It is none.
    """
    folder, slash, last = name.rpartition("/")
    if not is_temporary_name(last) or not _is_text(name) or (slash and not is_key(folder)):
        raise InvalidKey("this is not a temporary file", hint="Documents and lock files are not removed this way.")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no text: nothing of ours
        return False
    return not any(ord(character) < 32 or ord(character) == 127 for character in name)
