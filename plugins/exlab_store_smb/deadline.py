"""How much time an operation has left."""

from __future__ import annotations

import time

__all__ = ["Deadline"]

_MOMENT = 0.1


class Deadline:
    """A moment after which an operation must have come back.

    Args:
        seconds: From now; 0 or less for a moment that is over already.
    """

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self._at

    def remaining(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._at - time.monotonic())

    def within(self, seconds: float) -> Deadline:
        """A deadline that is at most so many seconds away, and never later than this one.

        Args:
            seconds: From now.
        """
        return Deadline(min(self.remaining(), seconds))

    def half(self) -> Deadline:
        """Half of what is left, so that there is time for a second attempt, and for finding out about the first.

        It is never less than a moment in which a server can answer: a connection is ended for want of an answer.
        """
        return Deadline(max(_MOMENT, self.remaining() / 2))
