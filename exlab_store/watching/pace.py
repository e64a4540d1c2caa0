"""The pause of a watch before it looks again."""

from __future__ import annotations

__all__ = ["DEFAULT_INTERVAL", "Pace", "check_interval"]

DEFAULT_INTERVAL = 1.0
"""Seconds from one look to the next, where nobody has said otherwise."""

_GROWTH = 1.5  # of the pause, after a look that has found nothing
_SLOWEST = 10  # times the interval
_SHARE_OF_TIME = 3  # pauses are so many times as long as the looks: a slow share has other things to do
_BACKSTOP = 60  # times the interval: the looks beside a source that may not hear of everything


def check_interval(interval: float) -> float:
    """Refuses an interval that is not a positive, finite number of seconds."""
    if not 0 < interval < float("inf"):
        raise ValueError(f"interval must be positive and finite, not {interval!r}")
    return interval


class Pace:
    """The pauses between looks at the whole of a store.

    Args:
        interval: Seconds from one look to the next while documents change.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._pause = interval

    def after_look(self, seconds: float, *, changed: bool) -> float:
        """Seconds to wait after a look, where nobody tells of changes.

        Args:
            seconds: How long the look took.
            changed: Whether it has found a change.
        """
        self._pause = self._interval if changed else min(self._pause * _GROWTH, self._interval * _SLOWEST)
        return max(self._pause, _SHARE_OF_TIME * seconds)

    def beside_source(self, seconds: float) -> float:
        """Seconds to wait after a look, beside a source that may not hear of every change.

        Args:
            seconds: How long the look took.
        """
        return max(self._interval * _BACKSTOP, _SHARE_OF_TIME * seconds)
