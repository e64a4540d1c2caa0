"""The functions of Windows that Python does not offer, with their types; the pages are those of learn.microsoft.com."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import ctypes
from ctypes import wintypes
from typing import Final

__all__ = [
    "DELETE",
    "GENERIC_READ",
    "GENERIC_WRITE",
    "INVALID",
    "SHARE_ALL",
    "SHARE_READ_WRITE",
    "FileInformation",
    "close_handle",
    "create_file",
    "drive_type",
    "failure",
    "final_name",
    "find_name",
    "keeps_access_lists",
    "move_file",
    "process_exists",
    "rename_open_file",
    "volume_of",
]

_dll: Final = ctypes.WinDLL("kernel32", use_last_error=True)

# winnt.h, fileapi.h, winbase.h
GENERIC_READ: Final = 0x80000000
GENERIC_WRITE: Final = 0x40000000
DELETE: Final = 0x00010000
SHARE_READ_WRITE: Final = 0x1 | 0x2
SHARE_ALL: Final = SHARE_READ_WRITE | 0x4
"""With FILE_SHARE_DELETE: whoever opens a file so does not keep others from renaming and deleting it."""

INVALID: Final = ctypes.c_void_p(-1).value
_MOVE: Final = 0x1 | 0x8  # MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH
_FILE_RENAME_INFO_EX: Final = 22
_REPLACE_IF_EXISTS: Final = 0x1
_PERSISTENT_ACLS: Final = 0x8
_SYNCHRONIZE: Final = 0x00100000
_WAIT_TIMEOUT: Final = 0x102
_INVALID_PARAMETER: Final = 87
_POSIX_SEMANTICS: Final = 0x2


class FileInformation(ctypes.Structure):
    """WIN32_FIND_DATAW."""

    _fields_ = (
        ("dwFileAttributes", wintypes.DWORD),
        ("ftCreationTime", wintypes.FILETIME),
        ("ftLastAccessTime", wintypes.FILETIME),
        ("ftLastWriteTime", wintypes.FILETIME),
        ("nFileSizeHigh", wintypes.DWORD),
        ("nFileSizeLow", wintypes.DWORD),
        ("dwReserved0", wintypes.DWORD),
        ("dwReserved1", wintypes.DWORD),
        ("cFileName", wintypes.WCHAR * 260),
        ("cAlternateFileName", wintypes.WCHAR * 14),
    )


class _RenameInformation(ctypes.Structure):
    """FILE_RENAME_INFO; the name follows."""

    _fields_ = (
        ("Flags", wintypes.DWORD),
        ("RootDirectory", wintypes.HANDLE),
        ("FileNameLength", wintypes.DWORD),
        ("FileName", wintypes.WCHAR * 1),
    )


_dll.CreateFileW.restype = wintypes.HANDLE
_dll.CreateFileW.argtypes = [
    *(wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, ctypes.c_void_p),
    *(wintypes.DWORD, wintypes.DWORD, wintypes.HANDLE),
]
_dll.CloseHandle.argtypes = [wintypes.HANDLE]
_dll.MoveFileExW.argtypes = [wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD]
_dll.SetFileInformationByHandle.argtypes = [wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD]
_dll.FindFirstFileW.restype = wintypes.HANDLE
_dll.FindFirstFileW.argtypes = [wintypes.LPCWSTR, ctypes.POINTER(FileInformation)]
_dll.FindClose.argtypes = [wintypes.HANDLE]
_dll.GetFinalPathNameByHandleW.argtypes = [wintypes.HANDLE, wintypes.LPWSTR, wintypes.DWORD, wintypes.DWORD]
_dll.GetVolumeInformationByHandleW.argtypes = [
    *(wintypes.HANDLE, wintypes.LPWSTR, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.POINTER(wintypes.DWORD), wintypes.LPWSTR, wintypes.DWORD),
]
_dll.OpenProcess.restype = wintypes.HANDLE
_dll.OpenProcess.argtypes = [wintypes.DWORD, wintypes.BOOL, wintypes.DWORD]
_dll.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
_dll.WaitForSingleObject.restype = wintypes.DWORD
_dll.GetDriveTypeW.argtypes = [wintypes.LPCWSTR]
_dll.GetVolumePathNameW.argtypes = [wintypes.LPCWSTR, wintypes.LPWSTR, wintypes.DWORD]
_dll.GetVolumeInformationW.argtypes = [
    *(wintypes.LPCWSTR, wintypes.LPWSTR, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.POINTER(wintypes.DWORD), wintypes.LPWSTR, wintypes.DWORD),
]


def failure(path: str, number: int | None = None) -> OSError:
    """The error of the call that has just failed, with its number as ``winerror``.

    Args:
        path: What the call was about.
        number: Of the error, where it is known already.
    """
    number = ctypes.get_last_error() if number is None else number
    return OSError(None, ctypes.FormatError(number).strip().rstrip("."), path, number)


def create_file(
    path: str, access: int, share: int, disposition: int, flags: int, security: ctypes.Structure | None = None
) -> int:
    """CreateFileW.

    Args:
        path: The file.
        access: GENERIC_READ and others.
        share: What others may do meanwhile.
        disposition: CREATE_NEW (1), OPEN_EXISTING (3) or OPEN_ALWAYS (4).
        flags: Attributes and flags.
        security: SECURITY_ATTRIBUTES of a new file.

    Returns:
        A handle, which a child process does not inherit.

    Raises:
        OSError: From the call.
    """
    attributes = None if security is None else ctypes.byref(security)
    handle = _dll.CreateFileW(path, access, share, attributes, disposition, flags, None)
    if handle is None or handle == INVALID:
        raise failure(path)
    return int(handle)


def close_handle(handle: int) -> None:
    """CloseHandle."""
    _dll.CloseHandle(handle)


def move_file(source: str, target: str) -> None:
    """Renames over what stands there; returns when that is on the disk (MOVEFILE_WRITE_THROUGH of MoveFileExW).

    Raises:
        OSError: From the call.
    """
    if not _dll.MoveFileExW(source, target, _MOVE):
        raise failure(target)


def rename_open_file(handle: int, target: str) -> None:
    """Renames over what stands there, also while others have that open who share it (FileRenameInfoEx).

    They go on to read the old file [FILE_RENAME_INFO, FILE_RENAME_POSIX_SEMANTICS].

    Args:
        handle: Of the new file, opened with DELETE.
        target: The name.

    Raises:
        OSError: From the call; ``winerror`` 87 and others where the system or the file system has no such rename.
    """
    name = target.encode("utf-16-le")
    buffer = ctypes.create_string_buffer(ctypes.sizeof(_RenameInformation) + len(name))
    information = _RenameInformation.from_buffer(buffer)
    information.Flags = _REPLACE_IF_EXISTS | _POSIX_SEMANTICS
    information.FileNameLength = len(name)
    ctypes.memmove(ctypes.addressof(buffer) + _RenameInformation.FileName.offset, name, len(name))
    if not _dll.SetFileInformationByHandle(handle, _FILE_RENAME_INFO_EX, buffer, len(buffer)):
        raise failure(target)


def find_name(path: str) -> str:
    """The name under which a folder keeps what a path finds: spelt otherwise, or in full for one of 8.3.

    Args:
        path: Without ``*`` and ``?``.

    Raises:
        OSError: From FindFirstFileW.
    """
    found = FileInformation()
    handle = _dll.FindFirstFileW(path, ctypes.byref(found))
    if handle is None or handle == INVALID:
        raise failure(path)
    _dll.FindClose(handle)
    return str(found.cFileName)


def final_name(handle: int) -> str:
    """The path of an open file, as the folders spell their names, and without links (GetFinalPathNameByHandleW).

    Args:
        handle: Of the file or folder.

    Raises:
        OSError: From the call.
    """
    buffer = ctypes.create_unicode_buffer(1024)
    length = int(_dll.GetFinalPathNameByHandleW(handle, buffer, len(buffer), 0))
    if length >= len(buffer):
        buffer = ctypes.create_unicode_buffer(length + 1)
        length = int(_dll.GetFinalPathNameByHandleW(handle, buffer, len(buffer), 0))
    if not 0 < length < len(buffer):
        raise failure("")
    return buffer.value


def drive_type(root: str) -> int:
    """GetDriveTypeW: 0 unknown, 1 none, 2 removable, 3 fixed, 4 remote, 5 of CDs, 6 in memory.

    Args:
        root: With a backslash at its end.
    """
    return int(_dll.GetDriveTypeW(root))


def volume_of(path: str) -> tuple[str, str, int]:
    """The volume that holds a path: its root, the name of its file system, and that one's flags.

    Args:
        path: It exists.

    Raises:
        OSError: From GetVolumePathNameW or GetVolumeInformationW.
    """
    root = ctypes.create_unicode_buffer(len(path) + 261)
    if not _dll.GetVolumePathNameW(path, root, len(root)):
        raise failure(path)
    name, flags = ctypes.create_unicode_buffer(261), wintypes.DWORD()
    if not _dll.GetVolumeInformationW(root.value, None, 0, None, None, ctypes.byref(flags), name, len(name)):
        raise failure(root.value)
    return root.value, name.value, flags.value


def keeps_access_lists(handle: int) -> bool:
    """Whether the file system of an open file keeps access control lists; FAT and exFAT do not.

    Args:
        handle: Of the file.

    Raises:
        OSError: From GetVolumeInformationByHandleW.
    """
    flags = wintypes.DWORD()
    if not _dll.GetVolumeInformationByHandleW(handle, None, 0, None, None, ctypes.byref(flags), None, 0):
        raise failure("")
    return bool(flags.value & _PERSISTENT_ACLS)


def process_exists(number: int) -> bool:
    """Whether a process has not ended; True where this account may not ask.

    Args:
        number: Its identifier.
    """
    if not 0 < number <= 0xFFFFFFFF:
        return False
    handle = _dll.OpenProcess(_SYNCHRONIZE, False, number)
    if handle is None:
        return ctypes.get_last_error() != _INVALID_PARAMETER
    try:
        return bool(_dll.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
    finally:
        close_handle(handle)
