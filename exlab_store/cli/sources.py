"""SOURCE: a file, or ``-`` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from exlab_store import AccessDenied, DocumentNotFound, LocationError, StoreError

__all__ = ["name_of", "read_source"]


def name_of(source: str) -> str:
    """What to call a source in a message.

    Args:
        source: A path or ``-``.
    """
    return "standard input" if source == "-" else source


def read_source(source: str) -> bytes:
    """The bytes of a source.

    Args:
        source: A path or ``-``.

    Raises:
        DocumentNotFound: There is no such file.
        LocationError: It is a directory.
        AccessDenied: It may not be read.
        StoreError: The system cannot read it.
    """
    where = name_of(source)
    try:
        if source == "-":
            if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  # closed by the caller's shell: <&-
                raise StoreError("it is closed", location=where, hint="Give a file, or leave standard input open.")
            return sys.stdin.buffer.read()
        return Path(source).read_bytes()
    except FileNotFoundError as error:
        raise DocumentNotFound("there is no such file", location=where, hint="Check the name of the file.") from error
    except IsADirectoryError as error:
        raise LocationError("it is a directory", location=where, hint="Give a file.") from error
    except PermissionError as error:
        raise AccessDenied("this user may not read it", location=where, hint="Check its permissions.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"it cannot be read: {reason}", location=where, hint="Check the file.") from error
