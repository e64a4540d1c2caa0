"""From what the server says to the errors of a store: SFTP's few codes, and the words of the programs there."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Final

import asyncssh

from exlab_store import AccessDenied, BackendUnavailable, InvalidKey, LockLost, StorageFull, StoreError
from exlab_store.backend import FolderNotEmpty
from exlab_store_sftp.connection_lost import ConnectionGone
from exlab_store_sftp.protocol import FOLDER

if TYPE_CHECKING:
    from exlab_store_sftp.time_limit import TimeLimit

__all__ = [
    "MISSING",
    "SFTP_ENDED",
    "examined",
    "link_hidden",
    "lock_file_closed",
    "lock_file_removed",
    "lost_if_ended",
    "no_document",
    "of_program",
    "root_is_gone",
    "translated",
]

MISSING: Final = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
"""ENOENT, and of OpenSSH also ENOTDIR and ELOOP (sftp-server.c, errno_to_portable)."""
SFTP_ENDED: Final = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost)

_READ_ONLY: Final = 0x1  # statvfs@openssh.com, SSH_FXE_STATVFS_ST_RDONLY

_FREE_SPACE: Final = "Free some space; the stored document is as it was."
# The messages of strerror(3) in the C locale, as glibc and musl have them.
_OF_PROGRAMS: Final[tuple[tuple[str, type[AccessDenied | StorageFull | InvalidKey], str, int], ...]] = (
    ("No space left on device", StorageFull, _FREE_SPACE, errno.ENOSPC),
    ("Disk quota exceeded", StorageFull, "The account's quota is used up; the document is as it was.", errno.ENOSPC),
    ("File too large", StorageFull, "The server, or a limit of the account there, forbids it.", errno.EFBIG),
    ("Read-only file system", AccessDenied, "The file system is mounted read-only on the server.", errno.EROFS),
    ("Permission denied", AccessDenied, "Ask for the right to {action} here.", errno.EACCES),
    ("Operation not permitted", AccessDenied, "Ask for the right to {action}; or it is immutable.", errno.EPERM),
    ("not a lock file", AccessDenied, "Remove what stands at the document's name with .lock behind it.", errno.EACCES),
    ("Text file busy", AccessDenied, "The file is in use as a program.", errno.ETXTBSY),
    ("Device or resource busy", AccessDenied, "The file is mounted or in use by the system.", errno.EBUSY),
    ("Is a directory", InvalidKey, "The key names a folder; choose another for the document.", errno.EISDIR),
    ("cannot overwrite directory", InvalidKey, "The key names a folder; choose another.", errno.EISDIR),
    ("Not a directory", InvalidKey, "A part of the key that should be a folder is a document.", errno.ENOTDIR),
    ("File name too long", InvalidKey, "The server's file system allows only shorter names.", errno.ENAMETOOLONG),
    ("Invalid or incomplete multibyte", InvalidKey, "The server's file system cannot hold this name.", errno.EILSEQ),
)  # fmt: skip


def of_program(text: str, action: str) -> StoreError:
    """The error for what a program on the server has said when it failed: nothing has happened.

    Args:
        text: Its words.
        action: What was tried, a verb with its object: "write the document".
    """
    if action == "make the folder" and "File exists" in text:
        text = "Not a directory"
    for words, kind, hint, number in _OF_PROGRAMS:
        if words in text:
            return kind(f"cannot {action}: {words}", hint=hint.format(action=action), errno=number)
    if "Directory not empty" in text:
        return FolderNotEmpty("somebody has made something in the folder meanwhile")
    said = " ".join(text.split())[:200]
    return BackendUnavailable(
        f"cannot {action}: {said or 'the server gives no reason'}",
        hint="Look at the server and its file system; trying again may succeed.",
    )


def lost_if_ended(error: Exception) -> None:
    """Raises `ConnectionGone` for an error that says that the connection has ended."""
    if isinstance(error, SFTP_ENDED) or (isinstance(error, OSError) and not isinstance(error, TimeoutError)):
        raise ConnectionGone(f"the connection has ended: {error}") from error
    if isinstance(error, ValueError | asyncssh.SFTPEOFError):  # a file of a session that has ended
        raise ConnectionGone("the connection has ended") from error


def no_document(error: Exception) -> bool:
    """Whether an SFTP error says that there is nothing of that name."""
    return isinstance(error, MISSING)


def translated(error: Exception, action: str) -> StoreError:
    """The error of a store for an SFTP error whose code tells; see `examined` for the one that does not.

    Args:
        error: What asyncssh raised.
        action: See `of_program`.
    """
    lost_if_ended(error)
    message = f"cannot {action}: {getattr(error, 'reason', '') or error}"
    if isinstance(error, (asyncssh.SFTPPermissionDenied, asyncssh.SFTPCannotDelete)):
        return AccessDenied(message, errno=errno.EACCES, hint=f"Ask for the right to {action} here.")
    if isinstance(error, asyncssh.SFTPWriteProtect):
        return AccessDenied(message, errno=errno.EROFS, hint="The file system is mounted read-only on the server.")
    if isinstance(error, (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)):
        return StorageFull(message, errno=errno.ENOSPC, hint=_FREE_SPACE)
    if isinstance(error, asyncssh.SFTPBadMessage):  # ENAMETOOLONG and EINVAL of OpenSSH
        return InvalidKey(message, hint="The server's file system cannot hold this name.")
    return BackendUnavailable(message, hint="Look at the server and its file system; trying again may succeed.")


async def examined(
    error: Exception, action: str, files: asyncssh.SFTPClient, path: str, size: int, deadline: TimeLimit
) -> StoreError:
    """The error of a store for any SFTP error: for the code Failure (4), which is one for all, the server is asked.

    Args:
        error: What asyncssh raised.
        action: See `of_program`.
        files: The session.
        path: Of the document.
        size: What was to be written, in bytes.
        deadline: Until when.
    """
    if not isinstance(error, asyncssh.SFTPFailure):
        return translated(error, action)
    folder = path.rpartition("/")[0] or "/"
    try:
        async with asyncio.timeout(deadline.remaining()):
            space, found = await asyncio.gather(files.statvfs(folder), files.lstat(path), return_exceptions=True)
    except TimeoutError as late:
        raise deadline.late(action) from late
    if isinstance(found, asyncssh.SFTPAttrs) and found.type == FOLDER:
        return InvalidKey(f"cannot {action}: the key names a folder", hint="Choose another key for the document.")
    if isinstance(space, asyncssh.SFTPVFSAttrs):
        if space.flags & _READ_ONLY:
            return AccessDenied(
                f"cannot {action}: the server's file system is read-only",
                errno=errno.EROFS,
                hint="It is mounted read-only there.",
            )
        # The failed file is still there, or has just been removed: what is free may be a little more than nothing.
        if size and (space.bavail * space.frsize < size + space.frsize or (space.files and not space.favail)):
            return StorageFull(f"cannot {action}: no space left on the server", errno=errno.ENOSPC, hint=_FREE_SPACE)
    return BackendUnavailable(
        f"cannot {action}: the server says no more than Failure",
        hint="A quota of the account, or a fault of the disk, looks like that: look at the server.",
    )


def link_hidden() -> AccessDenied:
    """The error for a link in the place of a document: it is not replaced, as nobody knows how private its end is."""
    return AccessDenied(
        "the document is a link, and where that leads cannot be looked at",
        errno=errno.EACCES,
        hint="Remove the link, or let this account look at what it leads to.",
    )


def lock_file_closed(name: str, told: str) -> StoreError:
    """The error for a lock file that somebody else has made so that this account may not write it.

    Args:
        name: The lock file's.
        told: Its mode, user and group, and their names, with colons between them.
    """
    words = told.split(":")
    if len(words) != 5:
        return of_program("Permission denied", "lock the document")
    mode, *numbers = words[:3]
    user, group = (
        number if shown in {"", "UNKNOWN"} else shown for number, shown in zip(numbers, words[3:], strict=True)
    )
    return AccessDenied(
        f"the lock file {name} is closed to this account: it belongs to user {user} and group {group}, "
        f"with mode {mode.zfill(4)}",
        errno=errno.EACCES,
        hint="Have its owner or root give it the owner, the group and the read and write rights of its folder; it is "
        "never deleted.",
    )


def lock_file_removed() -> LockLost:
    """The error for a lock whose file has lost its name."""
    return LockLost(
        "somebody deleted, moved or replaced the lock file",
        hint="Lock files stay where they are; find out what removes them.",
    )


def root_is_gone() -> BackendUnavailable:
    """The error for a store whose folder is gone."""
    return BackendUnavailable(
        "the store's folder is gone from the server", errno=errno.ENOENT, hint="Restore it, or mount it there again."
    )
