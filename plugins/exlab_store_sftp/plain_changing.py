"""A change of a document over SFTP alone, on a server where this account has no shell.

A write takes three round trips: the temporary file is made while the old document is looked at; the data and the fsync
go together; so do the rights, the close and the rename. The rename is asked for when the data is known to be there. A
new document takes one more: the private temporary file gives way to one with the rights that files have in its folder.

SFTP 3 shows no access control list. The group bits of a file that has one are its mask, and a rewrite gives them to the
group.

Nothing is durable: the rename is in the folder, and SFTP has no request that synchronises a folder.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncssh

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    StoreError,
    Version,
    VersionConflict,
    WriteOutcomeUnknown,
    temporary_name,
    version_of,
)
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.faults import MISSING, SFTP_ENDED, examined, link_hidden, no_document, of_program, root_is_gone
from exlab_store_sftp.protocol import FOLDER, LINK, NEW, REGULAR
from exlab_store_sftp.reading import close_later, read_open
from exlab_store_sftp.time_limit import TimeLimit

if TYPE_CHECKING:
    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.session import Session

__all__ = ["PlainChanges"]

_PRIVATE: Final = 0o600


class PlainChanges:
    """Changes documents of one store.

    Args:
        session: The store's connections.
        folder: The store's folder.
    """

    def __init__(self, session: Session, folder: StoreFolder) -> None:
        self._session = session
        self._folder = folder

    async def write(self, key: str, data: bytes) -> Version:
        """Replaces a document, or makes it.

        Args:
            key: The document's key.
            data: The whole document.

        Raises:
            StoreError: Nothing was written; or `WriteOutcomeUnknown`.
        """
        return await self._replace(key, data, TimeLimit(self._session.options.timeout))

    async def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Writes a copy of a document, with at most the rights of the document.

        Args:
            key: The document's key.
            copy: The copy's key.
            data: What the document must hold.

        Returns:
            False, and nothing was done, where the document is a link.

        Raises:
            VersionConflict: The document is gone, or holds something else.
            StoreError: There is no copy; or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        path = self._folder.path(key)

        async def look(files: asyncssh.SFTPClient) -> tuple[asyncssh.SFTPAttrs, bytes] | None:
            try:
                found = await files.lstat(path)
                if found.type == LINK:
                    return None
                return await read_open(files, path) if found.type == REGULAR else (found, b"")
            except asyncssh.SFTPError as error:
                if no_document(error):
                    raise VersionConflict(expected=version_of(data)) from error
                raise await examined(error, "copy the document", files, path, 0, deadline) from error

        found = await self._session.answered(deadline, "copy the document", look)
        if found is None:
            return False
        old, stored = found
        if old.type != REGULAR or stored != data:
            raise VersionConflict(expected=version_of(data))
        await self._replace(copy, data, deadline, old)
        return True

    async def _replace(
        self, key: str, data: bytes, deadline: TimeLimit, like: asyncssh.SFTPAttrs | None = None
    ) -> Version:
        version = version_of(data)
        attempt = _PlainAttempt(self, self._folder, key, data, like)
        try:
            await self._session.asked(deadline.half(), attempt.prepare)
            await self._session.asked(deadline.half(), attempt.rename)
        except ConnectionGone as lost:
            if await self._happened(attempt, version, deadline, lost):
                return version
            raise BackendUnavailable(
                f"cannot write the document: {lost}", exhausted=lost.silent, hint="Look at the network and the server."
            ) from lost
        return version

    async def _happened(
        self, attempt: _PlainAttempt, version: Version, deadline: TimeLimit, lost: ConnectionGone
    ) -> bool:
        """Whether the rename was done: it can be no more once the temporary file is gone."""
        if not attempt.made:
            return False
        times = 0

        async def remove(files: asyncssh.SFTPClient) -> bool:
            nonlocal times
            times += 1
            await attempt.remove_first(files)
            try:
                await files.remove(attempt.temporary)
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
                if times > 1:  # the rename may have taken it, or a removal whose answer was lost
                    raise BackendUnavailable("nobody can tell what became of the write") from error
                return attempt.asked
            return False

        try:
            return await self._session.answered(deadline, "find out what became of the write", remove)
        except (StoreError, asyncssh.Error) as error:
            if not attempt.asked:
                return False
            raise WriteOutcomeUnknown(str(lost), intended=version) from error

    async def delete(self, key: str) -> None:
        """Deletes a document.

        Args:
            key: The document's key.

        Raises:
            StoreError: Nothing was deleted; or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        path = self._folder.path(key)
        try:
            await self._session.asked(deadline.half(), lambda files: self._remove(files, path, deadline))
        except ConnectionGone as lost:
            if not await self._exists(path, deadline):
                return
            raise WriteOutcomeUnknown(str(lost), intended=None) from lost

    async def _remove(self, files: asyncssh.SFTPClient, path: str, deadline: TimeLimit) -> None:
        try:
            await files.remove(path)
        except asyncssh.SFTPError as error:
            if no_document(error):
                await self.ensure_root(files)
                raise DocumentNotFound("there is no such document") from error
            raise await examined(error, "delete the document", files, path, 0, deadline) from error

    async def _exists(self, path: str, deadline: TimeLimit) -> bool:
        async def look(files: asyncssh.SFTPClient) -> bool:
            return await files.exists(path)

        try:
            return await self._session.answered(deadline, "find out what became of the deletion", look)
        except (StoreError, asyncssh.Error):
            return True

    async def ensure_root(self, files: asyncssh.SFTPClient) -> None:
        """Checks that the store's folder is there, where it may not be missing.

        Args:
            files: The session.

        Raises:
            BackendUnavailable: It is gone.
            asyncssh.Error: As the server says.
        """
        if self._folder.create:
            return
        try:
            await files.stat(self._folder.root)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise root_is_gone() from error

    async def make(self, files: asyncssh.SFTPClient, key: str) -> None:
        """Makes the folders of a document.

        Args:
            files: The session.
            key: The document's key.

        Raises:
            StoreError: They cannot be made.
        """
        await self.ensure_root(files)
        for path in self._folder.made(self._folder.folder(key)):
            try:
                await files.mkdir(path)
            except asyncssh.SFTPError as error:
                try:
                    found = await files.stat(path)
                except asyncssh.SFTPError:
                    raise of_program(
                        "Permission denied" if isinstance(error, asyncssh.SFTPPermissionDenied) else str(error.reason),
                        "make the folder",
                    ) from error
                if found.type != FOLDER:
                    raise of_program("Not a directory", "make the folder") from error


