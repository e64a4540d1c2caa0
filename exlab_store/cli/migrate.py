"""``exlab-store migrate``: all documents of one store to another."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

import msgspec

from exlab_store import open_store
from exlab_store.cli.exit_codes import ExitCode
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line, sentence
from exlab_store.cli.terminal import error_console, print_json, say, show
from exlab_store.migrating import Outcome, migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.console import RenderableType

    from exlab_store.hidden_location import HiddenLocation
    from exlab_store.migrating import Migration, Phase

__all__ = ["run_migration"]

_MOST_PROBLEMS = 10

_PHASES: dict[Phase, str] = {"copying": "Copying", "checking": "Checking", "deleting": "Deleting in the source"}


def run_migration(
    source: HiddenLocation,
    target: HiddenLocation,
    *,
    create: bool,
    dry_run: bool,
    overwrite: bool,
    delete_source: bool,
    lock_timeout: float,
    jobs: int,
    as_json: bool,
) -> None:
    """Copies all documents and prints what became of them.

    Args:
        source: Where they are.
        target: Where they go.
        create: Accept a target that does not exist yet.
        dry_run: Only tell what would be done.
        overwrite: Replace documents of the target that differ.
        delete_source: Delete what was copied, once all of it is verified.
        lock_timeout: Seconds to wait for a lock.
        jobs: How many documents at once.
        as_json: Print JSON.

    Raises:
        StoreError: It was refused, or had to end early.
        SystemExit: Something was not copied.
    """
    with (
        open_store(resolved(source)) as from_store,
        open_store(resolved(target), create=create) as to_store,
        _interruptible(dry_run=dry_run),
        _progress() as progress,
    ):
        migration = migrate(
            from_store,
            to_store,
            dry_run=dry_run,
            overwrite=overwrite,
            delete_source=delete_source,
            lock_timeout=lock_timeout,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        print_json(_answer(migration))
    else:
        show(*_rendered(migration, delete_source=delete_source))
    if migration.stopped_by is not None:
        raise migration.stopped_by
    if not migration.complete:
        raise SystemExit(_exit_code(migration))


def _exit_code(migration: Migration) -> ExitCode:
    # What needs a decision before what needs patience.
    if migration.count("failed"):
        return ExitCode.FAILED
    return ExitCode.CONFLICT if migration.count("conflict") or migration.count("changed") else ExitCode.LOCKED


@contextmanager
def _interruptible(*, dry_run: bool) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if not dry_run:
            say("Interrupted: every document in the target is whole. Run the same command again to go on.")
        raise


@contextmanager
def _progress() -> Generator[Callable[[Phase, int, int], None] | None]:
    console = error_console()
    if console is None:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Listing", total=None)
        shown: list[Phase] = []

        def tell(phase: Phase, done: int, total: int) -> None:
            if shown[-1:] != [phase] or done == 0:
                shown.append(phase)
                bar.reset(task, total=total, description=_PHASES[phase])
            bar.update(task, completed=done)

        yield tell


def _answer(migration: Migration) -> dict[str, object]:
    answer: dict[str, object] = {
        "source": migration.source,
        "target": migration.target,
        "dry_run": migration.dry_run,
        "complete": migration.complete,
        "counts": _counts(migration),
        "copied_bytes": migration.copied_bytes,
        "deleted": migration.deleted,
        "copied_without_lock": migration.unlocked,
        "seconds": round(migration.seconds, 3),
        "documents": [msgspec.to_builtins(document) for document in migration.documents],
    }
    return answer | ({} if migration.stopped_by is None else {"stopped_by": migration.stopped_by.envelope()["error"]})


def _counts(migration: Migration) -> dict[str, int]:
    return {outcome: migration.count(outcome) for outcome in get_args(Outcome)}


def _rendered(migration: Migration, *, delete_source: bool) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    counts = _counts(migration)
    rows = {
        "From": one_line(migration.source),
        "To": one_line(migration.target),
        "Copied": f"{counts['copied']:,}",
        "Overwritten": f"{counts['overwritten']:,}",
        "There already": f"{counts['present']:,}",
        "Bytes written": f"{migration.copied_bytes:,}",
        "Other document there": f"{counts['conflict']:,}",
        "Locked by others": f"{counts['locked']:,}",
        "Changed meanwhile": f"{counts['changed']:,}",
        "Failed": f"{counts['failed']:,}",
        "Deleted in the source": f"{migration.deleted:,}" if delete_source else "no",
        "Time": f"{migration.seconds:.1f} s",
    }
    optional = {"Overwritten", "Other document there", "Locked by others", "Changed meanwhile", "Failed"}
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value != "0" or name not in optional:
            table.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [table, Text()]
    for document in migration.problems[:_MOST_PROBLEMS]:
        parts.append(Text(f"- {one_line(document.key)}: {sentence(document.reason or document.outcome)}", style="red"))
        if document.hint:
            parts.append(Text(f"  {sentence(document.hint)}"))
    if len(migration.problems) > _MOST_PROBLEMS:
        parts.append(Text(f"- And {len(migration.problems) - _MOST_PROBLEMS:,} more; --json has all."))
    if migration.unlocked:
        were = "1 document was" if migration.unlocked == 1 else f"{migration.unlocked:,} documents were"
        parts.append(
            Text(
                f"{were} copied without a lock in the source, which this account cannot take: be sure that nobody "
                "writes there."
            )
        )
    parts.append(_verdict(migration))
    return parts


def _verdict(migration: Migration) -> RenderableType:
    from rich.text import Text

    number = len(migration.documents)
    if migration.complete and not number:
        return Text("The source has no documents.")
    if migration.complete and migration.dry_run:
        return Text("Nothing was written: this was a dry run.", style="green")
    if migration.complete:
        number_of = "the one document" if number == 1 else f"all {number:,} documents"
        return Text(f"The target has {number_of} of the source; each was read back.", style="green")
    if migration.dry_run:
        return Text("Nothing was written: this was a dry run. Not everything could be copied.", style="bold red")
    kept = "" if migration.deleted else " Nothing was deleted in the source."
    return Text(f"The migration is not complete.{kept} Run it again once the cause is gone.", style="bold red")
