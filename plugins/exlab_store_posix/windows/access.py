"""The owner and the access control list of a new version of a document: those of the version before it.

The names are those of `exlab_store_posix.access`, for which this stands on Windows. A document that has its rules from
the folder alone needs nothing: the folder gives them to the new version too. One with rules of its own is born its
maker's alone, and gets them before its content.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import msvcrt
import os
from stat import FILE_ATTRIBUTE_READONLY, S_ISREG
from typing import Final

from exlab_store import LocationError, NotSupported, came_from_signal_handler, suppress_unless_signalled
from exlab_store_posix.windows.kernel32 import failure, final_name, keeps_access_lists
from exlab_store_posix.windows.security import DACL, OWNER, of_file, of_handle, set_of_file, set_of_handle

__all__ = ["PRIVATE", "checked_mode", "give_mode", "keep_access", "replaced_by"]

PRIVATE: Final = 0o600
"""What a new file is born with until it has its own rights."""

_ACCESS_DENIED: Final = 5


def replaced_by(target: str) -> os.stat_result | None:
    """The document whose rules a new version gets.

    Args:
        target: Where the new version will stand.

    Returns:
        None if there is none, or its folder gives the new version the same.

    Raises:
        PermissionError: It is marked read-only.
        OSError: Its rules cannot be read.
    """
    try:
        old = os.stat(target)
        if old.st_file_attributes & FILE_ATTRIBUTE_READONLY:
            raise failure(target, _ACCESS_DENIED)
        if not S_ISREG(old.st_mode) or of_file(target, DACL).is_inherited:
            return None
    except FileNotFoundError as error:
        if came_from_signal_handler(error):
            raise
        return None
    return old


def keep_access(descriptor: int, document: str | int, old: os.stat_result) -> None:  # noqa: ARG001
    """Gives a new file the access control list of a document, and its owner, as far as this account may.

    Args:
        descriptor: Of the new file, which is empty and private yet.
        document: Its path, or a descriptor.
        old: Its status.

    Raises:
        OSError: The list cannot be read, or not be set.
    """
    handle = msvcrt.get_osfhandle(descriptor)
    if not keeps_access_lists(handle):
        return
    # A file that is opened for its content need not let its list be read.
    path = document if isinstance(document, str) else final_name(msvcrt.get_osfhandle(document))
    rules = of_file(path)
    if rules.owner != of_handle(handle, OWNER).owner:
        with suppress_unless_signalled(OSError):  # ERROR_INVALID_OWNER: only some accounts may give files away
            set_of_file(final_name(handle), rules, OWNER)
    set_of_handle(handle, rules.inheriting, DACL)


def checked_mode(mode: object) -> int | None:
    """The permission bits that an option gives to each document; None where it is not given.

    Args:
        mode: The option.

    Raises:
        LocationError: They are none.
        NotSupported: They are others than 0o600, the owner's alone.
    """
    if mode is None or mode == PRIVATE:
        return PRIVATE if mode is not None else None
    if type(mode) is not int or mode & ~0o777:
        raise LocationError("`mode` must be permission bits", hint="Write 0o600 for the owner alone, or leave it out.")
    raise NotSupported(
        f"Windows has access control lists, and no mode {mode:#o}",
        hint="Give 0o600 for the owner alone, or leave mode out: documents then have the rules of their folder.",
    )


def give_mode(descriptor: int, old: os.stat_result | None, mode: int) -> None:  # noqa: ARG001
    """Checks that a new file is its owner's alone, as it was made.

    Args:
        descriptor: Of the new file, which is empty yet.
        old: The document that it replaces, if there is one.
        mode: `PRIVATE`.

    Raises:
        NotSupported: The file system keeps no access control lists.
    """
    if not keeps_access_lists(msvcrt.get_osfhandle(descriptor)):
        raise NotSupported(
            f"this file system keeps no access control lists, and mode={mode:#o} was asked for",
            hint="Keep private documents on NTFS.",
        )
