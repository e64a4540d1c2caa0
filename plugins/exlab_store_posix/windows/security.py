"""Security descriptors: who owns a file, and the access control list that says who may do what [MS-DTYP 2.4.6]."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import ctypes
import struct
from ctypes import wintypes
from functools import cache
from typing import TYPE_CHECKING, Final

from exlab_store_posix.windows.kernel32 import close_handle, failure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DACL", "OWNER", "Descriptor", "of_file", "of_handle", "owner_alone", "set_of_file", "set_of_handle"]

OWNER: Final = 0x1
DACL: Final = 0x4

_AUTO_INHERIT_REQUIRED: Final = 0x0100
_AUTO_INHERITED: Final = 0x0400
_PROTECTED: Final = 0x1000
_INHERITED_ENTRY: Final = 0x10
_HEADER: Final = struct.Struct("<BBHIIII")
_LIST: Final = struct.Struct("<BBHHH")
_ENTRY: Final = struct.Struct("<BBH")
_TOKEN_QUERY: Final = 0x8
_TOKEN_USER: Final = 1

_advapi: Final = ctypes.WinDLL("advapi32", use_last_error=True)
_kernel: Final = ctypes.WinDLL("kernel32", use_last_error=True)
_buffer: Final = ctypes.c_void_p
_needed: Final = ctypes.POINTER(wintypes.DWORD)
_advapi.GetFileSecurityW.argtypes = [wintypes.LPCWSTR, wintypes.DWORD, _buffer, wintypes.DWORD, _needed]
_advapi.SetFileSecurityW.argtypes = [wintypes.LPCWSTR, wintypes.DWORD, _buffer]
_advapi.GetKernelObjectSecurity.argtypes = [wintypes.HANDLE, wintypes.DWORD, _buffer, wintypes.DWORD, _needed]
_advapi.SetKernelObjectSecurity.argtypes = [wintypes.HANDLE, wintypes.DWORD, _buffer]
_advapi.OpenProcessToken.argtypes = [wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(wintypes.HANDLE)]
_advapi.GetTokenInformation.argtypes = [wintypes.HANDLE, ctypes.c_int, _buffer, wintypes.DWORD, _needed]
_advapi.ConvertSidToStringSidW.argtypes = [ctypes.c_void_p, ctypes.POINTER(wintypes.LPWSTR)]
_advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW.argtypes = [
    *(wintypes.LPCWSTR, wintypes.DWORD, ctypes.POINTER(ctypes.c_void_p), _needed),
]
_kernel.GetCurrentProcess.restype = wintypes.HANDLE
_kernel.LocalFree.argtypes = [ctypes.c_void_p]


class SecurityAttributes(ctypes.Structure):
    """SECURITY_ATTRIBUTES."""

    _fields_ = (
        ("nLength", wintypes.DWORD),
        ("lpSecurityDescriptor", ctypes.c_void_p),
        ("bInheritHandle", wintypes.BOOL),
    )


class Descriptor(bytes):
    """A self-relative security descriptor."""

    __slots__ = ()

    @property
    def owner(self) -> bytes:
        """The owner's SID; empty where it was not asked for."""
        start = _HEADER.unpack_from(self)[3]
        return self[start : start + 8 + 4 * self[start + 1]] if start else b""

    @property
    def is_inherited(self) -> bool:
        """Whether the folder has given all the rules."""
        _, _, control, _, _, _, start = _HEADER.unpack_from(self)
        if control & _PROTECTED or not start:
            return False
        count = _LIST.unpack_from(self, start)[3]
        position = start + _LIST.size
        for _ in range(count):
            _, flags, size = _ENTRY.unpack_from(self, position)
            if not flags & _INHERITED_ENTRY:
                return False
            position += size
        return True

    @property
    def inheriting(self) -> Descriptor:
        """The same, so that the system goes on to pass on to it what changes in the folder's list."""
        control = _HEADER.unpack_from(self)[2]
        if control & _AUTO_INHERITED:
            control |= _AUTO_INHERIT_REQUIRED
        return Descriptor(self[:2] + struct.pack("<H", control) + self[4:])


def of_file(path: str, parts: int = OWNER | DACL) -> Descriptor:
    """The descriptor of a file (GetFileSecurityW).

    Args:
        path: The file.
        parts: `OWNER`, `DACL`, or both.

    Raises:
        OSError: From the call.
    """
    return _descriptor(_advapi.GetFileSecurityW, path, parts, path)


def of_handle(handle: int, parts: int = OWNER | DACL) -> Descriptor:
    """The descriptor of an open file (GetKernelObjectSecurity).

    Args:
        handle: Of the file, with READ_CONTROL.
        parts: `OWNER`, `DACL`, or both.

    Raises:
        OSError: From the call.
    """
    return _descriptor(_advapi.GetKernelObjectSecurity, handle, parts, "")


def _descriptor(get: Callable[..., int], of: str | int, parts: int, path: str) -> Descriptor:
    needed = wintypes.DWORD()
    size = 1024
    while True:
        buffer = ctypes.create_string_buffer(size)
        if get(of, parts, buffer, size, ctypes.byref(needed)):
            return Descriptor(buffer.raw)
        if needed.value <= size:
            raise failure(path)
        size = needed.value


def set_of_handle(handle: int, descriptor: Descriptor, parts: int) -> None:
    """Gives an open file parts of a descriptor, as they are (SetKernelObjectSecurity).

    Args:
        handle: Of the file, with WRITE_DAC or WRITE_OWNER.
        descriptor: The descriptor.
        parts: `OWNER`, `DACL`, or both.

    Raises:
        OSError: From the call.
    """
    if not _advapi.SetKernelObjectSecurity(handle, parts, bytes(descriptor)):
        raise failure("")


def set_of_file(path: str, descriptor: Descriptor, parts: int) -> None:
    """Gives a file parts of a descriptor (SetFileSecurityW).

    Args:
        path: The file.
        descriptor: The descriptor.
        parts: `OWNER`, `DACL`, or both.

    Raises:
        OSError: From the call.
    """
    if not _advapi.SetFileSecurityW(path, parts, bytes(descriptor)):
        raise failure(path)


@cache
def owner_alone() -> SecurityAttributes:
    """What makes a new file its maker's alone: the owner, and a list with one entry that inherits nothing.

    Raises:
        OSError: The account cannot be asked for.
    """
    user = _user()
    descriptor = ctypes.c_void_p()  # kept for ever, as the result is
    if not _advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(
        f"O:{user}D:P(A;;FA;;;{user})", 1, ctypes.byref(descriptor), None
    ):
        raise failure("")
    return SecurityAttributes(ctypes.sizeof(SecurityAttributes), descriptor, False)


def _user() -> str:
    """The account of this process, as a SID in text."""
    token = wintypes.HANDLE()
    if not _advapi.OpenProcessToken(_kernel.GetCurrentProcess(), _TOKEN_QUERY, ctypes.byref(token)):
        raise failure("")
    try:
        buffer = ctypes.create_string_buffer(256)
        needed = wintypes.DWORD()
        if not _advapi.GetTokenInformation(token, _TOKEN_USER, buffer, len(buffer), ctypes.byref(needed)):
            raise failure("")
        text = wintypes.LPWSTR()
        if not _advapi.ConvertSidToStringSidW(ctypes.c_void_p.from_buffer(buffer), ctypes.byref(text)):
            raise failure("")
    finally:
        close_handle(int(token.value or 0))
    try:
        return str(text.value)
    finally:
        _kernel.LocalFree(text)
