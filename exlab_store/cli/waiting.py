"""A line on the terminal while the command waits for an answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from exlab_store.cli.terminal import error_console

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["busy"]


@contextmanager
def busy(what: str) -> Generator[None]:
    """Shows on a terminal that something is being done; elsewhere, nothing.

    Args:
        what: What is being done: "Looking for lock files".
    """
    console = error_console()
    if console is None:
        yield
        return
    with console.status(what):
        yield
