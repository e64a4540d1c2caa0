"""The NTSTATUS codes, and the errors of a store that stand for them [MS-ERREF 2.3]."""

from __future__ import annotations

import errno
from typing import Final

from exlab_store import AccessDenied, BackendUnavailable, InvalidKey, StorageFull, StoreError

__all__ = [
    "ACCESS_DENIED",
    "ACCOUNT_REFUSED",
    "BUSY_SERVER",
    "BUSY_TARGET",
    "CANCELLED",
    "CANNOT_DELETE",
    "DELETE_PENDING",
    "DIRECTORY_NOT_EMPTY",
    "DISK_FULL",
    "END_OF_FILE",
    "FILE_IS_A_DIRECTORY",
    "FULL",
    "HANDLE_GONE",
    "INVALID_PARAMETER",
    "LOCKED",
    "MISSING",
    "NAME_COLLISION",
    "NAME_MISSING",
    "NOTIFY_ENUM_DIR",
    "NOT_A_DIRECTORY",
    "NOT_A_TICKET",
    "NO_MORE_ENTRIES",
    "NO_SUCH_USER",
    "PATH_MISSING",
    "PATH_NOT_COVERED",
    "REFUSED_REQUEST",
    "SESSION_DELETED_OR_EXPIRED",
    "SESSION_GONE",
    "SHARING_VIOLATION",
    "TIME_DIFFERENCE",
    "not_created",
    "translated",
]

END_OF_FILE: Final = 0xC0000011
ACCESS_DENIED: Final = 0xC0000022
NAME_COLLISION: Final = 0xC0000035
NAME_MISSING: Final = 0xC0000034
SHARING_VIOLATION: Final = 0xC0000043
DELETE_PENDING: Final = 0xC0000056
FILE_IS_A_DIRECTORY: Final = 0xC00000BA
NOT_A_DIRECTORY: Final = 0xC0000103
CANCELLED: Final = 0xC0000120
DIRECTORY_NOT_EMPTY: Final = 0xC0000101
PATH_NOT_COVERED: Final = 0xC0000257
CANNOT_DELETE: Final = 0xC0000121
INVALID_PARAMETER: Final = 0xC000000D
TIME_DIFFERENCE: Final = 0xC0000133
NO_SUCH_USER: Final = 0xC0000064
DISK_FULL: Final = 0xC000007F
NOTIFY_ENUM_DIR: Final = 0x0000010C

_PATH_NOT_FOUND: Final = 0xC000003A
_NO_SUCH_FILE: Final = 0xC000000F
_OBJECT_NAME_INVALID: Final = 0xC0000033
_STOPPED_ON_SYMLINK: Final = 0x8000002D

PATH_MISSING: Final = frozenset({_PATH_NOT_FOUND})
"""A folder on the way is missing, or is none."""

MISSING: Final = frozenset({NAME_MISSING, _NO_SUCH_FILE, _PATH_NOT_FOUND, DELETE_PENDING})
"""There is no such file, or there will be none in a moment."""

LOCKED: Final = frozenset({0xC0000054, 0xC0000055})
"""FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED: somebody else holds it."""

BUSY_TARGET: Final = frozenset({ACCESS_DENIED, SHARING_VIOLATION, DELETE_PENDING})
"""The answers to a rename whose target another program has open [MS-FSA 2.1.5.15.11]."""

HANDLE_GONE: Final = frozenset({0xC0000128, 0xC0000008})
"""FILE_CLOSED (Samba and Windows), INVALID_HANDLE: the server knows the file's handle no more."""

SESSION_DELETED_OR_EXPIRED: Final = frozenset({0xC0000203, 0xC000035C})
"""USER_SESSION_DELETED, NETWORK_SESSION_EXPIRED: a server that no longer knows the session cannot sign this answer."""

SESSION_GONE: Final = SESSION_DELETED_OR_EXPIRED | {0xC00000C9}
"""These and NETWORK_NAME_DELETED: a new session is needed."""

FULL: Final = frozenset({DISK_FULL, 0xC0000044})
"""DISK_FULL, QUOTA_EXCEEDED."""

NO_MORE_ENTRIES: Final = frozenset({0x80000006, _NO_SUCH_FILE})
"""NO_MORE_FILES, NO_SUCH_FILE: the list of a folder ends here."""

BUSY_SERVER: Final = frozenset({0xC0000017, 0xC000009A, 0xC00000D0})
"""NO_MEMORY, INSUFFICIENT_RESOURCES, REQUEST_NOT_ACCEPTED: at the moment (Samba's answer to 1 in 1,000 logons)."""

REFUSED_REQUEST: Final = frozenset({INVALID_PARAMETER, 0xC0000008, 0xC00000BB, 0xC0000010, 0xC0000002, 0xC0000128})
"""INVALID_PARAMETER, INVALID_HANDLE, NOT_SUPPORTED, INVALID_DEVICE_REQUEST, NOT_IMPLEMENTED, FILE_CLOSED."""

NOT_A_TICKET: Final = frozenset({0xC00000A8, INVALID_PARAMETER, 0xC000006A, 0x80090308})
"""BAD_TOKEN_TYPE, INVALID_PARAMETER, WRONG_PASSWORD, SEC_E_INVALID_TOKEN: the server cannot use a Kerberos ticket."""

