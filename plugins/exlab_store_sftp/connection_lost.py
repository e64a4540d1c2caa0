"""The sign that a connection, or a process on the server, has ended before it answered."""

from __future__ import annotations

__all__ = ["ConnectionGone"]


class ConnectionGone(Exception):  # it never leaves this package
    """What was asked may have happened or not; nothing more will come.

    Args:
        message: How it ended.
        silent: Nothing came in time; otherwise the end was seen.
        asked: The request was sent; otherwise nothing has happened for certain.
    """

    def __init__(self, message: str, *, silent: bool = False, asked: bool = True) -> None:
        super().__init__(message)
        self.silent = silent
        self.asked = asked
