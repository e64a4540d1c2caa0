"""From the errors of SQLite and of the system to the errors of a store."""

from __future__ import annotations

import errno
import os
import sqlite3

from exlab_store.backend import AccessDenied, BackendUnavailable, StorageFull, StoreError, mode_at

__all__ = ["primary_code", "translated"]


def primary_code(error: sqlite3.Error) -> int:
    """What SQLite calls the primary result code: the kind of failure, without the detail.

    Args:
        error: The error; one of the module ``sqlite3`` itself has no code, which is 0 here.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def translated(error: sqlite3.Error | OSError, action: str, path: str) -> StoreError:
    """The error of a store that says the same, for an operation that did not happen.

    Args:
        error: What was raised.
        action: What was tried, a verb with its object: "write the document".
        path: The file that it was tried with.
    """
    message = f"cannot {action}: {error}"
    if isinstance(error, OSError):
        message = f"cannot {action}: {error.strerror or error}"
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            return AccessDenied(message, errno=error.errno, hint=f"Ask for the right to {action} here.")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull(message, errno=error.errno, hint="Free some space.")
        return BackendUnavailable(message, errno=error.errno, hint="Look at the file system.")
    code = primary_code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BackendUnavailable(message, hint="Others keep the database busy; trying again may succeed.")
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(message, hint="Free some space; the stored document is as it was.")
    if code == sqlite3.SQLITE_TOOBIG:
        return StorageFull(message, errno=errno.EFBIG, hint="SQLite holds up to 1,000,000,000 bytes in one place.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM) or (
        # SQLite does not say why it cannot open a file.
        code == sqlite3.SQLITE_CANTOPEN and not _may_change(path)
    ):
        return AccessDenied(message, hint="This account must be able to write the database file and its folder.")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return BackendUnavailable(message, hint="The database file is damaged: restore it from a backup.")
    return BackendUnavailable(message, hint="Look at the file system; trying again may succeed.")


def _may_change(path: str) -> bool:
    there = path if mode_at(path) else os.path.dirname(path)
    return not mode_at(there) or os.access(there, os.R_OK | os.W_OK)
