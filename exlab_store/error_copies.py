"""How an error is made anew in another process (a pool of writers), without a call of its constructor.

`OSError` keeps ``errno`` outside ``__dict__``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["restored", "set_errno"]


def restored(cls: type[Exception], args: tuple[Any, ...], errno: int | None, state: dict[str, Any]) -> Exception:
    """The error that was pickled.

    Args:
        cls: Its type.
        args: What it holds as any exception does.
        errno: The system's error number, which an `OSError` keeps elsewhere.
        state: Its attributes.
    """
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    if isinstance(error, OSError):
        set_errno(error, errno)
    return error


def set_errno(error: OSError, errno: int | None) -> None:
    """Sets the error number, which may be None whatever typeshed says."""
    error.errno = errno
