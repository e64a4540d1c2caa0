"""A table of figures that leaves columns out where there is no room for them, rather than cut numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType

__all__ = ["FittingTable"]

_NO_LIMIT = 10_000


class FittingTable:
    """A renderable for rich.

    Args:
        headings: Of the columns, the first of which names the rows; a line break stands where one may be broken.
        rows: Their cells, in the order of the headings.
        expendable: The headings of the columns that may be left out, in the order in which they are.
    """

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[str]], expendable: Sequence[str]) -> None:
        self._headings = headings
        self._rows = rows
        self._expendable = [heading for heading in expendable if heading in headings]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table, without = self._table([], broken=False), []
        for number in range(len(self._expendable) + 1):
            if _width(console, options, table) <= options.max_width:
                break
            without = self._expendable[:number]
            table = self._table(without, broken=True)
        yield table
        if without:
            yield Text(f"No room here for: {', '.join(map(_on_one_line, without))}.")

    def _table(self, without: Sequence[str], *, broken: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        shown = [number for number, heading in enumerate(self._headings) if heading not in without]
        for number in shown:
            heading = self._headings[number]
            table.add_column(
                Text(heading if broken else _on_one_line(heading)),
                justify="right" if number else "left",
                vertical="bottom",
                no_wrap=True,
            )
        for row in self._rows:
            table.add_row(*(Text(row[number]) for number in shown))
        return table


def _on_one_line(heading: str) -> str:
    return heading.replace("\n", " ")


def _width(console: Console, options: ConsoleOptions, table: Table) -> int:
    return Measurement.get(console, options.update_width(_NO_LIMIT), table).maximum
