"""The time that an operation has left."""

from __future__ import annotations

import time

from exlab_store import BackendUnavailable

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

    def ensure_left(self, action: str) -> None:
        """Ends an operation that takes many exchanges, however quickly the server answers each.

        Args:
            action: What is being done, a verb with its object: "read the document".

        Raises:
            BackendUnavailable: The moment has passed.
        """
        if self.over:
            raise BackendUnavailable(
                f"cannot {action}: it takes longer than the store's timeout",
                exhausted=True,
                hint="Look at the network and the server, or open the store with a longer `timeout`.",
            )

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
