"""Makes the process that imports it first look like one on macOS, as far as this project's modules can tell.

There is no such machine here. What macOS does is taken from its manual pages: fsync(2) leaves data in the drive's
cache, and F_FULLFSYNC of fcntl(2) flushes that; there are no open file description locks, no inotify and no
attributes as Linux has them; a folder of HFS+ gives back decomposed names, and finds a file by either spelling.

`REFUSAL` in the environment is the number of the error with which F_FULLFSYNC answers. With `FOLDS_CASE`, pathconf(2)
says that names are not told apart by their case, and F_GETPATH of fcntl(2) gives them as they stand in the folders.
"""

from __future__ import annotations

# Whatever asks for the platform itself is imported as what it is here.
import asyncio
import ctypes
import fcntl
import importlib.metadata
import logging
import os
import platform
import random
import select
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import unicodedata
import urllib.request
from typing import Any

import anyio
import filelock
import platformdirs

__all__ = ["asked", "flushed"]

_IMPORTED = (asyncio, importlib.metadata, logging, platform, random, subprocess, tempfile, threading, urllib.request)
_FURTHER = (anyio, filelock, platformdirs)

_FULL_FLUSH = 51  # F_FULLFSYNC [sys/fcntl.h]
_GET_PATH = 50  # F_GETPATH [sys/fcntl.h]
_CASE_SENSITIVE = 11  # _PC_CASE_SENSITIVE [sys/unistd.h]
_LACKING: dict[Any, str] = {
    fcntl: "F_OFD_SETLK F_OFD_GETLK F_OFD_SETLKW F_NOTIFY F_SETLEASE F_SETPIPE_SZ",
    os: "O_DIRECT O_TMPFILE O_PATH posix_fadvise posix_fallocate fdatasync sched_getaffinity listxattr getxattr "
    "setxattr removexattr memfd_create pipe2 copy_file_range eventfd getrandom inotify_init",
    select: "epoll POLLRDHUP",
    socket: "TCP_KEEPIDLE TCP_USER_TIMEOUT SO_PEERCRED SOCK_CLOEXEC SOCK_NONBLOCK",
}

flushed: list[str] = []
"""The names of what the drive was asked to store, in order."""

asked: list[str] = []
"""The paths of open files that the system was asked for, in order."""

_own_fcntl, _own_fsync, _own_scandir = fcntl.fcntl, os.fsync, os.scandir
_refusal = int(os.environ.get("REFUSAL", "0"))


def _pathconf(path: str, name: int) -> int:
    assert name == _CASE_SENSITIVE
    assert os.path.isdir(path)
    return 0 if os.environ.get("FOLDS_CASE") else 1


def _as_stored(path: str) -> str:
    """A path with the names that stand in its folders."""
    stored = ""
    for name in path.split("/")[1:]:
        names = os.listdir(stored or "/")
        stored += "/" + (name if name in names else next(each for each in names if each.lower() == name.lower()))
    return stored


def _fcntl(descriptor: int, command: int, argument: Any = 0) -> Any:
    if command == _GET_PATH:
        asked.append(path := _as_stored(os.readlink(f"/proc/self/fd/{descriptor}")))
        return unicodedata.normalize("NFD", path).encode().ljust(len(argument), b"\0")
    if command != _FULL_FLUSH:
        return _own_fcntl(descriptor, command, argument)
    if _refusal:
        raise OSError(_refusal, os.strerror(_refusal))
    flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    _own_fsync(descriptor)
    return 0


def _fsync(descriptor: int) -> None:
    flushed.append(f"cache of {os.readlink(f'/proc/self/fd/{descriptor}')}")
    _own_fsync(descriptor)


class _Decomposed:
    """An entry of a folder of HFS+."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name = unicodedata.normalize("NFD", entry.name)
        for member in ("is_dir", "is_file", "is_symlink", "stat"):
            setattr(self, member, getattr(entry, member))


class _Scan:
    def __init__(self, path: str) -> None:
        self._entries = _own_scandir(path)

    def __enter__(self) -> Any:
        return map(_Decomposed, self._entries)

    def __exit__(self, *_: object) -> None:
        self._entries.close()


sysconfig.get_config_vars()  # which are those of Linux, and are kept
for module, names in _LACKING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
fcntl.F_FULLFSYNC = _FULL_FLUSH  # type: ignore[attr-defined]
fcntl.F_GETPATH = _GET_PATH  # type: ignore[attr-defined]
os.pathconf = _pathconf  # type: ignore[assignment]
fcntl.fcntl = _fcntl  # type: ignore[assignment]
os.fsync = _fsync  # type: ignore[assignment]
os.scandir = _Scan  # type: ignore[assignment, misc]
socket.TCP_KEEPALIVE = 0x10  # type: ignore[attr-defined]
ctypes.CDLL = None  # type: ignore[assignment, misc]  # there is no inotify to call
sys.platform = "darwin"
