"""The exception for a connection that has ended."""

from __future__ import annotations

__all__ = ["LinkLost"]


class LinkLost(Exception):
    """The connection has ended, or was ended because no answer came in time.

    Args:
        reason: Why.
        sent: Whether the server may have carried out the request.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent
