"""Seconds as they are shown."""

from __future__ import annotations

__all__ = ["shown"]


def shown(seconds: float) -> str:
    """A time with its unit, in three digits or so."""
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{seconds:.2f} s"
