"""From the error numbers of Windows, of which Python keeps few apart in ``errno``, to the errors of a store."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import os
from typing import TYPE_CHECKING, Final

from exlab_store import AccessDenied, BackendUnavailable, InvalidKey, StorageFull

if TYPE_CHECKING:
    from exlab_store import StoreError

__all__ = ["certainly_refused", "translated_on_windows"]

# [System Error Codes]
_ACCESS_DENIED, _IN_USE, _WRITE_PROTECTED = 5, frozenset({32, 33}), 19
_FULL: Final = {
    39: "Free some space; the stored document is as it was.",
    112: "Free some space; the stored document is as it was.",
    1295: "The quota of this account is used up; the stored document is as it was.",
}
_NAME: Final = {
    123: "The file system cannot hold this name.",
    161: "The file system cannot hold this name.",
    206: "The file system allows only shorter names.",
    267: "A part of the key that should be a folder is a document.",
}
_AWAY: Final = frozenset({21, 51, 53, 54, 55, 59, 64, 65, 67, 121, 1167, 1203, 1219, 1222, 1225, 1231, 1232, 1236})
_REFUSED: Final = frozenset({2, 3, 5, 15, 17, 19, 32, 33, 80, 145, 183, *_FULL, *_NAME, 1, 50, 87, 124})
_ATTRIBUTE_READONLY: Final = 0x1


def translated_on_windows(error: OSError, action: str) -> StoreError | None:
    """The error of a store that says the same; None where ``errno`` says enough.

    Args:
        error: What a call raised.
        action: What was tried, a verb with its object: "write the document".
    """
    number, code = error.winerror, error.errno
    message = f"cannot {action}: {error.strerror or error}"
    if number in _IN_USE:
        found = BackendUnavailable(
            f"cannot {action}: another program has it open ({error.strerror})",
            errno=code,
            hint="Close it there: a spreadsheet, an editor, a virus scanner or a backup. "
            "The Resource Monitor shows which program it is.",
        )
        found.exhausted = True  # the call has waited for it already
        return found
    if number in _AWAY:
        return BackendUnavailable(message, errno=code, hint="The network drive, or the disk, is not connected.")
    if number == _WRITE_PROTECTED:
        return AccessDenied(message, errno=code, hint="The disk is write-protected.")
    if number == _ACCESS_DENIED and _is_read_only(error):
        name = os.path.basename(str(error.filename))
        return AccessDenied(
            f"cannot {action}: the file {name!r} is marked read-only",
            errno=code,
            hint=f"Take the mark away in its properties, or with: attrib -r {name}",
        )
    if number in _FULL:
        return StorageFull(message, errno=code, hint=_FULL[number])
    if number in _NAME:
        return InvalidKey(message, hint=_NAME[number])
    return None


def certainly_refused(error: OSError) -> bool:
    """Whether a number proves that nothing was done: most that Python does not know become EINVAL.

    Args:
        error: What a rename or a deletion raised.
    """
    return error.winerror is None or error.winerror in _REFUSED


def _is_read_only(error: OSError) -> bool:
    try:
        return bool(os.lstat(error.filename).st_file_attributes & _ATTRIBUTE_READONLY)
    except (OSError, TypeError, ValueError):
        return False
