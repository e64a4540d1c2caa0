"""``exlab-store locks``: the lock files of a store, and who holds each lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exlab_store import LockOwner, open_store
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.terminal import print_json, show
from exlab_store.cli.waiting import busy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from exlab_store import Leftover
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["show_locks"]

_STATES = {True: "held", False: "free", None: "unknown"}
_STYLES = {True: "yellow", False: "dim", None: ""}


class _Lock(msgspec.Struct, frozen=True):
    """A lock file as ``--json`` shows it; ``held`` is null where nobody can tell."""

    name: str
    held: bool | None
    owner: LockOwner | None
    size: int
    modified: float | None
    excludes: tuple[str, ...] = ()
    database: bool = False


def show_locks(location: HiddenLocation, *, held_only: bool, as_json: bool) -> None:
    """Prints the lock files of a store.

    Args:
        location: Where the store is.
        held_only: Leave out the locks that are free.
        as_json: Print JSON.

    Raises:
        StoreError: The store cannot be opened or listed, or does not show its lock files.
    """
    with busy("Looking for lock files"), open_store(resolved(location)) as store:
        found = [leftover for leftover in store.list_leftovers() if leftover.kind == "lock"]
        place = str(store.location)
    shown = [lock for lock in found if lock.held is not False] if held_only else found
    if as_json:
        locks = [
            _Lock(lock.name, lock.held, lock.owner, lock.size, lock.modified, lock.excludes, lock.database)
            for lock in shown
        ]
        print_json({"location": place, "locks": locks})
    elif shown:
        show(_table(shown), _summary(found))
    else:
        show(_summary(found))


def _summary(found: Sequence[Leftover]) -> Text:
    from rich.text import Text

    if not found:
        return Text("There are no lock files.")
    counted = [f"{sum(lock.held is state for lock in found)} {word}" for state, word in _STATES.items()]
    return Text(f"Lock files: {', '.join(counted)}.")


def _table(shown: Sequence[Leftover]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("State", no_wrap=True)
    table.add_column("Lock file", overflow="fold")
    table.add_column("Held by", overflow="fold")
    for lock in shown:
        state = Text(_STATES[lock.held], style=_STYLES[lock.held])
        closed = f"closed to {', '.join(lock.excludes)}" if lock.excludes else ""
        database = "an SQLite database of another program, whose locks exclude nobody here" if lock.database else ""
        table.add_row(
            state, Text(one_line(lock.name)), Text("\n".join(filter(None, [_holder(lock), closed, database])))
        )
    return table


def _holder(lock: Leftover) -> str:
    owner = lock.owner
    if lock.held is False or (owner is None and not lock.held):
        return ""
    if owner is None:
        return "a program that does not say"
    perhaps = "" if lock.held else "perhaps "
    lines = [f"{perhaps}{owner.user} on {owner.host}, process {owner.pid}", f"since {owner.since}"]
    if owner.purpose:
        lines.append(f"for {owner.purpose!r}")
    return "\n".join(map(one_line, lines))
