"""A change of a document over SFTP alone, on a server where this account has no shell.

A write takes three round trips: the temporary file is made while the old document is looked at; the data and the fsync
go together; so do the rights, the close and the rename. The rename is asked for when the data is known to be there.

Nothing is durable: the rename is in the folder, and SFTP has no request that synchronises a folder.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import asyncssh

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    StoreError,
    Version,
    WriteOutcomeUnknown,
    temporary_name,
    version_of,
)
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.faults import SFTP_ENDED, examined, no_document, of_program, root_is_gone
from exlab_store_sftp.protocol import FOLDER, NEW, WRITE
from exlab_store_sftp.reading import close_later
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
        self.usual_mode: int | None = None  # of a new file of this account: 0666 without its umask

    async def write(self, key: str, data: bytes) -> Version:
        """Replaces a document, or makes it.

        Args:
            key: The document's key.
            data: The whole document.

        Raises:
            StoreError: Nothing was written; or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        path = self._folder.path(key)
        version = version_of(data)
        temporary = f"{self._folder.folder(key)}/{temporary_name(key.rpartition('/')[2])}".replace("//", "/")
        attempt = _PlainAttempt(self, key, path, temporary, data)
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

    async def mode_of_new(self, files: asyncssh.SFTPClient, temporary: str) -> int | None:
        """The rights of a new file of this account, found out once.

        Args:
            files: The session.
            temporary: The path of a file that may be made, and made again.

        Returns:
            None where the file is there now with its usual rights.
        """
        if self.usual_mode is not None:
            return self.usual_mode
        await files.remove(temporary)
        file = await files.open(temporary, NEW, encoding=None)
        attributes = await file.stat()
        close_later(file.close())
        self.usual_mode = None if attributes.permissions is None else attributes.permissions & 0o777
        return self.usual_mode


class _PlainAttempt:
    """One write.

    Attributes:
        temporary: The path of the temporary file.
        made: It may be there.
        asked: The rename was asked for.
    """

    def __init__(self, changes: PlainChanges, key: str, path: str, temporary: str, data: bytes) -> None:
        self._changes = changes
        self._key = key
        self._path = path
        self._data = data
        self._mode: int | None = None
        self._file: asyncssh.SFTPClientFile | None = None
        self.temporary = temporary
        self.made = False
        self.asked = False

    async def prepare(self, files: asyncssh.SFTPClient) -> None:
        """Two round trips: the temporary file is there then, with its data."""
        try:
            file, old = await self._opened(files)
            if old is None:
                mode = await self._changes.mode_of_new(files, self.temporary)
                if mode is None:
                    raise InvalidKey("the server tells no permissions", hint="Use another server.")
                if self._fresh:  # it was made anew to find out
                    file = await files.open(self.temporary, WRITE, encoding=None)
                self._mode = mode
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
        self._fresh = False
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
            if isinstance(old, asyncssh.SFTPAttrs):
                if old.type == FOLDER:
                    raise InvalidKey("the key names a folder", hint="Choose another key for the document.")
                return file, old
            self._fresh = self._changes.usual_mode is None
            return file, None
        raise AssertionError

    async def rename(self, files: asyncssh.SFTPClient) -> None:
        """One round trip: rights, close and rename."""
        file = self._file
        if file is None:
            raise ConnectionGone("the connection has ended")
        self.asked = True
        rights = asyncssh.SFTPAttrs(permissions=self._mode)
        try:
            *_, renamed = await asyncio.gather(
                file.setstat(rights),
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
