"""The process of one writer on a disk that is going to lose power; arguments: file, function, place, notes, log."""

from __future__ import annotations

import sys
from pathlib import Path

from exlab_store.testing.crash.ledger import Ledger
from exlab_store.testing.crash.programs import Program, function_of

__all__ = ["main"]


def main() -> None:
    """Runs the writer to its end."""
    file, function, place, notes, log = sys.argv[1:]
    function_of(Program(Path(file), function))(Path(place), Ledger(Path(notes), Path(log)))
