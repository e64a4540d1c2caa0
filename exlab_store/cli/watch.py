"""``exlab-store watch``: a line for each change below a folder."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from exlab_store import StoreError, open_store
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import json_line, one_line, sentence
from exlab_store.cli.terminal import print_bytes, print_text, say

if TYPE_CHECKING:
    from exlab_store import Change
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["watch_location"]


def watch_location(
    location: HiddenLocation, *, pattern: str | None, existing: bool, timeout: float | None, as_json: bool
) -> None:
    """Prints each change as it is told, until it is interrupted or the time is over.

    Args:
        location: The folder.
        pattern: Which documents; None for all.
        existing: Print the documents that are there first.
        timeout: Seconds; None for no end.
        as_json: Print a line of JSON for each.

    Raises:
        StoreError: The store cannot be watched.
    """
    with (
        open_store(resolved(location)) as store,
        store.watch(pattern=pattern, since={} if existing else None, timeout=timeout, onerror=_warn) as changes,
    ):
        for change in changes:
            _print(change, as_json=as_json)


def _print(change: Change, *, as_json: bool) -> None:
    if as_json:
        print_bytes(f"{json_line(change)}\n".encode())
        return
    # A program that reads the lines needs the very key; it has no control characters, and no line breaks.
    key = one_line(change.key) if sys.stdout.isatty() else change.key
    print_text(f"{change.kind} {key}\n")


def _warn(error: StoreError) -> None:
    say(f"Warning: {sentence(error.sentence)}")
