"""``exlab-store sweep``: removes the temporary files of writers that are gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from exlab_store import BackendUnavailable, DocumentNotFound, StoreError, open_store
from exlab_store.cli.exit_codes import ExitCode
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line, sentence
from exlab_store.cli.terminal import print_json, say, show
from exlab_store.cli.waiting import busy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from exlab_store import Leftover, Store
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["sweep"]

_DAY = 86400.0

_Reason: TypeAlias = Literal["writer_gone", "older_than_a_day"]
_Outcome: TypeAlias = Literal["would_be_removed", "removed", "vanished", "failed", "kept"]

_REASONS: dict[_Reason | None, str] = {
    "writer_gone": "its writer is gone",
    "older_than_a_day": "older than a day",
    None: "its writer may be at work",
}
_OUTCOMES: dict[_Outcome, str] = {
    "would_be_removed": "would be removed",
    "removed": "removed",
    "vanished": "gone meanwhile",
    "failed": "not removed",
    "kept": "kept",
}


class _File(msgspec.Struct, frozen=True, omit_defaults=True):
    """A temporary file, and what became of it, as ``--json`` shows it."""

    name: str
    size: int
    age: float | None
    clock: Literal["storage", "this machine"] | None
    reason: _Reason | None
    outcome: _Outcome
    error: str | None = None


def sweep(location: HiddenLocation, *, delete: bool, as_json: bool) -> None:
    """Removes the temporary files whose writers are certainly gone, or that are older than a day.

    Args:
        location: Where the store is.
        delete: Do it; otherwise only tell what would be done.
        as_json: Print JSON.

    Raises:
        StoreError: The store cannot be opened or listed, does not show such files, or went away meanwhile.
        SystemExit: A file could not be removed.
    """
    files: list[_File] = []
    stopped_by: BackendUnavailable | None = None
    with open_store(resolved(location)) as store:
        place = str(store.location)
        with busy("Looking for temporary files"):
            found = [leftover for leftover in store.list_leftovers() if leftover.kind == "temporary"]
            for leftover in found:
                try:
                    files.append(_swept(store, leftover, delete=delete))
                except BackendUnavailable as error:
                    stopped_by = error
                    break
    if as_json:
        print_json({"location": place, "deleted": delete, "files": files})
    else:
        show(*([_table(files)] if files else []), _summary(files, delete=delete))
    if stopped_by is not None:
        raise stopped_by
    failed = [file for file in files if file.error is not None]
    if failed and not as_json:
        for file in failed:
            say(f"Error: {sentence(file.error or '')}")
    if failed:
        raise SystemExit(ExitCode.FAILED)


def _swept(store: Store, leftover: Leftover, *, delete: bool) -> _File:
    age, clock = _age(leftover)
    reason: _Reason | None = None
    if leftover.abandoned:
        reason = "writer_gone"
    elif age is not None and age > _DAY:
        reason = "older_than_a_day"
    outcome: _Outcome = "kept" if reason is None else "would_be_removed"
    problem: str | None = None
    if reason is not None and delete:
        try:
            store.remove_leftover(leftover)
            outcome = "removed"
        except DocumentNotFound:  # the writer has gone on, or somebody else sweeps
            outcome = "vanished"
        except BackendUnavailable:
            raise
        except StoreError as error:
            outcome, problem = "failed", error.sentence
    return _File(leftover.name, leftover.size, age, clock, reason, outcome, problem)


def _age(leftover: Leftover) -> tuple[float | None, Literal["storage", "this machine"] | None]:
    if leftover.age is not None:
        return leftover.age, "storage"
    if leftover.modified is not None:
        return max(0.0, time.time() - leftover.modified), "this machine"
    return None, None


def _summary(files: Sequence[_File], *, delete: bool) -> Text:
    from rich.text import Text

    if not files:
        return Text("There are no temporary files.")
    lines: list[str] = []
    counted = {outcome: sum(file.outcome == outcome for file in files) for outcome in _OUTCOMES}
    parts = [f"{counted[outcome]} {text}" for outcome, text in _OUTCOMES.items() if counted[outcome]]
    lines.append(f"Temporary files: {', '.join(parts)}.")
    if not delete and counted["would_be_removed"]:
        lines.append("Nothing was removed: --delete does it.")
    if any(file.clock == "this machine" for file in files):
        lines.append("Ages are by this machine's clock, as that of the storage cannot be read.")
    return Text("\n".join(lines))


def _table(files: Sequence[_File]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Temporary file", overflow="fold")
    table.add_column("Bytes", justify="right", no_wrap=True)
    table.add_column("Age", justify="right", no_wrap=True)
    table.add_column("What becomes of it", overflow="fold", min_width=16)
    for file in files:
        outcome = Text(_OUTCOMES[file.outcome], style={"failed": "red", "kept": "dim"}.get(file.outcome, ""))
        outcome.append(f"\n{_REASONS[file.reason]}", style="dim")
        table.add_row(Text(one_line(file.name)), Text(str(file.size)), Text(_shown_age(file.age)), outcome)
    return table


def _shown_age(age: float | None) -> str:
    if age is None:
        return "unknown"
    for unit, seconds in (("d", _DAY), ("h", 3600.0), ("min", 60.0)):
        if age >= seconds:
            return f"{int(age // seconds)} {unit}"
    return f"{int(age)} s"
