"""The hooks of the SMB backend: each document is a file on a share."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

from exlab_store import (
    DocumentNotFound,
    Expectation,
    FolderItem,
    HeldLock,
    InvalidKey,
    KeyPattern,
    Leftover,
    Location,
    LocationError,
    LockOwner,
    NotSupported,
    Snapshot,
    Stat,
    Version,
    hookimpl,
    keys_in,
    version_of,
    without_variables,
)
from exlab_store_smb.file_system import SmbFileSystem
from exlab_store_smb.session.dfs import Target, follow
from exlab_store_smb.session.share import Share, root_is_gone
from exlab_store_smb.session.sharing import give_back
from exlab_store_smb.steps.changing import Changes, ours
from exlab_store_smb.steps.deleting import Deleter
from exlab_store_smb.steps.folders import ShareFolders
from exlab_store_smb.steps.leftovers import ShareSearch, is_temporary
from exlab_store_smb.steps.listing import ListingBudget
from exlab_store_smb.steps.lock_requests import Locks
from exlab_store_smb.steps.looking import Looker, entries_of
from exlab_store_smb.steps.reading import Reader
from exlab_store_smb.steps.removing import FolderRemover
from exlab_store_smb.steps.replacing import Replacer
from exlab_store_smb.steps.room import Room
from exlab_store_smb.steps.walking import walk
from exlab_store_smb.steps.watching import ShareSource, begin_to_watch
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import MISSING, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.outcome import Attempt

__all__ = ["SmbBackend", "open_backend"]


@without_variables
def open_backend(location: Location, options: Mapping[str, object]) -> SmbBackend:
    """Opens a folder of a share: connects, and asks the server what it can do.

    Args:
        location: ``smb://[[workgroup;]user[:password]@]server[:port]/share[/folder]``; the folder must exist, unless
            ``location.create`` is set.
        options: The fields of `SmbOptions`; what is not given is taken from fsspec's configuration.

    Raises:
        LocationError: There is no server or share in it, the share or the folder does not exist, or an option is
            not known or wrong.
        AccessDenied: The server refuses the account, or the account may not use the share.
        NotSupported: Encryption or signing was asked for and is not in force.
        BackendUnavailable: The server cannot be reached.
    """
    share, _, folder = location.path.strip("/").partition("/")
    if not location.host or not share:
        raise LocationError("an SMB location names a server and a share", hint="Write smb://user@server/share/folder.")
    if {".", ".."} & {share, *folder.split("/")}:
        raise LocationError("the path has '.' or '..' in it", hint="Write it as it is seen from the server.")
    given = {"port": location.port, "username": location.username, "password": location.secret}
    for name, value in given.items():
        if value is not None and name in options:
            raise LocationError(f"{name} is in the URL and among the options", hint="Give it once.")
    of_location = {name: value for name, value in given.items() if value is not None}

    def opened(target: Target) -> SmbBackend:
        return SmbBackend(
            SmbFileSystem(host=target.host, **of_location, **options),
            target.share,
            target.folder,
            create=location.create,
            ignores=location.ignores,
        )

    server = SmbFileSystem(host=location.host, **of_location, **options).options
    return follow(Target(location.host, share, folder.strip("/")), server, opened, Deadline(server.timeout))


def _nothing(_: str) -> bool:
    return False


class SmbBackend:
    """Documents as files below a folder of a share.

    Args:
        file_system: The server, with the options.
        share: The share's name.
        folder: ``/``-separated; empty text for the share itself.
        create: The folder may be missing; the first write makes it.
        ignores: Tells which names are ignored.
    """

    def __init__(
        self,
        file_system: SmbFileSystem,
        share: str,
        folder: str,
        *,
        create: bool = False,
        ignores: Callable[[str], bool] = _nothing,
    ) -> None:
        self._ignores = ignores
        self._file_system = file_system
        options = file_system.options
        self._share = Share(options, share, folder.strip("/"), create=create)
        self._links = self._share.links
        self._dropped = weakref.finalize(self, give_back, self._links)
        self._dropped.atexit = False  # the server frees what a process had that has ended
        try:
            opened = self._share.open()
        except BaseException:
            self.close()
            raise
        self.guarantees = opened.guarantees
        room = Room(trusted=options.one_round_trip)
        if opened.free is not None:
            room.note(opened.free)
        folders = ShareFolders(self._share.root, room, create=create, flush=opened.guarantees.durable)
        self._reader = Reader(self._share)
        self._replacer = Replacer(folders, room, opened.claims)
        self._deleter = Deleter(self._share, folders, opened.claims)
        self._looker = Looker(self._share, ignores)
        self._changes = Changes(self._share, self._reader, folders)
        self._locks = Locks(self._share, self._reader, folders, opened.claims)
        self._remover = FolderRemover(self._share, self._looker, self._locks, folders)

    def close(self) -> None:
        """Frees the store's locks, and ends the connection if it is the last to use it; the server has 2 s for that."""
        self._dropped.detach()
        self._links.close(Deadline(min(2.0, self._share.timeout)))

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """One compound of CREATE, READ and CLOSE; a replacement meanwhile does not touch the open file."""
        share = self._share
        found = share.repeated(
            lambda link, deadline: self._reader.snapshot_of(link, share.document_path(link, key), deadline)
        )
        if found is None:
            raise DocumentNotFound("there is no such document")
        return found

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """One compound: temporary file, data, flush, rename, and the flush of the folder."""
        self._ensure_replaces()
        self._changes.make(key, data, expect, ours(lock), partial(self._replacer.replace, data))
        return version_of(data)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """One compound: the file opened to go when it is closed, and the flush of its folder."""
        self._changes.make(key, None, expect, ours(lock), self._deleter.delete)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Takes byte 0 of ``<key>.lock``; the server queues those who wait. Missing folders are made."""
        return self._locks.take(key, owner, timeout, cancelled, read=False)[0]

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        """One compound: what takes the lock, and what reads the document; the read counts if the lock was granted."""
        return self._locks.take(key, owner, timeout, cancelled, read=True)

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """One compound: what replaces the document, and what releases the lock; or the release is sent after it."""
        self._ensure_replaces()
        held = ours(lock)

        def write(link: Link, document: DocumentPath, deadline: Deadline, attempt: Attempt) -> None:
            if held is not None:
                attempt.parting = held.parting()
            try:
                self._replacer.replace(data, link, document, deadline, attempt)
            finally:
                if held is not None and attempt.parted:
                    held.note_released()

        self._changes.make(key, data, expect, held, write)
        lock.release()
        return version_of(data)

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """Walks the folders; links are not followed, as they may form a circle."""
        share = self._share

        def keys(link: Link, deadline: Deadline) -> list[str]:
            self._file_system.link = link
            found: list[str] = []
            try:
                for folder, entries in walk(link, share.root, prefix, ListingBudget(deadline), self._ignores):
                    found += keys_in(folder, [entry.name for entry in entries if entry.kind == "file"])
            except FileNotFoundError as error:
                if not prefix and not share.create:
                    raise root_is_gone() from error
                share.ensure_there(link, deadline)
            return found

        return share.repeated(keys, opens=True)

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """One compound of CREATE and CLOSE."""
        return self._share.repeated(lambda link, deadline: self._looker.stat(link, key, deadline))

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> Iterator[FolderItem]:  # noqa: ARG002  # sizes and times come along
        """Asks for the names of the folder, several answers at a time."""
        found = self._share.repeated(lambda link, deadline: self._looker.entries(link, key, deadline), opens=True)
        return entries_of(key, found)

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Walks the folders in which something may fit; the server sends the names that may."""
        return self._share.repeated(
            lambda link, deadline: self._looker.matching(link, prefix, pattern, deadline), opens=True
        )

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """Removes the lock files one by one, each while nobody else can have it open, and then the folder."""
        asked: list[Link] = []

        def remove(link: Link, deadline: Deadline) -> None:
            asked.append(link)
            try:
                self._remover.remove(link, key, deadline)
            except DocumentNotFound:
                if len(asked) == 1:
                    raise
                # It went before the answer was lost: this call or nobody has removed it.

        self._share.repeated(remove, opens=True)

    @hookimpl
    def watch_changes(self, prefix: str) -> ShareSource:
        """Two CHANGE_NOTIFY that wait on the server, for files and for folders."""
        return begin_to_watch(self._share, prefix, self._ignores)

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Walks the folders; whether a lock is held is found out by reading, which takes no lock."""
        share = self._share

        def find(link: Link, deadline: Deadline) -> list[Leftover]:
            share.ensure_there(link, deadline)

            def holder(name: str, within: Deadline) -> LockOwner | None:
                return self._locks.holder(link, share.document_path(link, name), within)

            return list(ShareSearch(link, share.root, deadline, holder, self._ignores).find(prefix))

        return share.repeated(find, opens=True)

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """One compound: the file opened to go when it is closed."""
        if not is_temporary(name):
            raise InvalidKey("this is not a temporary file", hint="Documents and lock files are not removed this way.")
        share = self._share

        def remove(link: Link, deadline: Deadline) -> None:
            opened, closed = link.run(
                [messages.open_to_discard(share.document_path(link, name).path), messages.close()], deadline.half()
            )
            if opened.status in MISSING:
                share.ensure_only_missing(link, opened, deadline)
                raise DocumentNotFound("the file is gone already")
            if not opened.ok or not closed.ok:
                raise translated(closed.status if opened.ok else opened.status, "remove the temporary file")

        share.repeated(remove)

    def _ensure_replaces(self) -> None:
        if not self.guarantees.atomic_replace:
            raise NotSupported("the server does not replace files as a document needs it", hint="Use another server.")
