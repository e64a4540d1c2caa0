"""The main ratios, as the table of README's section on speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import catalogues
import lockers
import updaters
import writers
from judging import PLACES
from pairs import OPEN_READ, ROWS

from exlab_store.benching.figures import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from results import Pair, Results

    from exlab_store.benching.figures import Timing

__all__ = ["main_ratios", "write_table"]

_HEAD = "| Operation | This package, x the reference | Others, x this package |"
_FSSPEC = ("fsspec pipe_file", "fsspec transaction")
_BOTH_FSYNCS = "FileLock, temporary file, os.replace, both fsyncs"


def write_table(results: Results, readme: Path) -> None:
    """Replaces the table.

    Args:
        results: The figures; those of a short run are refused.
        readme: The file.

    Raises:
        SystemExit: The run was short, or the file has no such table.
    """
    lines = readme.read_text(encoding="utf-8").splitlines(keepends=True)
    begin = next((number for number, line in enumerate(lines) if line.startswith("| Operation | This package, ")), None)
    if results.short or begin is None:
        why = "its table is not to be found" if begin is None else "the run was short, and its figures mean nothing"
        raise SystemExit(f"{readme.name} stays as it is: {why}")
    end = next((number for number in range(begin, len(lines)) if not lines[number].startswith("|")), len(lines))
    lines[begin:end] = [f"{line}\n" for line in main_ratios(results)]
    readme.write_text("".join(lines), encoding="utf-8")


def main_ratios(results: Results) -> Iterator[str]:
    """The table's lines; what was not measured is left out."""
    yield _HEAD
    yield "|---|---|---|"
    for row in _rows(results):
        yield f"| {' | '.join(row)} |"


def _rows(results: Results) -> Iterator[tuple[str, str, str]]:
    for size, title in (("2048", "2 KiB"), ("1048576", "1 MiB")):
        pair, timings = _pair(results, f"durable write, {title}", writers.RAW), results.writes.get(size, {})
        if pair is not None:
            # The peer that a limit is about was measured by a pair, too.
            peer = _pair(results, f"durable write, {title}", "atomicwrites")
            found = [f"`atomicwrites` {_times(1 / peer.ratio)}"] if peer else []
            found.append(_others({} if peer else timings, {"atomicwrites": "`atomicwrites`"}))
            found.append(_others(timings, {"SQLite, WAL, full": "SQLite"}))
            sound = ", ".join(filter(None, found))
            lost = _others(timings, {_FSSPEC: "fsspec", "obstore LocalStore": "obstore"})
            others = sound + (f"; a power cut takes back {lost}" if lost else "")
            yield f"durable write of {title}", f"{pair.ratio:.2f} (the same promise by hand)", others
    if (pair := _pair(results, "read, 2 KiB", OPEN_READ)) is not None:
        others = _others(results.reads, {_FSSPEC: "fsspec", "obstore LocalStore": "obstore", "zarr LocalStore": "zarr"})
        yield "read of 2 KiB", f"{pair.ratio:.2f} (`{OPEN_READ}`)", others
    if (pair := _pair(results, "lock and release", lockers.FLOCK)) is not None:
        by_file_lock = _pair(results, "lock and release", lockers.FILELOCK)
        found = [] if by_file_lock is None else [f"`filelock.FileLock` {1 / by_file_lock.ratio:.1f}"]
        rest = _others(results.locks, {"fasteners": "fasteners", "portalocker": "portalocker"})
        others = ", ".join([*found, *([rest] if rest else [])])
        yield "lock and release", f"{pair.ratio:.2f} (open, flock, close)", others
    yield from _crowds(results)
    if (pair := _pair(results, "update, 2 KiB", updaters.RAW)) is not None:
        others = _others(results.updates, {_BOTH_FSYNCS: "`FileLock` with both fsyncs by hand"})
        yield "read, change, write under a lock", f"{pair.ratio:.2f} (those by hand)", others
    yield from _smb(results)
    found = [
        f"{action} {1 / pair.ratio:.1f}"
        for action in ("read", "write")
        if (pair := _pair(results, f"catalogue of {ROWS:,}, {action}", catalogues.BY_HAND)) is not None
    ]
    if found:
        yield f"catalogue of {ROWS:,} projects", "", f"dicts converted row by row: {', '.join(found)}"
    yield from _loop(results)


def _crowds(results: Results) -> Iterator[tuple[str, str, str]]:
    for pair in results.contended:
        ours = pair.figures[lockers.OURS]
        ratio = ours.per_second / pair.figures[lockers.FLOCK].per_second
        others = ""
        for crowd in results.crowds:
            if (crowd.number, crowd.think) == (pair.number, pair.think) and lockers.FILELOCK in crowd.figures:
                theirs, beside = crowd.figures[lockers.FILELOCK], crowd.figures[lockers.OURS]
                others = (
                    f"`FileLock` {theirs.per_second / beside.per_second:.2f}, its longest wait "
                    f"{shown(theirs.longest)}, not {shown(beside.longest)}"
                )
        yield f"{pair.number} processes want one lock: locks a second", f"{ratio:.2f} (blocking flock)", others


def _smb(results: Results) -> Iterator[tuple[str, str, str]]:
    found = {
        "write" if "write" in row.title else "read": row.medians["fsspec"] / row.medians["exlab_store"]
        for row in results.smb
        if row.delay == 0.010
    }
    if len(found) == 2:
        others = f"fsspec: write {found['write']:.1f}, not flushed; read {found['read']:.1f}"
        yield "SMB, round trip of 10 ms", "", others


def _loop(results: Results) -> Iterator[tuple[str, str, str]]:
    places: list[str] = []
    for place in PLACES:
        found = [looped for looped in results.event_loop if looped.place == place]
        if found:
            median, worst = max(looped.median for looped in found), max(max(looped.pauses) for looped in found)
            places.append(f"{shown(median)} ({place}; worst run {shown(worst)})")
    if places:
        lost, left = (sum(getattr(looped, name) for looped in results.event_loop) for name in ("missing", "left"))
        threads = max(looped.threads for looped in results.event_loop)
        said = f"event loop held up for {', '.join(places)}; {threads} threads, {lost} updates lost, {left} locks left"
        yield "1,000 updates at once; 300 tasks want one lock", said, ""


def _pair(results: Results, title: str, reference: str) -> Pair | None:
    return next((pair for pair in results.pairs if (pair.title, pair.reference) == (title, reference)), None)


def _others(timings: Mapping[str, Timing], names: Mapping[str | tuple[str, ...], str]) -> str:
    """Peers of a table beside this package, of which there is one under the same name in each."""
    parts: list[str] = []
    for wanted, called in names.items():
        ratios = sorted(_ratios(timings, (wanted,) if isinstance(wanted, str) else wanted))
        if ratios:
            ends = dict.fromkeys(_times(ratio) for ratio in (ratios[0], ratios[-1]))
            parts.append(f"{called} {' to '.join(ends)}")
    return ", ".join(parts)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio >= 1.5 else f"{ratio:.2f}"


def _ratios(timings: Mapping[str, Timing], names: Iterable[str]) -> Iterator[float]:
    return (timings[name].median / timings[writers.OURS].median for name in names if name in timings)
