"""The grammar of ``init``, ``ls``, ``stat``, ``rm`` and ``watch``: the commands that take a document or a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from exlab_store.cli import examples
from exlab_store.cli.grammar import AsJson, Document, Folder, LockTimeout, answered, named
from exlab_store.hidden_location import HiddenLocation

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["add_to"]


def _init(location: Folder, as_json: AsJson = False) -> None:
    """Make a place for documents: a folder, a table, whatever its backend needs.

    A document is written there and deleted again, so that you also know that
    both can be done. A place that is there already stays as it is.
    """
    from exlab_store.cli.initialising import init_store

    init_store(location, as_json=as_json)


def _ls(
    location: Annotated[
        HiddenLocation,
        typer.Argument(parser=HiddenLocation, metavar="LOCATION", help="The folder: a URL, a path, or @name."),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="List the documents at any depth, and no folders.")
    ] = False,
    detailed: Annotated[
        bool, typer.Option("--long", "-l", help="Show sizes and versions too; reads every document.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List a folder: one document or folder on each line, folders with a /.

    Lock files, temporary files and names that are not keys are not listed.
    A terminal shows the beginning of each version; get --version has it all.
    """
    from exlab_store.cli.listing import list_documents

    list_documents(location, recursive=recursive, detailed=detailed, as_json=as_json)


def _stat(
    location: Annotated[
        HiddenLocation,
        typer.Argument(
            parser=HiddenLocation, metavar="LOCATION", help="A document or a folder: a URL, a path, or @name/document."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show the size of a document and when it was written, without reading it.

    The time is the storage's own. A version that costs nothing is shown too.
    """
    from exlab_store.cli.listing import show_stat

    show_stat(location, as_json=as_json)


def _rm(
    location: Document,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Delete a folder and all documents below it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With -r: do not ask, in a terminal either.")] = False,
    expect: Annotated[
        str,
        typer.Option(metavar="VERSION", callback=named, help="Delete only if the document has this version; or any."),
    ] = "any",
    timeout: LockTimeout = 30.0,
    as_json: AsJson = False,
) -> None:
    """Delete a document, under its lock; nothing is asked.

    Its lock file stays: other programs may be waiting for it. With -r, a
    folder goes with its documents, lock files, temporary files and folders;
    in a terminal you are asked first. While anybody holds a lock below it,
    nothing is deleted (exit code 5). What the store does not delete is named,
    and stays with its folder (4).
    """
    if expect.lower() == "absent":
        raise typer.BadParameter("a document that is absent cannot be deleted.", param_hint="'--expect'")
    from exlab_store.cli.documents import expectation, remove_document
    from exlab_store.cli.listing import remove_folder

    if not recursive:
        remove_document(location, expectation(expect), timeout=timeout, as_json=as_json)
    elif expect.lower() != "any":
        raise typer.BadParameter("a folder has no version.", param_hint="'--expect'")
    else:
        remove_folder(location, ask=not yes, as_json=as_json)


def _watch(
    location: Folder,
    pattern: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only documents whose key fits: '**/equipment.json'."),
    ] = None,
    existing: Annotated[bool, typer.Option("--existing", help="Print the documents that are there first.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, max=31536000, help="When to end.  [default: with Ctrl-C]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each change.")] = False,
) -> None:
    """Print a line for each document that is written or deleted.

    Several changes in a short time may be one line. An outage is a warning,
    and nothing that happens meanwhile is lost. Each document is read once at
    the beginning: give a pattern where big files stand beside documents.
    """
    from exlab_store.cli.watch import watch_location

    watch_location(location, pattern=pattern, existing=existing, timeout=timeout, as_json=as_json)


_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("init", _init, examples.INIT_EXAMPLES),
    ("ls", _ls, examples.LS_EXAMPLES),
    ("stat", _stat, examples.STAT_EXAMPLES),
    ("rm", _rm, examples.RM_EXAMPLES),
    ("watch", _watch, examples.WATCH_EXAMPLES),
)


def add_to(app: typer.Typer) -> None:
    """Adds the commands.

    Args:
        app: The application.
    """
    for name, command, epilog in _COMMANDS:
        app.command(name, epilog=epilog)(answered(command))
