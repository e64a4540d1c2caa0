"""Bar charts as SVG, readable in light and in dark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bar", "bars"]

_WIDTH, _LEFT, _RIGHT = 760, 230, 110
_ROW, _TOP, _GAP = 24, 56, 12

_STYLE = """
.paper { fill: #ffffff }
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 14px }
.note { fill: #59636e; font-size: 12px }
.ours { fill: #1a7f64 } .sound { fill: #5b7fb5 } .unsafe { fill: #c9825b } .unknown { fill: #9aa4af }
.grid { stroke: #d8dee4 }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 }
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .ours { fill: #3fb996 } .sound { fill: #7d9fd3 } .unsafe { fill: #d99a76 } .unknown { fill: #6e7681 }
  .grid { stroke: #30363d }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    Attributes:
        label: On its left.
        value: Its length; not negative.
        text: On its right.
        kind: ``ours``, ``sound``, ``unsafe`` or, of what was not examined, ``unknown``.
        group: The bars of a group stand together, and the longest of them is as long as there is room.
    """

    label: str
    value: float
    text: str
    kind: str = "sound"
    group: str = ""


def bars(title: str, note: str, rows: Sequence[Bar]) -> str:
    """A chart of horizontal bars, in the order in which they are given.

    Args:
        title: What is shown, with the unit.
        note: What the colours mean, or which end is the good one.
        rows: The bars, those of a group one after the other.
    """
    room = _WIDTH - _LEFT - _RIGHT
    longest: dict[str, float] = {}
    for row in rows:
        longest[row.group] = max(longest.get(row.group, 0.0), row.value)
    height = _TOP + _ROW * len(rows) + _GAP * max(0, len(longest) - 1) + 8
    size = f'width="{_WIDTH + 24}" height="{height + 24}" viewBox="-12 -12 {_WIDTH + 24} {height + 24}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" x="-12" y="-12" width="{_WIDTH + 24}" height="{height + 24}"/>',
        f'<text class="title" x="0" y="16">{escape(title)}</text>',
        f'<text class="note" x="0" y="36">{escape(note)}</text>',
        f'<line class="grid" x1="{_LEFT}" y1="{_TOP - 6}" x2="{_LEFT}" y2="{height - 4}"/>',
    ]
    y = _TOP - _ROW
    for number, row in enumerate(rows):
        y += _ROW + (_GAP if number and row.group != rows[number - 1].group else 0)
        width = max(1, math.floor(row.value / (longest[row.group] or 1.0) * room))
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect class="{row.kind}" x="{_LEFT}" y="{y}" width="{width}" height="{_ROW - 7}" rx="2"/>',
            f'<text x="{_LEFT + width + 6}" y="{y + 13}">{escape(row.text)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
