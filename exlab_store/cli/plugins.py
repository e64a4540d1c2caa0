"""``exlab-store plugins``: which backends are installed, and what they guarantee."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from exlab_store import Guarantees, InstalledBackend, Location, StoreError, installed_backends, open_store
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.terminal import print_json, show
from exlab_store.hidden_location import HiddenLocation
from exlab_store.installing import how_to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table
    from rich.text import Text

__all__ = ["show_plugins"]


class _ListedBackend(msgspec.Struct, frozen=True):
    """A row of the answer: its keys are those of ``--json``."""

    scheme: str
    distribution: str
    version: str
    fault: str | None
    missing_extra: str | None
    passed_over: tuple[str, ...]
    guarantees: Guarantees | None
    guarantees_at: str | None


def show_plugins(places: Sequence[HiddenLocation], *, as_json: bool) -> None:
    """Prints the installed backends; one that is broken has its cause instead of guarantees.

    Args:
        places: Locations whose guarantees are asked for, at most one for each scheme is shown: the last.
        as_json: Print JSON.

    Raises:
        StoreError: One of the places cannot be opened.
    """
    asked: dict[str, tuple[str, Guarantees]] = {}
    for place in places:
        with open_store(resolved(place)) as store:
            if store.location is not None:
                asked[store.location.scheme] = str(store.location), store.guarantees
    listed = [_listed(backend, asked) for backend in installed_backends()]
    if as_json:
        print_json({"backends": listed})
    else:
        show(_table(listed))


def _listed(backend: InstalledBackend, asked: Mapping[str, tuple[str, Guarantees]]) -> _ListedBackend:
    at, guarantees = None, None
    if backend.fault is None and backend.missing_extra is None:
        at, guarantees = asked.get(backend.scheme) or _representative(backend.scheme)
    return _ListedBackend(
        backend.scheme,
        backend.distribution,
        backend.version,
        backend.fault,
        backend.missing_extra,
        backend.passed_over,
        guarantees,
        at,
    )


def _guarantees_at(location: HiddenLocation) -> Guarantees:
    with open_store(location) as store:
        return store.guarantees


def _representative(scheme: str) -> tuple[str | None, Guarantees | None]:
    """A store that opens without knowing anything of the site: the working directory, or a URL of nothing else.

    What a backend gives may differ between two places (a local disk, a network mount), so the place is shown.
    """
    for location in (HiddenLocation(os.curdir), HiddenLocation(f"{scheme}://")):
        try:
            parsed = Location.parse(resolved(location))
            if parsed.scheme == scheme:
                return str(parsed), _guarantees_at(resolved(location))
        except StoreError:
            continue
    return None, None


def _table(listed: Sequence[_ListedBackend]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Scheme", no_wrap=True, max_width=12)
    table.add_column("Distribution", overflow="fold", max_width=28)
    table.add_column("Guarantees", overflow="fold")
    for number, backend in enumerate(listed):
        if number:
            table.add_row()
        table.add_row(
            Text(one_line(backend.scheme)),
            _named(backend),
            _described(backend),
        )
    return table


def _named(backend: _ListedBackend) -> Text:
    from rich.text import Text

    text = Text(one_line(f"{backend.distribution} {backend.version}"))
    for other in backend.passed_over:
        text.append(f"\npassed over: {one_line(other)}", style="dim")
    return text


def _described(backend: _ListedBackend) -> Text:
    from rich.text import Text

    if backend.fault is not None:
        return Text(f"broken: {one_line(backend.fault)}", style="red")
    if backend.missing_extra is not None:
        return Text(f"not installed: {how_to_install(one_line(backend.missing_extra))}", style="dim")
    if backend.guarantees is None:
        return Text("depends on the location: give one with --at")
    text = Text(f"at {one_line(backend.guarantees_at or '')}", style="dim")
    for name, value in msgspec.structs.asdict(backend.guarantees).items():
        shown = {True: "yes", False: "no"}.get(value, value)
        text.append(f"\n{name:<18}{shown}", style="not dim")
    return text
