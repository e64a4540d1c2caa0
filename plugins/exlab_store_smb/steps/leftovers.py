"""The lock files and temporary files on a share, for the maintenance of a store."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final

from exlab_store import Leftover, is_key, is_temporary_name, temporary_name
from exlab_store_smb.session.claims import remembered
from exlab_store_smb.steps.listing import ListingBudget
from exlab_store_smb.steps.lock_file import beginning, is_database
from exlab_store_smb.steps.walking import walk
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import END_OF_FILE, LOCKED, MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store import LockOwner
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.listing import FolderEntry
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply

__all__ = ["ShareSearch", "is_temporary"]

_LOCK: Final = ".lock"
_IN_FLIGHT: Final = 16
_RECORD: Final = b"{"  # how a record begins, behind byte 0, until the lock is released


class ShareSearch:
    """One search below a folder of a share. Links are not followed, where the server shows them as such.

    Args:
        link: The connection.
        root: The store's folder below the share, ``/``-separated.
        deadline: Until when.
        holder: Who has a lock by what its file says, asked by the file's name below the root.
        ignores: Tells which names are ignored.
    """

    def __init__(
        self,
        link: Link,
        root: str,
        deadline: Deadline,
        holder: Callable[[str, Deadline], LockOwner | None],
        ignores: Callable[[str], bool],
    ) -> None:
        self._ignores = ignores
        self._link = link
        self._root = root
        self._deadline = deadline
        self._holder = holder
        self._now = link.server_time()

    def find(self, folder: str) -> Iterator[Leftover]:
        """Finds what is below a folder, at any depth.

        Args:
            folder: The folder's key, or empty text for the root; one that does not exist is empty.

        Raises:
            AccessDenied: A folder may not be listed.
            BackendUnavailable: It takes too long, or does not come to an end.
            LinkLost: The connection has ended.
        """
        with suppress(FileNotFoundError):
            for name, entries in walk(self._link, self._root, folder, ListingBudget(self._deadline), self._ignores):
                yield from self._found(name, [entry for entry in entries if _is_text(entry.name)])

    def _found(self, folder: str, entries: list[FolderEntry]) -> Iterator[Leftover]:
        locks: list[tuple[str, FolderEntry]] = []
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.kind == "file" and is_temporary_name(entry.name):
                # Only the writer's machine knows whether the writer is gone, and the name does not say which one it is.
                yield self._leftover(name, entry)
            elif entry.kind == "file" and entry.name.endswith(_LOCK):
                locks.append((name, entry))
        for start in range(0, len(locks), _IN_FLIGHT):
            self._deadline.ensure_left("look at the locks")
            yield from self._locks(locks[start : start + _IN_FLIGHT])

    def _locks(self, batch: list[tuple[str, FolderEntry]]) -> Iterator[Leftover]:
        """Asks to read byte 0 of each: refused while another handle has locked it, and it disturbs nobody."""
        asked = self._link.run_all(
            [
                [
                    messages.open_to_read(self._link.path(self._root, name)),
                    messages.read(0, 2),
                    beginning(),
                    messages.close(),
                ]
                for name, _ in batch
            ],
            self._soon(),
        )
        for (name, entry), (opened, answered, begins, closed) in zip(batch, asked, strict=True):
            if opened.ok and not closed.ok:  # a server may give a compound up after a refusal
                self._link.run([messages.close(messages.file_id_of(opened))], self._soon())
            if opened.status in MISSING:
                continue
            held, owner = self._state(name, answered) if opened.ok else (None, None)
            database = opened.ok and is_database(begins)
            yield self._leftover(name, entry, held=held, owner=owner, database=database)

    def _state(self, name: str, answered: Reply) -> tuple[bool | None, LockOwner | None]:
        if answered.status in LOCKED:
            return True, self._holder(name, self._soon())
        if not answered.ok:
            return (False if answered.status == END_OF_FILE else None), None
        if messages.read_bytes(answered)[1:2] != _RECORD:
            return False, None
        # The last holder was killed, or holds the lock on a server that lets everybody read what is locked.
        owner = self._holder(name, self._soon())
        if owner is None or self._locks_keep_readers_out:
            return False, None
        return None, owner

    @cached_property
    def _locks_keep_readers_out(self) -> bool:
        """Whether the server refuses to read what is locked (Samba: not with ``strict locking = no``).

        It is tried on a file that goes again: taking the lock in question, even for a moment, would disturb somebody.
        """
        known = remembered(self._link).keeps_readers_out
        if known is not None:
            return known
        path = self._link.path(self._root, temporary_name("locks"))
        created, locked, _ = self._link.run(
            [messages.open_lock_file(path), messages.lock_byte_0(wait=False), messages.write(0, b"-")],
            self._soon(),
        )
        if not created.ok:
            return False  # this account may only read: nobody can tell
        try:
            _, answered, _ = self._link.run(
                [messages.open_to_read(path), messages.read(0, 1), messages.close()], self._soon()
            )
            return locked.ok and answered.status in LOCKED
        finally:
            self._link.run_all(
                [
                    [messages.close(messages.file_id_of(created))],
                    [messages.open_to_delete(path), messages.close()],
                ],
                self._soon(),
            )

    def _leftover(
        self,
        name: str,
        entry: FolderEntry,
        *,
        held: bool | None = None,
        owner: LockOwner | None = None,
        database: bool = False,
    ) -> Leftover:
        return Leftover(
            name=name,
            kind="temporary" if is_temporary_name(entry.name) else "lock",
            size=entry.size,
            modified=entry.modified,
            age=None if self._now is None else max(0.0, self._now - entry.modified),
            held=held,
            owner=owner,
            database=database,
        )

    def _soon(self) -> Deadline:
        return self._deadline.half()


def is_temporary(name: str) -> bool:
    """Whether a name is one that a writer gives to its temporary file.

    Args:
        name: ``/``-separated below the store's root.
    """
    folder, slash, last = name.rpartition("/")
    return is_temporary_name(last) and _is_text(last) and (not slash or is_key(folder))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: nothing of ours
        return False
    return "/" not in name and "\\" not in name
