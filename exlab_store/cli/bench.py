"""``exlab-store bench``: how fast a place is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exlab_store.benching import measure
from exlab_store.benching.figures import shown
from exlab_store.benching.measuring import HOLD, THINK
from exlab_store.cli.ending import ended_in_order
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import json_line, one_line
from exlab_store.cli.progress import steps_shown
from exlab_store.cli.terminal import print_json, say, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from exlab_store.benching import Bench, Contention, Operation
    from exlab_store.hidden_location import HiddenLocation

__all__ = ["run_bench"]


def run_bench(location: HiddenLocation, *, seconds: float, as_json: bool) -> None:
    """Measures the operations of a store and prints the figures.

    Args:
        location: As typed.
        seconds: How long each operation is measured.
        as_json: Print JSON.

    Raises:
        StoreError: The place cannot be used.
    """
    left: list[str] = []
    try:
        with ended_in_order(), steps_shown() as progress:
            bench = measure(resolved(location), seconds=seconds, progress=progress, left=left.append)
    finally:
        for what in left:
            _say_left(what, as_json=as_json)
    if as_json:
        print_json(_answer(bench))
    else:
        show(*_rendered(bench))


def _say_left(what: str, *, as_json: bool) -> None:
    if as_json:  # the error, if there is one, is the next line
        say(json_line({"remains": what}))
    else:
        say(_attention(what))


def _attention(what: str) -> str:
    return f"Attention: {one_line(what)}. Nobody needs it any more: remove it."


def _answer(bench: Bench) -> dict[str, object]:
    members: dict[str, object] = msgspec.structs.asdict(bench)
    return members | {
        "operations": [msgspec.to_builtins(each) | {"ratio": each.ratio} for each in bench.operations],
        "contentions": [msgspec.to_builtins(each) | {"ratio": each.ratio} for each in bench.contentions],
        "hold": HOLD,
        "think": THINK,
    }


def _rendered(bench: Bench) -> list[RenderableType]:
    from rich.text import Text

    bare = any(operation.bare is not None for operation in bench.operations)
    parts: list[RenderableType] = [
        Text(one_line(bench.location), style="bold"),
        _operations(bench.operations, bare),
        Text(_OPERATIONS_BESIDE_BARE if bare else _OPERATIONS),
        Text(),
    ]
    if bench.contentions:
        parts += [
            Text(f"A lock that several want: each keeps it {HOLD * 1e3:g} ms, then thinks {THINK * 1e3:g} ms."),
            _contentions(bench.contentions, bare),
            Text(_CROWDS_BESIDE_BARE if bare else _CROWDS),
        ]
    else:
        parts.append(Text("The backend has no locks."))
    parts.append(Text(_BOTH))
    if not bench.durable:
        parts.append(Text("What this store acknowledges need not survive a power cut.", style="yellow"))
    busy = "" if bench.load is None else f", load {bench.load:.2f}"
    parts.append(Text(f"Python {bench.python}, {bench.system}, {bench.processors} processors{busy}.", style="dim"))
    if bench.remains is not None:
        parts.append(Text(_attention(bench.remains), style="yellow"))
    return parts


_OPERATIONS = "Per second: how many, one after the other; more is better."

_OPERATIONS_BESIDE_BARE = """\
Bare: by hand: a durable write, open().read(), a flock that notes no holder.
Times as long: as Bare, by the medians. 1 is as fast; less is better."""

_CROWDS = "Fair: 1 if all had the lock equally often, 1/8 if one of eight had it alone."

_CROWDS_BESIDE_BARE = f"""\
{_CROWDS}
Bare: per second, with a flock that notes no holder.
Times as often: as Bare. 1 is as often; more is better."""

_BOTH = "99 of 100: so many took, or waited, no longer than that."


def _operations(operations: tuple[Operation, ...], bare: bool) -> RenderableType:
    from exlab_store.cli.fitting_table import FittingTable

    headings = ["Operation", "Median", "99 of\n100", "Per\nsecond", *(["Bare", "Times\nas long"] if bare else [])]
    rows: list[list[str]] = []
    for each in operations:
        row = [_named(each), shown(each.store.median), shown(each.store.p99), f"{each.store.per_second:,.0f}"]
        if bare:
            row += ["", ""] if each.bare is None else [shown(each.bare.median), f"{each.ratio:.2f}"]
        rows.append(row)
    return FittingTable(headings, rows, ["Per\nsecond", "99 of\n100", "Bare"] if bare else ["99 of\n100"])


def _contentions(contentions: tuple[Contention, ...], bare: bool) -> RenderableType:
    from exlab_store.cli.fitting_table import FittingTable

    headings = ["At once", "Per\nsecond", "Wait", "99 of\n100", "Longest", "Fair"]
    headings += ["Bare", "Times\nas often"] if bare else []
    rows: list[list[str]] = []
    for each in contentions:
        crowd = each.store
        many = "" if each.number == 1 else "s" if each.of == "thread" else "es"
        row = [f"{each.number} {each.of}{many}", f"{crowd.per_second:,.0f}", shown(crowd.median), shown(crowd.p99)]
        row += [shown(crowd.longest), f"{crowd.fairness:.2f}"]
        if bare:
            row += ["", ""] if each.bare is None else [f"{each.bare.per_second:,.0f}", f"{each.ratio:.2f}"]
        rows.append(row)
    return FittingTable(headings, rows, ["Bare", "Wait", "99 of\n100", "Per\nsecond"])


_NAMES = {"write": "write", "read": "read", "lock": "lock and release", "update": "update"}


def _named(operation: Operation) -> str:
    if not operation.size:
        return _NAMES[operation.name]
    size = f"{operation.size >> 20} MiB" if operation.size >= 1 << 20 else f"{operation.size >> 10} KiB"
    return f"{_NAMES[operation.name]}, {size}"
