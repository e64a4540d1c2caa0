"""``exlab-store ls``, ``stat`` and ``rm -r``: what is in a folder, what is known of it, and its deletion."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from exlab_store import DocumentNotFound, Version, as_document, open_store
from exlab_store.cli.exit_codes import ExitCode
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.terminal import is_asking, print_json, print_text, say, show
from exlab_store.migrating.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from exlab_store import Store
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["list_documents", "remove_folder", "show_stat"]

_JOBS = 8
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_799


class _Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document of a list, as ``--json`` shows it."""

    key: str
    size: int | None = None
    version: Version | None = None


class _Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a document or folder, as ``--json`` shows it."""

    location: str
    kind: Literal["document", "folder"]
    size: int
    modified: str | None = None
    version: Version | None = None


def list_documents(location: HiddenLocation, *, recursive: bool, detailed: bool, as_json: bool) -> None:
    """Prints what is in a folder.

    Args:
        location: The folder.
        recursive: The documents at any depth; otherwise the documents and folders directly in it.
        detailed: Size and version too, for which each document is read.
        as_json: Print JSON.

    Raises:
        StoreError: The folder cannot be listed, or a document not be read.
    """
    with open_store(resolved(location)) as store:
        if recursive:
            keys, folders = store.list_keys(), []
        else:
            items = [*store.list_folder()]
            keys = [item.key for item in items if item.kind == "document"]
            folders = [item.key for item in items if item.kind == "folder"]
        listed = list(_detailed(store, keys)) if detailed else [_Listed(key) for key in keys]
        place = str(store.location)
    if as_json:
        print_json({"location": place, "documents": listed} | ({} if recursive else {"folders": folders}))
        return
    lines = sorted([*listed, *(_Listed(f"{folder}/") for folder in folders)], key=lambda each: each.key.rstrip("/"))
    if detailed and lines and sys.stdout.isatty():
        show(_table(lines))
    elif detailed:
        width = max((len(str(each.size)) for each in listed), default=1)
        print_text(
            "".join(
                f"{'-' if each.size is None else each.size:>{width}}  {each.version or '-':64}  {each.key}\n"
                for each in lines
            )
        )
    else:
        # A program that reads the list needs the very key; it has no control characters, and no line breaks.
        shown = one_line if sys.stdout.isatty() else str
        print_text("".join(f"{shown(each.key)}\n" for each in lines))


def show_stat(location: HiddenLocation, *, as_json: bool) -> None:
    """Prints what is known of a document or a folder without reading it.

    Args:
        location: Where it is.
        as_json: Print JSON.

    Raises:
        StoreError: There is none, or it cannot be looked at.
    """
    path = as_document(resolved(location))
    stat = path.stat()
    modified = None if stat.modified is None else _date(stat.modified)
    if as_json:
        print_json(_Known(str(path), stat.kind, stat.size, modified, stat.version))
        return
    rows = {"Kind": stat.kind, "Size": f"{stat.size} bytes" if stat.kind == "document" else None}
    # As `touch` and `date` take it, where the year has more than four digits.
    seconds = None if stat.modified is None else f"@{stat.modified:.0f}"
    rows |= {"Modified": modified or seconds, "Version": stat.version}
    print_text("".join(f"{name + ':':<10}{value}\n" for name, value in rows.items() if value is not None))


def _date(seconds: float) -> str | None:
    """A time in seconds since 1970 as a date; None outside the years 1 to 9999, which a file's time may be in."""
    if not _YEAR_1 <= seconds < _YEAR_10000:
        return None
    # Not fromtimestamp: on Windows it refuses what was before 1970.
    return (_1970 + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def remove_folder(location: HiddenLocation, *, ask: bool, as_json: bool) -> None:
    """Deletes a folder and all that is below it.

    Args:
        location: The folder.
        ask: Ask first, in a terminal.
        as_json: Print what was deleted as JSON.

    Raises:
        StoreError: There is none, or it cannot be deleted.
        SystemExit: The answer was no.
    """
    path = as_document(resolved(location))
    count = len(path.list_keys())
    if ask and is_asking():
        documents = "1 document" if count == 1 else f"{count} documents"
        say(f"Delete {one_line(str(path))} with {documents}? Type yes to delete it:")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            say("Nothing was deleted.")
            raise SystemExit(ExitCode.FAILED)
    path.delete_folder()
    if as_json:
        print_json({"location": str(path), "deleted": True})
    else:
        print_text(f"Deleted {one_line(str(path))}.\n")


def _table(listed: list[_Listed]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Document", overflow="fold")
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Version", no_wrap=True)
    for each in listed:
        size, version = ("", "") if each.size is None else (f"{each.size:,}", f"{(each.version or '')[:12]}...")
        table.add_row(Text(one_line(each.key)), size, version)
    return table


def _detailed(store: Store, keys: list[str]) -> Iterator[_Listed]:
    def read(key: str) -> _Listed | None:
        try:
            snapshot = store.read_snapshot(key)
        except DocumentNotFound:
            return None  # deleted since it was listed
        return _Listed(key, len(snapshot), snapshot.version)

    found = (each for each in in_parallel(read, keys, _JOBS, threading.Event()) if each is not None)
    yield from sorted(found, key=lambda each: each.key)
