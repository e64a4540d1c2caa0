r"""Paths on Windows: always ``\\?\C:\lab\a.json``, whose length no limit of 260 characters cuts.

In that form the system takes every name as it is, ``/`` and ``NUL`` too. What a key may be sees to it that no name is
one which other programs cannot open [Naming Files, Paths, and Namespaces].
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("this module is for Windows")

import errno
import ntpath
import os
import stat
from typing import TYPE_CHECKING, Final

from exlab_store import LocationError, came_from_signal_handler
from exlab_store.backend import mode_at
from exlab_store_posix.faults import spelt_otherwise
from exlab_store_posix.windows.kernel32 import SHARE_ALL, close_handle, create_file, drive_type, final_name, find_name

if TYPE_CHECKING:
    from exlab_store import Location

__all__ = ["NativeBase", "NativePath", "ensure_spelt", "no_such_directory", "path_of", "verbatim"]

_PREFIX: Final = "\\\\?\\"
_UNC: Final = "\\\\?\\UNC\\"
_NO_ROOT: Final = 1
_REMOTE: Final = 4
# With a document in the place of a folder, Windows says 3 or 267, and wine 123.
_NOT_FOUND: Final = frozenset({2, 3, 123, 267})
_OPEN_EXISTING: Final = 3
_BACKUP_SEMANTICS: Final = 0x02000000  # opens folders, too


class NativePath(str):
    """The path of a key, or of a lock file or a folder.

    Attributes:
        start: Where the key begins in it.
    """

    start: int


class NativeBase(str):
    """A directory with a backslash at its end; what is added to it is a key."""

    __slots__ = ()

    def __add__(self, key: str) -> str:
        path = NativePath(super().__add__(key.replace("/", "\\")))
        path.start = len(self)
        return path


def path_of(location: Location) -> str:
    r"""The path of a location: ``C:\lab``, or ``\\server\share\lab`` where it has a server.

    Args:
        location: Of the scheme ``file``.

    Raises:
        LocationError: It names no drive, or a server and no share.
    """
    if location.host not in {"", "localhost"}:
        if location.path.count("/") < 1 or location.path == "/":
            raise LocationError("the path names a server and no share", hint=r"Write \\server\share\folder.")
        return f"\\\\{location.host}{location.path}".replace("/", "\\")
    path = location.path[1:].replace("/", "\\")
    return f"{path}\\" if path.endswith(":") else path


def verbatim(path: str) -> str:
    r"""A path in the form that has no limit, without a backslash at its end.

    Args:
        path: An absolute path, with ``/`` or ``\``.
    """
    absolute = ntpath.abspath(path).rstrip("\\")
    if absolute.startswith(_PREFIX):
        return absolute
    return f"{_UNC}{absolute[2:]}" if absolute.startswith("\\\\") else f"{_PREFIX}{absolute}"


def no_such_directory(path: str) -> LocationError:
    """The error for a directory that is not there: its drive may be missing, or a network drive be disconnected.

    Args:
        path: The directory, as from `path_of`.
    """
    drive = ntpath.splitdrive(path)[0]
    kind = drive_type(f"{drive}\\")
    if kind == _NO_ROOT and len(drive) == 2:
        return LocationError(
            f"there is no drive {drive}", hint="Connect the disk or the network drive; `net use` lists the latter."
        )
    if kind == _REMOTE and not stat.S_ISDIR(mode_at(f"{drive}\\")):
        return LocationError(
            f"the network drive {drive} is disconnected", hint="Open it in the Explorer, or connect it with `net use`."
        )
    return LocationError("there is no such directory", hint="Create it, or mount the share that should be there.")


def ensure_spelt(path: str, *, writing: bool, handle: int | None = None) -> None:
    """Refuses a key that finds a document or a folder of another name: spelt in other case, or of 8.3.

    Two keys are two documents, and Windows would take the second for the first.

    Args:
        path: Of a key; any other is let pass.
        writing: Something is to be written there.
        handle: Of what the path finds, where that is open.

    Raises:
        InvalidKey: It is to be written, and another name is in the way.
        FileNotFoundError: It is to be read: there is nothing of this name.
        OSError: A folder cannot be examined.
    """
    if not isinstance(path, NativePath) or path.start == len(path) or _is_found_so(path, handle):
        return
    end = path.start - 1
    while end < len(path):
        start = end + 1
        end = path.find("\\", start)
        end = len(path) if end < 0 else end
        try:
            name = find_name(path[:end])
        except OSError as error:
            if error.winerror not in _NOT_FOUND or came_from_signal_handler(error):
                raise
            return  # whoever goes on finds nothing of any spelling
        if name == path[start:end]:
            continue
        if not writing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        raise spelt_otherwise(path[start:end], name, "Windows")


def _is_found_so(path: NativePath, handle: int | None) -> bool:
    """Whether a path leads to what has that very name; with a link on the way, each folder has to be looked through."""
    opened = None
    try:
        if handle is None:
            handle = opened = create_file(path, 0, SHARE_ALL, _OPEN_EXISTING, _BACKUP_SEMANTICS)
        return final_name(handle).endswith(path[path.start - 1 :])
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return False
    finally:
        if opened is not None:
            close_handle(opened)
