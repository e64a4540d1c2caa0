"""``exlab-store bench``: how fast a place is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from exlab_store.benching import measure
from exlab_store.benching.measuring import HOLD, THINK
from exlab_store.cli.ending import ended_in_order
from exlab_store.cli.places import resolved
from exlab_store.cli.plain_text import one_line
from exlab_store.cli.progress import steps_shown
from exlab_store.cli.terminal import print_json, say, show

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from exlab_store.benching import Bench, Contention, Operation

__all__ = ["run_bench"]


def run_bench(location: str, *, seconds: float, as_json: bool) -> None:
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
        say(msgspec.json.encode({"remains": what}).decode())
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
    parts: list[RenderableType] = [Text(one_line(bench.location), style="bold"), _operations(bench.operations, bare)]
    if bench.contentions:
        parts.append(
            Text(f"One lock that several want: each keeps it {HOLD * 1e3:g} ms, and thinks {THINK * 1e3:g} ms.")
        )
        parts.append(_contentions(bench.contentions, bare))
    else:
        parts.append(Text("The backend has no locks."))
    if bare:
        parts.append(Text("bare: the system calls alone, in turns with the store; x: the store's share of that."))
    if not bench.durable:
        parts.append(Text("What this store acknowledges need not survive a power cut.", style="yellow"))
    busy = "" if bench.load is None else f", load {bench.load:.2f}"
    parts.append(Text(f"Python {bench.python}, {bench.system}, {bench.processors} processors{busy}.", style="dim"))
    if bench.remains is not None:
        parts.append(Text(_attention(bench.remains), style="yellow"))
    return parts


def _operations(operations: tuple[Operation, ...], bare: bool) -> Table:
    table = _table("Operation", ["Median", "99 of 100", "Per second", *(["Bare", "x"] if bare else [])])
    for each in operations:
        cells = [shown(each.store.median), shown(each.store.p99), f"{each.store.per_second:,.0f}"]
        if bare:
            cells += ["", ""] if each.bare is None else [shown(each.bare.median), f"{each.ratio:.2f}"]
        table.add_row(_named(each), *cells)
    return table


def _contentions(contentions: tuple[Contention, ...], bare: bool) -> Table:
    columns = ["Per s", "Wait", "99 of 100", "Longest", "Fair", *(["Bare", "x"] if bare else [])]
    table = _table("At once", columns)
    for each in contentions:
        crowd = each.store
        cells = [f"{crowd.per_second:,.0f}", shown(crowd.median), shown(crowd.p99), shown(crowd.longest)]
        cells.append(f"{crowd.fairness:.2f}")
        if bare:
            cells += ["", ""] if each.bare is None else [f"{each.bare.per_second:,.0f}", f"{each.ratio:.2f}"]
        many = "" if each.number == 1 else "s" if each.of == "thread" else "es"
        table.add_row(f"{each.number} {each.of}{many}", *cells)
    return table


def _table(first: str, others: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


_NAMES = {"write": "write", "read": "read", "lock": "lock and release", "update": "update"}


def _named(operation: Operation) -> str:
    if not operation.size:
        return _NAMES[operation.name]
    size = f"{operation.size >> 20} MiB" if operation.size >= 1 << 20 else f"{operation.size >> 10} KiB"
    return f"{_NAMES[operation.name]}, {size}"


def shown(seconds: float) -> str:
    """A time with three digits or so.

    Args:
        seconds: How long.
    """
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{seconds:.2f} s"
