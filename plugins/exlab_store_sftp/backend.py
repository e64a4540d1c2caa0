"""The hooks of the SFTP backend: each document is a file on a server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

import asyncssh

from exlab_store import (
    DocumentNotFound,
    Expectation,
    FolderItem,
    HeldLock,
    KeyPattern,
    Leftover,
    Location,
    LockOwner,
    NotSupported,
    Snapshot,
    Stat,
    Version,
    hookimpl,
    without_variables,
)
from exlab_store_sftp.changing import ServerChanges
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.event_loop import run
from exlab_store_sftp.faults import MISSING, examined
from exlab_store_sftp.leftovers import ensure_temporary, find_leftovers, look_at_locks
from exlab_store_sftp.listing import FolderLister
from exlab_store_sftp.locking import ServerLocks, SftpLock
from exlab_store_sftp.opening import open_session
from exlab_store_sftp.options import options_of
from exlab_store_sftp.paths import folder_of
from exlab_store_sftp.plain_changing import PlainChanges
from exlab_store_sftp.protocol import REGULAR
from exlab_store_sftp.reading import read_document, stat_of
from exlab_store_sftp.removing import FolderRemoval
from exlab_store_sftp.session import Session
from exlab_store_sftp.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from exlab_store_sftp.options import SftpOptions
    from exlab_store_sftp.paths import StoreFolder

__all__ = ["SftpBackend", "open_backend"]

_T = TypeVar("_T")


@without_variables
def open_backend(location: Location, options: Mapping[str, object]) -> SftpBackend:
    """Opens a folder of a server: connects, and finds out what can be done there.

    Args:
        location: ``sftp://[user[:password]@]server[:port]/folder``; the folder must exist, unless ``location.create``
            is set.
        options: The fields of `SftpOptions`; what is not given is taken from ``~/.ssh/config``.

    Raises:
        LocationError: There is no server in it, the folder does not exist or is none, the server offers no SFTP, or an
            option is not known or wrong.
        AccessDenied: The server's key is not known, or it refuses the account.
        BackendUnavailable: The server cannot be reached.
    """
    return SftpBackend(options_of(location, options), folder_of(location), location.ignores)


def _nothing(_: str) -> bool:
    return False


class SftpBackend:
    """Documents as files below a folder of a server.

    Args:
        options: The server and the account.
        folder: The store's folder.
        ignores: Tells which names are ignored.
    """

    def __init__(self, options: SftpOptions, folder: StoreFolder, ignores: Callable[[str], bool] = _nothing) -> None:
        self._ignores = ignores
        self._folder = folder
        self._session = Session(options, folder.root)
        try:
            self._claims = run(open_session(self._session, folder), options.timeout)
        except BaseException:
            self.close()
            raise
        self.guarantees = self._claims.guarantees
        self.unclaimed = self._claims.unclaimed
        self._changes = ServerChanges(self._session, folder)
        self._plain = PlainChanges(self._session, folder)
        self._locks = ServerLocks(self._session, folder)
        self._remover = FolderRemoval(self._session, folder)

    def close(self) -> None:
        """Ends the connections; the server frees the store's locks."""
        if self._session.closed:
            return
        self._session.closed = True
        if sys.is_finalizing():
            return
        deadline = TimeLimit(min(2.0, self._session.options.timeout))
        run(self._session.close(deadline), deadline.seconds)

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """Two round trips: the file opened; its data and its size."""
        return self._looked("read the document", key, lambda files: read_document(files, self._folder.path(key)))

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """One round trip."""
        return self._looked("look at the document", key, lambda files: stat_of(files, self._folder.path(key)))

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """One round trip, by a process on the server; three over SFTP alone, where there is no shell."""
        self._ensure_replaces()
        if not self._has_shell:
            return self._run(self._plain.write(key, data))
        return self._run(self._changes.write(key, data, expect, _ours(lock)))

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """One round trip, the fsync of the folder included where there is a shell."""
        if not self._has_shell:
            self._run(self._plain.delete(key))
        else:
            self._run(self._changes.delete(key, expect, _ours(lock)))

    @hookimpl
    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """One round trip, by a process on the server; five over SFTP alone. Of a link, none."""
        self._ensure_replaces()
        return self._run((self._changes if self._has_shell else self._plain).keep_copy(key, copy, data))

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """One round trip: flock on ``<key>.lock``, held by a process on the server."""
        self._ensure_shell()
        self._session.ensure_open()
        return self._locks.take(key, owner, timeout, cancelled)

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        """Three round trips: the lock, and then what `read_snapshot` does."""
        held = self.lock(key, owner, timeout, cancelled)
        try:
            try:
                return held, self.read_snapshot(key)
            except DocumentNotFound:
                return held, None
        except BaseException:
            held.release()
            raise

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """One round trip: the release goes with the write."""
        self._ensure_replaces()
        return self._run(self._changes.write(key, data, expect, _ours(lock), release=True))

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """Walks the folders, eight at a time."""
        return self._listed(prefix, lambda lister: lister.keys(prefix))

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> Iterator[FolderItem]:  # noqa: ARG002  # sizes and times come along
        """Reads one folder."""
        return iter(self._listed(key, lambda lister: lister.items(key)))

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Walks the folders in which something may fit."""
        return self._listed(prefix, lambda lister: lister.matching(prefix, pattern))

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Walks the folders; who holds a lock is read in its file, which disturbs nobody."""
        found = self._listed(prefix, lambda lister: find_leftovers(lister, prefix))
        return self._run(self._told(found)) if found and self._has_shell else found

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """Two round trips: it is looked at first, and removed if it is a file."""
        ensure_temporary(name)
        path = self._folder.path(name)

        async def remove(files: asyncssh.SFTPClient) -> None:
            found = await files.lstat(path)
            if found.type == REGULAR:
                await files.remove(path)
            else:
                raise DocumentNotFound("what stands there is not a file")

        try:
            self._looked("remove the temporary file", name, remove)
        except DocumentNotFound as error:
            raise DocumentNotFound("the file is gone already") from error

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """Removes the lock files one by one, each while it is locked, and then the folder."""
        if not self._has_shell:
            raise NotSupported(
                "a folder is removed with its lock files, each while it is locked, and there are no locks here",
                hint=self._why_not("lock_scope"),
            )
        self._run(self._remover.remove(key))

    # What the hooks have in common

    @property
    def _has_shell(self) -> bool:
        return self.guarantees.lock_scope != "none"

    def _run(self, coroutine: Coroutine[object, object, _T]) -> _T:
        if self._session.closed:
            coroutine.close()
        self._session.ensure_open()
        return run(coroutine, self._session.options.timeout)

    def _looked(
        self, action: str, key: str, question: Callable[[asyncssh.SFTPClient], Coroutine[object, object, _T]]
    ) -> _T:
        return self._run(self._answered(action, key, question))

    async def _answered(
        self, action: str, key: str, question: Callable[[asyncssh.SFTPClient], Coroutine[object, object, _T]]
    ) -> _T:
        deadline = TimeLimit(self._session.options.timeout)

        async def ask(files: asyncssh.SFTPClient) -> _T:
            try:
                return await question(files)
            except asyncssh.SFTPError as error:
                if isinstance(error, MISSING):
                    await self._plain.ensure_root(files)
                    raise DocumentNotFound("there is no such document") from error
                raise await examined(error, action, files, self._folder.path(key), 0, deadline) from error

        return await self._session.answered(deadline, action, ask)

    def _listed(self, prefix: str, question: Callable[[FolderLister], Coroutine[object, object, list[_T]]]) -> list[_T]:
        async def ask(files: asyncssh.SFTPClient) -> list[_T]:
            return await question(FolderLister(files, self._folder.base, self._ignores))

        try:
            return self._looked("list the folder", prefix, ask)
        except DocumentNotFound:
            return []

    async def _told(self, found: list[Leftover]) -> list[Leftover]:
        deadline = TimeLimit(self._session.options.timeout)
        try:
            async with self._session.shell(deadline) as shell:
                return await look_at_locks(found, shell, self._folder, deadline)
        except ConnectionGone as lost:
            raise deadline.late("look at the locks") from lost

    def _ensure_shell(self) -> None:
        if not self._has_shell:
            raise NotSupported("SFTP alone has no locks", hint=self._why_not("lock_scope"))

    def _why_not(self, guarantee: str) -> str:
        reason = self.unclaimed[guarantee]
        return f"{reason[:1].upper()}{reason[1:]}."

    def _ensure_replaces(self) -> None:
        if not self._claims.replaces:
            raise NotSupported(
                "the server cannot replace a file, and this account has no shell there",
                hint=self._why_not("atomic_replace"),
            )


def _ours(lock: HeldLock | None) -> SftpLock | None:
    """A lock as the hooks get it: the very object that this backend has returned."""
    return lock if isinstance(lock, SftpLock) else None
