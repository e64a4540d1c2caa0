"""A histogram of durations: an inline SVG on a logarithmic scale."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from exlab_store.doctor.reaching import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.doctor.findings import Latencies

__all__ = ["histogram", "scale_of"]

_PER_DECADE = 10
_WIDTH, _HEIGHT = 340.0, 110.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 6.0, 334.0, 16.0, 88.0


def scale_of(measured: Sequence[Latencies]) -> tuple[int, int]:
    """The powers of ten, in milliseconds, between which all of them are.

    Args:
        measured: What is to be compared; not empty.
    """
    values = [value for each in measured for value in each.milliseconds if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def histogram(latencies: Latencies, scale: tuple[int, int], identifier: str) -> str:
    """The drawing.

    Args:
        latencies: What was measured.
        scale: From which power of ten to which, in milliseconds.
        identifier: Of the drawing's title; unique on the page.

    Returns:
        An ``<svg>`` element; its colours are those of the page's style.
    """
    low, high = scale
    columns = (high - low) * _PER_DECADE
    counts = [0] * columns
    for value in latencies.milliseconds:
        position = (math.log10(max(value, 10.0**low)) - low) * _PER_DECADE
        counts[min(columns - 1, int(position))] += 1
    width = (_RIGHT - _LEFT) / columns
    tallest = max(counts)
    bars = [
        f'<rect class="bar" x="{_LEFT + number * width + 0.5:.1f}" y="{_BOTTOM - height:.1f}" '
        f'width="{max(1.0, width - 1):.1f}" height="{height:.1f}"/>'
        for number, count in enumerate(counts)
        if count
        for height in [max(1.5, count / tallest * (_BOTTOM - _TOP))]
    ]
    ticks = [
        f'<line class="axis" x1="{x:.1f}" y1="{_BOTTOM}" x2="{x:.1f}" y2="{_BOTTOM + 4}"/>'
        f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{_anchor(power, scale)}">'
        f"{duration(10.0**power).replace('.0', '')}</text>"
        for power in range(low, high + 1)
        for x in [_LEFT + (power - low) * _PER_DECADE * width]
    ]
    median = _LEFT + (math.log10(max(latencies.median, 10.0**low)) - low) * _PER_DECADE * width
    said = escape(
        f"{latencies.operation}: {len(latencies.milliseconds)} times, median {duration(latencies.median)}, "
        f"99 % within {duration(latencies.p99)}"
    )
    side = "end" if median > _WIDTH * 0.6 else "start"
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-labelledby="{identifier}">'
        f'<title id="{identifier}">{said}</title>'
        f"{''.join(bars)}"
        f'<line class="axis" x1="{_LEFT}" y1="{_BOTTOM}" x2="{_RIGHT}" y2="{_BOTTOM}"/>{"".join(ticks)}'
        f'<line class="median" x1="{median:.1f}" y1="{_TOP - 8}" x2="{median:.1f}" y2="{_BOTTOM}"/>'
        f'<text class="tick" x="{median + (-4 if side == "end" else 4):.1f}" y="{_TOP - 3}" text-anchor="{side}">'
        f"median {duration(latencies.median)}</text></svg>"
    )


def _anchor(power: int, scale: tuple[int, int]) -> str:
    return "start" if power == scale[0] else "end" if power == scale[1] else "middle"
