"""The free room on the share, estimated without a request."""

from __future__ import annotations

import time

__all__ = ["Room"]

# A request may be on its way for a moment, and many threads may send one at once: what they and others store
# meanwhile has to fit too.
_MARGIN = 512 << 20
_FASTEST_FILLING = 2e9  # bytes a second: more than what instruments send to a share over 10 GbE


class Room:
    """What was free on the share when the server last said so.

    A server carries out the rename of a compound even when the WRITE before it has failed (measured on Samba: a full
    disk, and the document was replaced by what had fitted). So the one compound that does everything is only sent
    when the share cannot have become full since; otherwise the data is written first, and the rename is asked for
    when it is there. (Asking for room with the CREATE does not help: Samba 4.17 grants 5 MB on a disk with 8 KB.)

    Args:
        trusted: Whether what the server says about its room is the whole truth. A quota may limit this account that
            does not show.
    """

    def __init__(self, *, trusted: bool = True) -> None:
        self._free = 0
        self._at = 0.0
        self._trusted = trusted

    def note(self, free: int) -> None:
        """Remembers the free room.

        Args:
            free: Bytes that this user can still write.
        """
        self._free = free
        self._at = time.monotonic()

    def distrust(self) -> None:
        """Takes the share for full from now on: it has refused data for which the server had said there was room."""
        self._trusted = False

    def suffices_for(self, size: int) -> bool:
        """Whether so many bytes must still fit, even if others have been filling the share since.

        Args:
            size: The number of bytes.
        """
        taken = (time.monotonic() - self._at) * _FASTEST_FILLING
        return self._trusted and self._free - taken >= size + _MARGIN
