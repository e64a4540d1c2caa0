"""The time in which an operation has to be back."""

from __future__ import annotations

import time

from exlab_store import BackendUnavailable

__all__ = ["TimeLimit"]


class TimeLimit:
    """A moment by which an operation must have ended.

    Args:
        seconds: From now.
    """

    __slots__ = ("_end", "began", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = time.monotonic()
        self._end = self.began + seconds

    def remaining(self) -> float:
        """Seconds that are left; never negative."""
        return max(0.0, self._end - time.monotonic())

    def within(self, seconds: float) -> TimeLimit:
        """A deadline that is over after so many seconds, and no later than this one."""
        return TimeLimit(min(seconds, self.remaining()))

    def half(self) -> TimeLimit:
        """Half of what is left: for a step whose outcome has to be found out if no answer comes."""
        return TimeLimit(self.remaining() / 2)

    def late(self, what: str) -> BackendUnavailable:
        """The error for a step that did not end in time.

        Args:
            what: What was done: "read the document".
        """
        return BackendUnavailable(
            f"cannot {what}: the server has not answered within {self.seconds:.3g} s",
            exhausted=True,
            hint="Look at the network and the server; a slow one needs a larger option timeout.",
        )
