"""The calls on files that the backend makes otherwise on Windows; they are named as those of `os`, and stand for them.

A file that a program has open is in the way of others there: of its readers, where the program lets nobody in (Excel),
and of whoever renames over it, where it does not share deletion (nearly all programs, Python's `open` too). Such
programs let go of a document in milliseconds or, a spreadsheet, in minutes. So each call waits for them, until
`PATIENCE` is over.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import errno
import msvcrt
import os
import random
import time
from stat import S_ISDIR, S_ISLNK
from typing import TYPE_CHECKING, Final

from exlab_store import suppress_unless_signalled, temporary_name
from exlab_store.backend import mode_at
from exlab_store_posix.windows import kernel32
from exlab_store_posix.windows.kernel32 import DELETE, GENERIC_READ, GENERIC_WRITE, SHARE_ALL, SHARE_READ_WRITE
from exlab_store_posix.windows.paths import ensure_spelt
from exlab_store_posix.windows.security import owner_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeVar

    P = TypeVar("P", str, "str | int")
    T = TypeVar("T")

__all__ = ["O_NOFOLLOW", "PATIENCE", "lstat", "open", "replace", "scandir", "stat", "unlink"]

PATIENCE = 30.0
"""Seconds, as many as a server has by default."""

O_NOFOLLOW: Final = 1 << 30
"""Of our own: a symbolic link is opened itself, and is then no file."""

# Readers let go of a document in milliseconds, and come again: who asks often finds a gap between them.
_SHORT_PAUSE: Final = 0.0005
_SHORT_FOR: Final = 2.0
_LONG_PAUSE: Final = 0.02
# A name of which the deletion is pending says "access denied", too (STATUS_DELETE_PENDING), for milliseconds.
_BELIEVED_FOR: Final = 0.25

_ACCESS_DENIED: Final = 5
_SHARING_VIOLATION: Final = 32
_INVALID_NAME: Final = 123
# FileRenameInfoEx came with Windows 10 1709; file systems other than NTFS, and servers, need not have it.
_NO_SUCH_RENAME: Final = frozenset({1, 50, 87, 124})

_CREATE_NEW, _OPEN_EXISTING, _OPEN_ALWAYS = 1, 3, 4
_ATTRIBUTE_NORMAL: Final = 0x80
_ATTRIBUTE_READONLY: Final = 0x1
_OPEN_REPARSE_POINT: Final = 0x00200000
_WRITE_THROUGH: Final = 0x80000000
_READ_CONTROL: Final = 0x00020000
_WRITE_DAC: Final = 0x00040000

_without_posix_rename: set[str] = set()


def open(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:  # noqa: A001, ARG001
    """Opens a file so that it is in nobody's way.

    A file that is opened for reading *and* writing is a lock file: nobody may take its name away while it is open.

    Args:
        path: The file.
        flags: As for `os.open`, and `O_NOFOLLOW`.
        mode: Of a new file: with bits for others, it has the access control list that its folder gives; with none, it
            is its owner's alone, and can be given another list.
        dir_fd: Ignored.

    Returns:
        A descriptor, which a child process does not inherit.

    Raises:
        IsADirectoryError: It is a folder.
        OSError: From CreateFileW; ELOOP for a link.
    """
    both = flags & os.O_RDWR
    access = GENERIC_READ | GENERIC_WRITE if both else GENERIC_WRITE if flags & os.O_WRONLY else GENERIC_READ
    disposition = _OPEN_EXISTING
    if flags & os.O_CREAT:
        disposition = _CREATE_NEW if flags & os.O_EXCL else _OPEN_ALWAYS
    special = _ATTRIBUTE_NORMAL | (_OPEN_REPARSE_POINT if flags & O_NOFOLLOW else 0)
    share = SHARE_READ_WRITE if both else SHARE_ALL

    private = disposition == _CREATE_NEW and not mode & 0o077
    access |= _READ_CONTROL | _WRITE_DAC if private else 0
    security = owner_alone() if private else None

    def opened() -> int:
        return kernel32.create_file(path, access, share, disposition, special, security)

    handle = _patiently(opened, path)
    try:
        if not both:
            ensure_spelt(path, writing=False, handle=handle)
        if flags & O_NOFOLLOW:
            _ensure_no_link(path)
        return msvcrt.open_osfhandle(handle, flags & (os.O_RDWR | os.O_WRONLY) | os.O_BINARY | os.O_NOINHERIT)
    except BaseException:
        kernel32.close_handle(handle)
        raise


def replace(source: str, target: str) -> None:
    """Renames a file over another; returns when that is on the disk.

    Args:
        source: The new document.
        target: Its name.

    Raises:
        InvalidKey: A document whose name differs in case stands there.
        IsADirectoryError: A folder stands there.
        OSError: From the calls.
    """
    ensure_spelt(target, writing=True)
    _ensure_not_read_only(target)
    drive = os.path.splitdrive(target)[0]

    def renamed() -> None:
        if drive not in _without_posix_rename:
            try:
                _rename_over_open(source, target)
            except OSError as error:
                if error.winerror not in _NO_SUCH_RENAME:
                    raise
                _without_posix_rename.add(drive)
            else:
                return
        kernel32.move_file(source, target)

    _patiently(renamed, target)


def unlink(path: str) -> None:
    """Deletes a document; returns when its name is gone, on the disk too.

    A file that others have open keeps its name until they close it, and DeleteFileW is not written through. So the
    name is taken from it first.

    Args:
        path: The document.

    Raises:
        OSError: From the calls; the document is still there.
    """
    ensure_spelt(path, writing=False)
    _ensure_not_read_only(path)
    folder, _, name = path.rpartition("\\")
    temporary = f"{folder}\\{temporary_name(name)}"
    _patiently(lambda: kernel32.move_file(path, temporary), path)
    with suppress_unless_signalled(OSError):
        os.unlink(temporary)


def stat(path: str | int) -> os.stat_result:
    """As `os.stat`; a key in another spelling finds nothing."""
    if isinstance(path, str):
        ensure_spelt(path, writing=False)
    return _found(os.stat, path)


def lstat(path: str) -> os.stat_result:
    """As `os.lstat`; a key in another spelling finds nothing."""
    ensure_spelt(path, writing=False)
    return _found(os.lstat, path)


def scandir(path: str) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """As `os.scandir`; a key in another spelling finds nothing."""
    ensure_spelt(path, writing=False)
    return _found(os.scandir, path)


def _found(call: Callable[[P], T], path: P) -> T:
    try:
        return call(path)
    except OSError as error:
        # With a document in the place of a folder, Windows says 3 or 267, and wine 123; keys have no invalid names.
        if error.winerror != _INVALID_NAME:
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error


def _ensure_not_read_only(path: str) -> None:
    """Refuses a document that is marked read-only, before its temporary file is a leftover that cannot be deleted."""
    try:
        attributes = os.lstat(path).st_file_attributes
    except FileNotFoundError:
        return
    if attributes & _ATTRIBUTE_READONLY:
        raise kernel32.failure(path, _ACCESS_DENIED)


def _ensure_no_link(path: str) -> None:
    if S_ISLNK(mode_at(path, follow_symlinks=False)):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _rename_over_open(source: str, target: str) -> None:
    # Of a handle that is written through, NTFS "flush[es] any metadata changes, such as a time stamp update or a
    # rename operation, that result from processing the request" [CreateFileW, Caching Behavior].
    handle = kernel32.create_file(
        source, DELETE, SHARE_ALL, _OPEN_EXISTING, _ATTRIBUTE_NORMAL | _WRITE_THROUGH | _OPEN_REPARSE_POINT
    )
    try:
        kernel32.rename_open_file(handle, target)
    finally:
        kernel32.close_handle(handle)


def _patiently(call: Callable[[], T], path: str) -> T:
    """Repeats a call for as long as somebody has the file open.

    Raises:
        PermissionError: `PATIENCE` is over; with ``winerror`` 32, a sharing violation.
        OSError: From the call.
    """
    began = time.monotonic()
    believed_until = _BELIEVED_FOR
    while True:
        try:
            return call()
        except OSError as error:
            waited = time.monotonic() - began
            if error.winerror == _ACCESS_DENIED:
                if waited >= believed_until:
                    believed_until = waited + _BELIEVED_FOR
                    _ensure_in_use(error, path)
                else:
                    _ensure_may_be_in_use(error, path)
            elif error.winerror != _SHARING_VIOLATION:
                raise
            if waited >= PATIENCE:
                raise kernel32.failure(path, _SHARING_VIOLATION) from error
        # Jitter: two that wait for each other's files must not meet again and again.
        pause = _SHORT_PAUSE if waited < _SHORT_FOR else _LONG_PAUSE
        time.sleep(min(pause * random.uniform(0.2, 2), max(0.0, PATIENCE - waited)))  # noqa: S311  # no secret


def _ensure_may_be_in_use(error: OSError, path: str) -> None:
    """Raises a denial that has another cause than a program which has the file open.

    Raises:
        IsADirectoryError: A folder stands there.
        OSError: The denial itself: the file is marked read-only.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return
    if S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path) from error
    if status.st_file_attributes & _ATTRIBUTE_READONLY:
        raise error


def _ensure_in_use(error: OSError, path: str) -> None:
    """Raises a denial that is one: to rename over an open file is denied, too, without POSIX semantics.

    The look opens the file for a moment, and so is itself in the way of others: it is rare.

    Raises:
        OSError: The denial itself.
    """
    try:
        kernel32.close_handle(kernel32.create_file(path, DELETE, SHARE_ALL, _OPEN_EXISTING, _OPEN_REPARSE_POINT))
    except OSError as probed:
        if probed.winerror != _SHARING_VIOLATION:
            raise error from None
