"""The demo's progress and its result, for people."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from exlab_store.cli.plain_text import one_line, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import Console, RenderableType

    from exlab_store.cli.demo.verdict import Demonstration, Verdict

__all__ = ["printed", "progress"]

_MOST_PROBLEMS = 10


@contextmanager
def progress(console: Console, seconds: float, writers: int, readers: int) -> Generator[Callable[[float], None]]:
    """Shows a bar while the processes work, and removes it.

    Args:
        console: The terminal to print on.
        seconds: How long they work.
        writers: How many write.
        readers: How many read.
    """
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bar:
        task = bar.add_task("Starting processes", total=seconds)
        crew = f"{_counted(writers, 'writer')} and {_counted(readers, 'reader')} at work"

        def tick(passed: float) -> None:
            if passed:
                bar.update(task, completed=min(passed, seconds), description=crew)

        yield tick


def printed(demonstration: Demonstration) -> list[RenderableType]:
    """The result.

    Args:
        demonstration: What was done.
    """
    verdict = demonstration.verdict
    parts: list[RenderableType] = [_story(demonstration), _operations(verdict), _counts(verdict), Text()]
    if verdict.sound:
        parts.append(Text("Nothing was torn, and nothing was lost.", style="green"))
    else:
        parts.append(Text("The demo has failed.", style="bold red"))
        parts += [Text(f"- {sentence(problem)}") for problem in verdict.problems[:_MOST_PROBLEMS]]
        if len(verdict.problems) > _MOST_PROBLEMS:
            parts.append(Text(f"- And {len(verdict.problems) - _MOST_PROBLEMS} more; --json has all."))
    return parts


def _story(demonstration: Demonstration) -> Table:
    verdict = demonstration.verdict
    writers, readers = _counted(demonstration.writers, "writer"), _counted(demonstration.readers, "reader")
    durable = (
        "promised: what is acknowledged survives a power cut"
        if demonstration.durable
        else "not promised here: a power cut may take back what was acknowledged"
    )
    rows = {
        "Where": f"{one_line(demonstration.location)} ({demonstration.remains or 'removed'})",
        "Processes": f"{writers} and {readers} for {demonstration.seconds:g} s",
        "Catalogue": f"a LIMS's answer, {_counted(demonstration.projects, 'project')}, published again and again",
        "Equipment": f"{_counted(demonstration.instruments, 'instrument')}, each registered by every writer at once",
        "Updates": (
            f"{_counted(verdict.increments, 'increment')} of one counter, "
            f"{_counted(verdict.added_fields, 'field')} added to equipment"
        ),
        "Durability": durable,
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _operations(verdict: Verdict) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Operation", min_width=24)
    for heading in ("Count", "Median", "99 %"):
        table.add_column(heading, justify="right", min_width=10)
    for operation in verdict.operations:
        table.add_row(
            operation.operation,
            f"{operation.count:,}",
            _duration(operation.median_ms),
            _duration(operation.p99_ms),
        )
    return table


def _counts(verdict: Verdict) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=24)
    table.add_column(justify="right", min_width=11)
    table.add_row("Documents written", f"{verdict.documents_written:,}")
    table.add_row("Reads", f"{verdict.reads:,}")
    for name, number in {"Torn reads": verdict.torn_reads, "Lost updates": verdict.lost_updates}.items():
        style = "bold red" if number else "bold green"
        table.add_row(Text(name, style=style), Text(f"{number:,}", style=style))
    return table


def _duration(milliseconds: float) -> str:
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} us"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds / 1000:.1f} s"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
