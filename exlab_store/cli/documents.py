"""``exlab-store get``, ``put`` and ``rm``: one document, with the safety of a program that uses the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from exlab_store import ABSENT, ANY, StoreError, Version, as_document
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.sources import read_source
from exlab_store.cli.terminal import END_OF_INPUT, print_bytes, print_json, print_text, say
from exlab_store.migrating.guarded import delete_under, write_under

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from exlab_store import Expectation, StoreLock, StorePath
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["expectation", "get_document", "put_document", "remove_document"]

_JOBS = 8


class _StoredDocument(msgspec.Struct, frozen=True):
    """A document as ``--json`` shows it."""

    location: str
    size: int
    version: Version


def expectation(text: str) -> Expectation:
    """What ``--expect`` means.

    Args:
        text: ``any``, ``absent``, in capitals or not, or a version as `get_document` prints it.
    """
    return {"any": ANY, "absent": ABSENT}.get(text.lower()) or Version(text)


def get_document(location: HiddenLocation, output: str | None, *, version_only: bool, as_json: bool) -> None:
    """Prints a document's bytes, or what is known of it.

    Args:
        location: Where it is.
        output: A file for the bytes; None for standard output.
        version_only: Print the version instead.
        as_json: Print location, size and version as JSON instead.

    Raises:
        StoreError: It cannot be read, or the file not be written.
    """
    path = as_document(resolved(location))
    snapshot = path.read_snapshot()
    if output is not None:
        _write_file(output, snapshot.data)
    if as_json:
        print_json(_StoredDocument(str(path), len(snapshot), snapshot.version))
    elif version_only:
        print_text(f"{snapshot.version}\n")
    elif output is None:
        print_bytes(snapshot.data)


def put_document(location: HiddenLocation, source: str, expect: Expectation, *, timeout: float, as_json: bool) -> None:
    """Replaces a document under its lock, and prints the new version.

    Args:
        location: Where it goes.
        source: A file, or ``-``, which must not be empty.
        expect: What must be there.
        timeout: Seconds to wait for the lock.
        as_json: Print location, size and version as JSON.

    Raises:
        StoreError: The source cannot be read, or the document not be written.
    """
    # Before the source is read: who types a document in wants to know at once.
    path = as_document(resolved(location))
    if source == "-" and sys.stdin is not None and sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        say(f"Reading the document from the terminal; end it with {END_OF_INPUT}.")
    data = read_source(source)
    if source == "-" and not data:
        # What a failed command before the pipe gives; it would take the place of the document.
        raise StoreError(
            "nothing came from standard input, and nothing was written",
            location=str(path),
            hint="See whether the command before the pipe has failed; for an empty document, name an empty file.",
        )
    with _locked(path, timeout, "put") as held:
        version = write_under(path.store, path.key, data, expect, held)
    if as_json:
        print_json(_StoredDocument(str(path), len(data), version))
    else:
        print_text(f"{version}\n")


def remove_document(location: HiddenLocation, expect: Expectation, *, timeout: float, as_json: bool) -> None:
    """Deletes a document under its lock.

    Args:
        location: Where it is.
        expect: The version that it must have, or `ANY`.
        timeout: Seconds to wait for the lock.
        as_json: Print what was deleted as JSON.

    Raises:
        StoreError: There is none, or it cannot be deleted.
    """
    path = as_document(resolved(location))
    path.read_snapshot()  # asking for a lock makes missing folders, which a mistyped name should not
    with _locked(path, timeout, "rm") as held:
        delete_under(path.store, path.key, expect, held)
    if as_json:
        print_json({"location": str(path), "deleted": True})
    else:
        print_text(f"Deleted {one_line(str(path))}.\n")


def _locked(path: StorePath, timeout: float, purpose: str) -> AbstractContextManager[StoreLock | None]:
    # Without the lock, the write could fall between another program's reading and writing, and be lost.
    if path.store.guarantees.lock_scope == "none":
        from contextlib import nullcontext

        return nullcontext()
    return path.lock(timeout=timeout, purpose=purpose)


def _write_file(name: str, data: bytes) -> None:
    try:
        Path(name).write_bytes(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"it cannot be written: {reason}", location=name, hint="Check --output.") from error
