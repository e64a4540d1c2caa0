"""The finding of a probe, and its effect on a claim."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Finding",
    "Latencies",
    "Outcome",
    "ProbeResult",
    "Seen",
    "failed",
    "not_applicable",
    "passed",
    "warned",
]

Outcome = Literal["pass", "warn", "fail", "not applicable"]

Seen = Literal["held", "plausible", "doubtful", "broken"]
"""What a probe says of a guarantee: ``held`` and ``broken`` were seen; the others are drawn from signs."""


class Latencies(msgspec.Struct, frozen=True):
    """How long one operation took, again and again.

    Attributes:
        operation: ``read``, ``write`` or ``lock``.
        milliseconds: Each, in the order in which they were measured.
    """

    operation: str
    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one, in milliseconds."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """What one in a hundred exceeds, in milliseconds."""
        return self.quantile(0.99)

    def quantile(self, part: float) -> float:
        """The value below which a part of them is.

        Args:
            part: From 0 to 1.
        """
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class ProbeResult(msgspec.Struct, frozen=True):
    """What a probe returns.

    Attributes:
        outcome: How it went.
        observed: What was seen, as a sentence without its full stop.
        advice: What to do about it, as sentences; empty where nothing is to be done.
        seen: For each guarantee that the probe says something of, what.
        latencies: What was measured.
        client: Whose claims ``seen`` is about: 0 for the first client's, 1 for the second's; None for both.
    """

    outcome: Outcome
    observed: str
    advice: str = ""
    seen: dict[str, Seen] = {}
    latencies: tuple[Latencies, ...] = ()
    client: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe found at one place, or between two.

    Attributes:
        probe: The probe's short name.
        title: What it looks at, in words.
        places: The numbers of the places, from 0, in the order in which they were given.
        outcome: How it went.
        observed: What was seen, as a sentence without its full stop.
        advice: What to do about it; empty where nothing is to be done.
        seconds: How long it took.
    """

    probe: str
    title: str
    places: tuple[int, ...]
    outcome: Outcome
    observed: str
    advice: str
    seconds: float


def passed(observed: str, **seen: Seen) -> ProbeResult:
    """All is well.

    Args:
        observed: What was seen.
        seen: What that says of guarantees.
    """
    return ProbeResult("pass", observed, "", seen)


def warned(observed: str, advice: str, **seen: Seen) -> ProbeResult:
    """It works, and somebody should know or do something.

    Args:
        observed: What was seen.
        advice: What to do.
        seen: What that says of guarantees.
    """
    return ProbeResult("warn", observed, advice, seen)


def failed(observed: str, advice: str, **seen: Seen) -> ProbeResult:
    """It does not work.

    Args:
        observed: What was seen.
        advice: What to do.
        seen: What that says of guarantees.
    """
    return ProbeResult("fail", observed, advice, seen)


def not_applicable(observed: str) -> ProbeResult:
    """There is nothing to probe, or no way to.

    Args:
        observed: Why.
    """
    return ProbeResult("not applicable", observed)
