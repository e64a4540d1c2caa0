"""A folder removed, with the lock files and temporary files in it: the only case in which a lock file goes.

It goes while a process on the server holds its lock. Who waits for it finds, when it gets it, that the file has lost
its name, and takes the lock of the file that has the name then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    FolderNotEmpty,
    InvalidKey,
    LockTimeout,
    WriteOutcomeUnknown,
)
from exlab_store.backend import removal_order
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.faults import MISSING, of_program, root_is_gone, translated
from exlab_store_sftp.locking import owner_in
from exlab_store_sftp.protocol import FOLDER, LINK, REGULAR
from exlab_store_sftp.server_script import call
from exlab_store_sftp.time_limit import TimeLimit

if TYPE_CHECKING:
    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.session import Session

__all__ = ["FolderRemoval"]


class FolderRemoval:
    """Removes folders of one store.

    Args:
        session: The store's connections.
        folder: The store's folder.
    """

    def __init__(self, session: Session, folder: StoreFolder) -> None:
        self._session = session
        self._folder = folder

    async def remove(self, key: str) -> None:
        """Removes a folder in which there is nothing but lock files and temporary files.

        Args:
            key: The folder's key.

        Raises:
            FolderNotEmpty: There is something else in it.
            LockTimeout: A lock in it is held.
            InvalidKey: It is no folder, or a link leads there.
            StoreError: The folder is still there, or `WriteOutcomeUnknown`.
        """
        deadline = TimeLimit(self._session.options.timeout)
        path = self._folder.path(key)
        try:
            found = await self._session.answered(
                deadline, "look at the folder", lambda files: self._contents(files, key)
            )
        except asyncssh.SFTPError as error:
            if isinstance(error, MISSING):
                raise DocumentNotFound("there is no such folder") from error
            raise translated(error, "look at the folder") from error
        request = call("remove", path, path.rpartition("/")[0] or "/", *removal_order(found))
        try:
            async with self._session.shell(deadline) as shell:
                word, rest = await shell.ask(request, deadline.half())
        except ConnectionGone as lost:
            raise WriteOutcomeUnknown(str(lost), intended=None) from lost
        if word == "busy":
            raise LockTimeout("a lock in the folder is held", holder=owner_in(rest))
        if word == "foreign":
            raise FolderNotEmpty("another program keeps a database in the folder", left=[rest])
        if word == "unsettled":
            raise WriteOutcomeUnknown(f"the folder above could not be synchronised: {rest}", intended=None)
        if word != "done":
            text = rest.partition(" ")[2]
            if "No such file" in text:
                raise DocumentNotFound("there is no such folder")
            raise of_program(text, "remove the folder")

    async def _contents(self, files: asyncssh.SFTPClient, key: str) -> dict[str, bool]:
        segments = key.split("/")
        for count in range(1, len(segments) + 1):
            try:
                attributes = await files.lstat(self._folder.base + "/".join(segments[:count]))
            except MISSING:
                if count == 1 and not await files.exists(self._folder.root):
                    raise root_is_gone() from None
                raise
            if attributes.type == LINK:
                raise InvalidKey("the key leads over a symbolic link", hint="Delete the folder where it really is.")
            if attributes.type != FOLDER:
                if count < len(segments):
                    raise DocumentNotFound("there is no such folder")
                raise InvalidKey("the key names a document, not a folder", hint="Delete the document.")
        found: dict[str, bool] = {}
        for entry in await files.readdir(self._folder.path(key)):
            name = str(entry.filename)
            if name in {".", ".."}:
                continue
            if "/" in name or "\n" in name:
                raise BackendUnavailable("the server lists what is no name", hint="Look at the folder there.")
            found[name] = entry.attrs.type == REGULAR
        return found