class _PlainAttempt:
    """One write.

    Args:
        changes: Of the store.
        folder: The store's folder.
        key: The document's key.
        data: The whole document.
        like: Whose rights it gets; None for those of the document that it replaces.

    Attributes:
        temporary: The path of the temporary file.
        made: It may be there.
        asked: The rename was asked for.
    """

    def __init__(
        self, changes: PlainChanges, folder: StoreFolder, key: str, data: bytes, like: asyncssh.SFTPAttrs | None
    ) -> None:
        self._changes = changes
        self._folder = folder
        self._key = key
        self._path = folder.path(key)
        self._data = data
        self._like = like
        self._mode: int | None = None  # the file has its rights already
        self._file: asyncssh.SFTPClientFile | None = None
        self._first = ""  # a temporary file that has given way to another
        self.temporary = self._named()
        self.made = False
        self.asked = False

    def _named(self) -> str:
        return f"{self._folder.folder(self._key)}/{temporary_name(self._key.rpartition('/')[2])}".replace("//", "/")

    async def prepare(self, files: asyncssh.SFTPClient) -> None:
        """Two round trips, and one more for a new document: the temporary file is there then, with its data."""
        try:
            file, old = await self._opened(files)
            self._file = file
            attributes, *answers = await asyncio.gather(
                file.stat(), file.write(self._data, 0), _synchronised(file), return_exceptions=True
            )
            for answer in (attributes, *answers):
                if isinstance(answer, BaseException):
                    raise answer
            if old is not None and isinstance(attributes, asyncssh.SFTPAttrs):
                self._mode = await _kept(file, old, attributes)
        except asyncssh.SFTPError as error:
            failure = await examined(error, "write the document", files, self._path, len(self._data), TimeLimit(5.0))
            await self._discard(files)
            raise failure from error
        except StoreError:
            await self._discard(files)
            raise

    async def _opened(self, files: asyncssh.SFTPClient) -> tuple[asyncssh.SFTPClientFile, asyncssh.SFTPAttrs | None]:
        private = asyncssh.SFTPAttrs(permissions=_PRIVATE)
        for last in (False, True):
            self.made = True
            old, file = await asyncio.gather(
                files.stat(self._path),
                files.open(self.temporary, NEW, private, encoding=None),
                return_exceptions=True,
            )
            if isinstance(file, asyncssh.SFTPError) and no_document(file) and not last:
                await self._changes.make(files, self._key)
                continue
            if isinstance(file, BaseException):
                self.made = isinstance(file, SFTP_ENDED) or not isinstance(file, asyncssh.SFTPError)
                raise file
            self._file = file
            if isinstance(old, asyncssh.SFTPAttrs) and old.type == FOLDER:
                raise InvalidKey("the key names a folder", hint="Choose another key for the document.")
            if self._like is not None:
                return file, self._like
            if isinstance(old, asyncssh.SFTPAttrs):
                return file, old
            if isinstance(old, MISSING):
                return await self._opened_as_usual(files, file), None
            if isinstance(old, asyncssh.SFTPPermissionDenied):
                raise link_hidden() from old
            raise old
        raise AssertionError

    async def _opened_as_usual(
        self, files: asyncssh.SFTPClient, private: asyncssh.SFTPClientFile
    ) -> asyncssh.SFTPClientFile:
        """A file with the rights that a new one has in its folder: its default list decides, or the umask there."""
        self._first, self.temporary = self.temporary, self._named()
        self._file = None
        close_later(private.close())
        file, _ = await asyncio.gather(
            files.open(self.temporary, NEW, encoding=None), self.remove_first(files), return_exceptions=True
        )
        if isinstance(file, BaseException):
            raise file
        return file

    async def remove_first(self, files: asyncssh.SFTPClient) -> None:
        """Removes a temporary file that was not used; what stays is shown among the leftovers.

        Args:
            files: The session.
        """
        if self._first:
            with suppress(asyncssh.SFTPError):
                await files.remove(self._first)
                self._first = ""

    async def rename(self, files: asyncssh.SFTPClient) -> None:
        """One round trip: rights, close and rename."""
        file = self._file
        if file is None:
            raise ConnectionGone("the connection has ended")
        self.asked = True
        rights = [] if self._mode is None else [file.setstat(asyncssh.SFTPAttrs(permissions=self._mode))]
        try:
            *_, renamed = await asyncio.gather(
                *rights,
                file.close(),
                files.posix_rename(self.temporary, self._path),
                return_exceptions=True,
            )
            if isinstance(renamed, BaseException):
                raise renamed
        except asyncssh.SFTPError as error:
            failure = await examined(error, "write the document", files, self._path, 0, TimeLimit(5.0))
            await self._discard(files)
            raise failure from error

    async def _discard(self, files: asyncssh.SFTPClient) -> None:
        if self._file is not None:
            close_later(self._file.close())
        if not self.made:
            return
        try:
            await files.remove(self.temporary)
        except asyncssh.SFTPError as error:
            if not no_document(error):
                return  # it is shown among the leftovers, and `exlab-store sweep` removes it


async def _synchronised(file: asyncssh.SFTPClientFile) -> None:
    try:
        await file.fsync()
    except asyncssh.SFTPOpUnsupported:
        return  # nothing is promised that depends on it


async def _kept(file: asyncssh.SFTPClientFile, old: asyncssh.SFTPAttrs, new: asyncssh.SFTPAttrs) -> int:
    """The mode that a new version gets. Owner and group are kept as far as the server allows.

    If the group cannot be kept, the members of the old and of the new one get no more than both had.
    """
    mode = (old.permissions or _PRIVATE) & 0o777
    if (old.uid, old.gid) == (new.uid, new.gid):
        return mode
    for uid, gid in ((old.uid, old.gid), (new.uid, old.gid)):
        try:
            await file.setstat(asyncssh.SFTPAttrs(uid=uid, gid=gid))
        except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure, asyncssh.SFTPOpUnsupported):
            continue
        return mode
    both = mode >> 3 & mode & 0o7
    return mode & 0o700 | both << 3 | both
