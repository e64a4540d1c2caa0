"""What is found out about a server when a store is opened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh

from exlab_store import LocationError, StoreError, temporary_name
from exlab_store_sftp.claims import ServerClaims, claims_of
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.faults import MISSING, translated
from exlab_store_sftp.protocol import FOLDER
from exlab_store_sftp.server_shell import NoShell, ServerShell, Welcome
from exlab_store_sftp.time_limit import TimeLimit

if TYPE_CHECKING:
    from exlab_store_sftp.paths import StoreFolder
    from exlab_store_sftp.session import Session

__all__ = ["open_session"]

_SHELL_REMEDY = (
    "give the account a shell, and take ForceCommand internal-sftp and ChrootDirectory away from it in sshd_config"
)


async def open_session(session: Session, folder: StoreFolder) -> ServerClaims:
    """Connects, and finds out what the server gives.

    Args:
        session: Of the store.
        folder: The store's folder.

    Raises:
        LocationError: The folder does not exist or is none, or the server offers no SFTP.
        StoreError: The server cannot be reached, or refuses.
    """
    deadline = TimeLimit(session.options.timeout)
    try:
        await session.connection(deadline)
        found, shell = await asyncio.gather(_look(session, folder, deadline), _shell(session, folder, deadline))
    except ConnectionGone as lost:
        raise deadline.late("open the store") from lost
    root, replaces = found
    why, remedy = "", ""
    welcome: Welcome | None = None
    if isinstance(shell, ServerShell):
        welcome = shell.welcome
        if _same(root, welcome):
            session.give_back(shell)
        else:
            shell.end()
            welcome = None
            why = "this account's shell sees other folders on the server than its SFTP session"
            remedy = "let both see the same, without ChrootDirectory or both with it"
    else:
        why, remedy = shell
    return claims_of(welcome, replaces=replaces, why_no_shell=why, remedy=remedy)


async def _look(session: Session, folder: StoreFolder, deadline: TimeLimit) -> tuple[asyncssh.SFTPAttrs, bool]:
    """The attributes of the folder, or of the first above it that exists; and whether the server replaces files."""
    try:
        return await session.asked(deadline, lambda files: _seen(files, folder))
    except asyncssh.SFTPError as error:
        raise translated(error, "open the store's folder") from error


async def _seen(files: asyncssh.SFTPClient, folder: StoreFolder) -> tuple[asyncssh.SFTPAttrs, bool]:
    absent = folder.base + temporary_name("exlab-store")
    found, replaced = await asyncio.gather(
        files.stat(folder.root), files.posix_rename(absent, absent + "0"), return_exceptions=True
    )
    # Where it is offered, it says that there is no such file.
    replaces = not isinstance(replaced, asyncssh.SFTPOpUnsupported)
    path = folder.root
    while isinstance(found, MISSING):
        if not folder.create:
            raise LocationError("there is no such folder on the server", hint="Make it, or correct the path.")
        path = path.rpartition("/")[0] or "/"
        try:
            found = await files.stat(path)
        except MISSING as error:
            found = error
    if isinstance(found, BaseException):
        raise found
    if found.type != FOLDER:
        raise LocationError("the location is not a folder", hint="Give the folder that holds the documents.")
    return found, replaces


async def _shell(session: Session, folder: StoreFolder, deadline: TimeLimit) -> ServerShell | tuple[str, str]:
    """A process on the server, or why there is none and what to change."""
    if not session.options.shell:
        return "the store was opened with shell=False", "leave shell=False out"
    connection = await session.connection(deadline)
    try:
        async with asyncio.timeout(deadline.remaining() / 2):
            return await connection.start_shell(folder.root)
    except TimeoutError:
        return "this account's shell on the server says nothing", _SHELL_REMEDY
    except NoShell as error:
        return f"this account has no shell on the server ({error})", _SHELL_REMEDY
    except StoreError as error:
        return f"this account has no shell on the server ({error.message})", _SHELL_REMEDY


def _same(attributes: asyncssh.SFTPAttrs, welcome: Welcome) -> bool:
    """Whether SFTP and the shell see the same folder."""
    try:
        uid, gid, mode, size, modified = welcome.root.split(":")
        seen = (int(uid), int(gid), int(mode, 8), int(size), int(modified))
    except ValueError:
        return False
    mode_of_both = (attributes.permissions or 0) & 0o7777
    return seen[:4] == (attributes.uid, attributes.gid, mode_of_both, attributes.size) and (
        abs(seen[4] - int(attributes.mtime or 0)) <= 2  # somebody may have written between the two looks
    )