ACCOUNT_REFUSED: Final = {
    0xC000006A: "the password is wrong",
    0xC000006E: "the account is restricted",
    0xC000006F: "not at this hour",
    0xC0000070: "not from this host",
    0xC0000071: "its password has expired",
    0xC0000072: "it is disabled",
    0xC0000193: "it has expired",
    0xC0000224: "its password must be changed first",
    0xC0000234: "it is locked out",
    0xC000015B: "it may not log on over the network",
    NO_SUCH_USER: "it does not exist",
}
"""The reasons of a server that refuses an account, in words."""

_NAMES: Final = {
    0xC0000001: "UNSUCCESSFUL",
    0xC0000002: "NOT_IMPLEMENTED",
    0xC0000008: "INVALID_HANDLE",
    INVALID_PARAMETER: "INVALID_PARAMETER",
    _NO_SUCH_FILE: "NO_SUCH_FILE",
    0xC0000010: "INVALID_DEVICE_REQUEST",
    ACCESS_DENIED: "ACCESS_DENIED",
    _OBJECT_NAME_INVALID: "OBJECT_NAME_INVALID",
    NAME_MISSING: "OBJECT_NAME_NOT_FOUND",
    NAME_COLLISION: "OBJECT_NAME_COLLISION",
    _PATH_NOT_FOUND: "OBJECT_PATH_NOT_FOUND",
    SHARING_VIOLATION: "SHARING_VIOLATION",
    0xC0000044: "QUOTA_EXCEEDED",
    0xC0000054: "FILE_LOCK_CONFLICT",
    0xC0000055: "LOCK_NOT_GRANTED",
    DELETE_PENDING: "DELETE_PENDING",
    DISK_FULL: "DISK_FULL",
    0xC000009A: "INSUFFICIENT_RESOURCES",
    0xC00000A2: "MEDIA_WRITE_PROTECTED",
    FILE_IS_A_DIRECTORY: "FILE_IS_A_DIRECTORY",
    0xC00000BB: "NOT_SUPPORTED",
    NOT_A_DIRECTORY: "NOT_A_DIRECTORY",
    CANCELLED: "CANCELLED",
    CANNOT_DELETE: "CANNOT_DELETE",
    0xC0000185: "IO_DEVICE_ERROR",
    0xC0000128: "FILE_CLOSED",
    PATH_NOT_COVERED: "PATH_NOT_COVERED",
    _STOPPED_ON_SYMLINK: "STOPPED_ON_SYMLINK",
}

_DENIED: Final = {
    ACCESS_DENIED: "Ask for the right to {action} on this share, and see that the share is not read-only.",
    0xC00000A2: "The share or its disk is read-only.",
    CANNOT_DELETE: "The document is marked read-only.",
    SHARING_VIOLATION: "Another program has it open and shares it with nobody: close it there.",
    NAME_COLLISION: "Something stands where the store makes its temporary file: remove it.",
    _STOPPED_ON_SYMLINK: "A symbolic link stands there that the server does not follow: remove it.",
    PATH_NOT_COVERED: "A link of a DFS namespace stands there: open a store at the link, which is followed then.",
}
_NO_ROOM: Final = {
    DISK_FULL: (errno.ENOSPC, "Free some space; the stored document is as it was."),
    0xC0000044: (
        getattr(errno, "EDQUOT", errno.ENOSPC),
        "The quota of this account is used up; the stored document is as it was.",
    ),
}
_NAME: Final = {
    _OBJECT_NAME_INVALID: "The server cannot hold this name, or it is too long.",
    0xC0000039: "The server cannot hold this name, or it is too long.",
    0xC000003B: "The server cannot hold this name, or it is too long.",
    0xC0000106: "The server allows only shorter names.",
    FILE_IS_A_DIRECTORY: "The key names a folder; choose another for the document.",
    NOT_A_DIRECTORY: "A part of the key that should be a folder is a document.",
    _PATH_NOT_FOUND: "A part of the key that should be a folder is missing, or is a document.",
}


def translated(status: int, action: str) -> StoreError:
    """The error of a store that says the same.

    Args:
        status: What the server has answered, other than for a missing document.
        action: What was tried, a verb with its object: "write the document".

    Returns:
        `AccessDenied`, `StorageFull`, `InvalidKey`, or for everything else `BackendUnavailable`.
    """
    message = f"cannot {action}: the server answers {_NAMES.get(status, f'{status:#010x}')}"
    if status in _DENIED:
        return AccessDenied(message, hint=_DENIED[status].format(action=action))
    if status in _NO_ROOM:
        number, hint = _NO_ROOM[status]
        return StorageFull(message, errno=number, hint=hint)
    if status in _NAME:
        return InvalidKey(message, hint=_NAME[status])
    return BackendUnavailable(message, hint="Look at the server and its logs; trying again may succeed.")


def not_created(status: int, action: str) -> StoreError:
    """The error for a file that the server does not make.

    Args:
        status: The answer to its CREATE.
        action: What was tried, a verb with its object: "write the document".
    """
    if status == NAME_MISSING:  # Samba's answer for the names of its "veto files"
        return InvalidKey(f"cannot {action}: the server keeps this name for itself", hint="Choose another name.")
    return translated(status, action)
