"""The bar of a command that takes a while, on a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from exlab_store.cli.terminal import error_console

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["steps_shown"]


@contextmanager
def steps_shown(first: str = "") -> Generator[Callable[[int, int, str], None] | None]:
    """Shows how many steps of how many are done, and which is next; it goes when the work is done.

    Args:
        first: What is being done before the first step is told.

    Yields:
        What is told of each step; None where there is no terminal.
    """
    console = error_console()
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(first, total=None)

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield tell
