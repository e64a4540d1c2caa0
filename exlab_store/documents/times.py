"""Times as documents hold them: text, ``YYYY-MM-DDTHH:MM:SSZ``, in UTC and whole seconds [§11.9]."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec

__all__ = ["Timestamp", "UnsetOrTimestamp", "now", "timestamp"]

_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_MOMENT = rf"{_DATE}T{_TIME}(Z|\+00:00)"

Timestamp: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^{_MOMENT}\Z")]
"""A UTC time as text; readers also accept ``+00:00`` and fractions."""

UnsetOrTimestamp: TypeAlias = Annotated[str, msgspec.Meta(pattern=rf"^(|{_MOMENT})\Z")]
"""A `Timestamp`, or empty text for one that the writer is to set."""


def now() -> str:
    """The present time as documents hold it."""
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime | str) -> str:
    """A time as documents hold it: in UTC, whole seconds (the fraction is cut off).

    Args:
        moment: With a time zone, or text in ISO 8601 with one.

    Raises:
        ValueError: The text is not ISO 8601, there is no time zone, or the time in UTC is before the year 1 or after
            9999.
    """
    parsed = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    if parsed.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    try:
        utc = parsed.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment!s} is not between the years 1 and 9999 in UTC") from error
    # Not strftime: of a year below 1000 it gives three digits.
    return utc.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
