"""Logons of other libraries than the backend, which itself asks again where the server is short of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from smbprotocol.exceptions import SMBResponseException

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["logged_on"]

T = TypeVar("T")
_NO_MEMORY = 0xC0000017  # Samba's answer to 1 in 1,000 logons, and nothing at the next
_ATTEMPTS = 6


def logged_on(logon: Callable[[], T]) -> T:
    """The result of what logs on, or connects to a share, for the first time.

    Args:
        logon: Can be called again where it has raised.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return logon()
        except SMBResponseException as refused:
            if refused.status != _NO_MEMORY:
                raise
    return logon()
