"""The files that a location's options name, read without waiting for anybody."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from exlab_store import AccessDenied, LocationError
from exlab_store.backend import UnreadableFile, mode_at, read_small_file

if TYPE_CHECKING:
    from exlab_store import StoreError

__all__ = ["ensure_file", "key_in"]

_LARGEST: Final = 1 << 20  # bytes


def key_in(path: str) -> bytes:
    """The content of the file of a private key.

    Args:
        path: The option ``key_file``.

    Raises:
        LocationError: There is no such file, or it is a folder, a pipe or far too large.
        AccessDenied: This account may not read it.
    """
    try:
        return read_small_file(path, _LARGEST)
    except UnreadableFile as error:
        raise _refusal(path, error) from error.__cause__


def _refusal(path: str, error: UnreadableFile) -> StoreError:
    if isinstance(error.__cause__, FileNotFoundError):
        return LocationError(f"`key_file` is {path!r}, and there is no such file", hint="Name another.")
    if isinstance(error.__cause__, PermissionError):
        return AccessDenied("this account may not read `key_file`", hint="Give the account the right to read it.")
    return LocationError(f"`key_file` is {path!r}, which is no private key: {error.reason}", hint="Name another file.")


def ensure_file(option: str, path: str) -> None:
    """Refuses what is no regular file: to open a pipe would wait for its writer.

    Args:
        option: The option's name.
        path: What it names.

    Raises:
        LocationError: There is no file at the path.
    """
    mode = mode_at(path)
    if not stat.S_ISREG(mode):
        what = "that is no regular file" if mode else "there is no such file"
        raise LocationError(f"`{option}` is {path!r}, and {what}", hint="Name another file.")
    if not os.access(path, os.R_OK):
        raise AccessDenied(f"this account may not read `{option}`", hint="Give the account the right to read it.")
