"""The page ``benchmarks.md``: tables, charts, what was wanted and what was found."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import catalogues
import lockers
import updaters
import writers
from charts import Bar, bars
from notes import NOTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from results import Crowded, Results

    from exlab_store.benching.figures import Timing

__all__ = ["report", "write_page"]

_SIZES = {"2048": "2 KiB", "65536": "64 KiB", "1048576": "1 MiB"}


def report(results: Results) -> str:
    """All tables that there are figures for, as Markdown."""
    return "\n\n".join(part for part in _parts(results, charts=False) if part)


def write_page(results: Results, folder: Path) -> None:
    """Writes the page and its charts.

    Args:
        results: The figures.
        folder: Where the page goes; the charts go into ``benchmarks`` below it.
    """
    charts = folder / "benchmarks"
    charts.mkdir(parents=True, exist_ok=True)
    for name, chart in _charts(results).items():
        (charts / f"{name}.svg").write_text(chart, encoding="utf-8")
    parts = [part for part in _parts(results, charts=True) if part]
    (folder / "benchmarks.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _parts(results: Results, *, charts: bool) -> Iterable[str]:
    def chart(name: str, text: str) -> str:
        return f"![{text}](benchmarks/{name}.svg)" if charts else ""

    if charts:
        yield _INTRODUCTION
    yield _machine(results)
    if results.writes:
        yield "## Durable writes"
        yield _WRITES if charts else ""
        yield chart("write-2-kib", "Bars: the time of a write of 2 KiB, by contender")
        yield _writes(results)
        yield chart("write-1-mib", "Bars: the time of a write of 1 MiB, by contender")
    if results.alone:
        yield _ALONE if charts else ""
        yield _alone(results)
    if results.reads:
        yield "## Reading 2 KiB"
        yield _timings(_readers(results.reads), _OPEN_READ)
    if results.locks:
        yield "## Locks"
        yield "One process takes the lock and gives it back; nobody else wants it." if charts else ""
        yield _timings(results.locks, lockers.FLOCK)
    if results.crowds:
        yield _CROWDS if charts else ""
        yield chart("crowd-longest-wait", "Bars: the longest wait for a lock that 8 processes want, by contender")
        yield from (_crowd(crowd) for crowd in results.crowds)
    if results.updates:
        yield "## Changing a document under its lock"
        yield "2 KiB are read, changed and written." if charts else ""
        yield _timings(results.updates, updaters.RAW)
    if results.smb:
        yield "## A share, by SMB"
        yield _SMB if charts else ""
        yield chart("smb-write", "Bars: the time of a write of 2 KiB over SMB, by contender and round trip")
        yield _smb(results)
    if results.catalogue:
        yield "## The catalogue"
        yield _CATALOGUE if charts else ""
        yield _catalogue(results)
    if results.memory:
        yield _memory(results)
    if results.imports:
        yield "## Import"
        yield "Starting Python, importing, ending; the second column is what the import adds." if charts else ""
        yield _imports(results)
    limits = _limits(results)
    if limits:
        yield "## What was wanted, and what was found"
        yield limits
    if charts:
        yield NOTES
        yield _AGAIN


_INTRODUCTION = """\
# Benchmarks

How close each operation is to the bare system calls, and how it compares with what people use instead. Contenders of
a table took turns in one run, so that what slowed the machine down slowed all of them; every write had other bytes;
times are medians. A fast write that a power cut takes back, or that readers see half of, is not a win: so the tables
say which those are."""

_WRITES = """\
One document is replaced again and again. *Survives a power cut*: strace saw that the new bytes, and where a file was
renamed also its directory, were synchronised before the call returned. *Torn reads*: another process read documents of
1 MiB meanwhile; a read counts as torn if it gave a mixture of two documents, a part of one, or none. SQLite appends to
one log, which is flushed once and not twice; its database is no document that other programs read, and its log does not
work on a mounted share."""

_ALONE = """\
Each contender of that table finds the processor's caches full of what twelve others left there, which costs the longer
way through Python more. With nobody else between them, this package and the raw system calls take:"""

_CROWDS = """\
So many processes want one lock at the same time. Each keeps it for 0.5 ms and then thinks for 2 ms; in the second half
they neither keep it nor think. *Fairness* is Jain's index: 1 if all got the lock equally often."""

_SMB = """\
Debian's `smbd` on the same machine, behind a proxy that delays each round trip. The peers write a temporary file and
replace the document with it (`smbclient.replace`), which flushes nothing: their writes do not survive a power cut of
the server. Those of this package do. Round trips are in parentheses."""

_CATALOGUE = """\
From the stored bytes to rows and back, in a store in memory, so that no disk is measured. *Converted row by row*
decodes to dicts and converts each (`msgspec.convert`, `msgspec.to_builtins`); *json* is Python's own, with dataclasses
as rows."""

_AGAIN = """\
## Measure again

The page and its charts are written by `python tests/benchmarks/peers.py --page docs`. It takes some minutes. The peers
are the dependency group `peers` of `pyproject.toml` (`pip install --group peers`, with pip 25.1 or later); one that is
not installed is left out, and said so.

For a place of your own there is [`exlab-store bench`](reference/command.md)."""


def _machine(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    load = " before, ".join(f"{load:.1f}" for load in machine.load[:2]) + " in the last minute"
    text = (
        f"Measured on {machine.date}: {machine.processors} processors ({machine.processor}), {machine.kernel}, "
        f"{machine.file_system}, Python {machine.python}, {versions}. Load of the machine: {load}. "
        f"Each row was measured for {results.seconds:g} s; all of it took {results.took / 60:.0f} minutes."
    )
    if results.missing:
        text += " " + "; ".join(results.missing) + "."
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(seconds: float) -> str:
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{seconds:.2f} s"


def _sorted(timings: Mapping[str, Timing]) -> list[tuple[str, Timing]]:
    return sorted(timings.items(), key=lambda item: item[1].median)


def _bold(name: str) -> str:
    return f"**{name}**" if name.startswith(writers.OURS) else name


def _writes(results: Results) -> str:
    small = results.writes["2048"]
    rows: list[list[str]] = []
    for name, _ in sorted(small.items(), key=lambda item: (not _survives(results, item[0]), item[1].median)):
        cells = [_bold(name), _yes(_survives(results, name)), _torn(results, name)]
        for size in results.writes:
            timings = results.writes[size]
            cells.append(f"{_shown(timings[name].median)} ({timings[name].median / timings[writers.RAW].median:.2f})")
        rows.append(cells)
    sizes = [f"{_SIZES[size]} (x raw)" for size in results.writes]
    return _table(["Contender", "Survives a power cut", "Torn reads", *sizes], rows)


def _alone(results: Results) -> str:
    rows = [
        [_SIZES[size], _shown(of[writers.OURS].median), _shown(of[writers.RAW].median), f"{_ratio(of):.2f}"]
        for size, of in results.alone.items()
    ]
    return _table(["", f"**{writers.OURS}**", writers.RAW, "x raw"], rows)


def _ratio(of: Mapping[str, Timing]) -> float:
    return of[writers.OURS].median / of[writers.RAW].median


def _survives(results: Results, name: str) -> bool | None:
    evidence = results.evidence.get(name)
    return None if evidence is None else evidence.survives


def _yes(value: bool | None) -> str:
    return "not examined" if value is None else "yes" if value else "**no**"


def _torn(results: Results, name: str) -> str:
    evidence = results.evidence.get(name)
    if evidence is None:
        return "not examined"
    if not evidence.torn:
        return f"0 of {evidence.reads:,}"
    return f"**{evidence.torn:,} of {evidence.reads:,}**"


def _timings(timings: Mapping[str, Timing], reference: str) -> str:
    base = timings[reference].median
    rows = [
        [_bold(name), _shown(timing.median), _shown(timing.p99), f"{timing.median / base:.2f}"]
        for name, timing in _sorted(timings)
    ]
    return _table(["Contender", "Median", "99 of 100", f"x {reference}"], rows)


_OPEN_READ = "open().read()"


def _readers(timings: Mapping[str, Timing]) -> dict[str, Timing]:
    """Without those who read as everybody does, and that under its name."""
    alike = {"open().write()", "temporary file, os.replace", "atomicwrites"}
    return {_OPEN_READ if name == writers.RAW else name: timings[name] for name in timings if name not in alike}


def _crowd(crowd: Crowded) -> str:
    many = "process" if crowd.number == 1 else "processes"
    work = f"each keeps it {crowd.hold * 1e3:g} ms and thinks {crowd.think * 1e3:g} ms"
    title = f"{crowd.number} {many}, {work if crowd.think else 'which neither keep it nor think'}:"
    rows = [
        [
            _bold(name),
            f"{figures.per_second:,.0f}",
            _shown(figures.median),
            _shown(figures.p99),
            _shown(figures.longest),
            f"{figures.fairness:.2f}",
        ]
        for name, figures in sorted(crowd.figures.items(), key=lambda item: -item[1].per_second)
    ]
    return f"{title}\n\n" + _table(["Contender", "Locks a second", "Wait", "99 of 100", "Longest", "Fairness"], rows)


def _smb(results: Results) -> str:
    names = list(dict.fromkeys(name for row in results.smb for name in row.medians))
    rows: list[list[str]] = []
    for row in results.smb:
        cells = [f"{row.title}, {row.delay * 1e3:g} ms"]
        for name in names:
            median = row.medians.get(name)
            cells.append("" if median is None else f"{_shown(median)} ({row.round_trips.get(name, 0)})")
        peer = row.medians.get("fsspec")
        cells.append("" if peer is None else f"{peer / row.medians['exlab_store']:.1f}")
        rows.append(cells)
    return _table(["Operation, round trip", *names, "Times as fast as fsspec"], rows)


def _catalogue(results: Results) -> str:
    names = (catalogues.OURS, catalogues.BY_HAND, catalogues.JSON)
    rows = [
        [
            f"{what.split()[0]} {int(what.split()[1]):,} projects",
            *(f"{_shown(timings[name].median)}" for name in names),
            f"{timings[catalogues.BY_HAND].median / timings[catalogues.OURS].median:.1f}",
            f"{timings[catalogues.JSON].median / timings[catalogues.OURS].median:.1f}",
        ]
        for what, timings in results.catalogue.items()
    ]
    return _table(
        ["", "**exlab_store**", "msgspec, converted row by row", "json", "Times as fast as row by row", "As json"], rows
    )


def _memory(results: Results) -> str:
    names = (catalogues.OURS, catalogues.BY_HAND, catalogues.JSON)
    rows = [
        [f"{action} 10,000 projects", *(f"{peaks[name]:.2f}" for name in names)]
        for action, peaks in results.memory.items()
    ]
    text = "The memory that this takes at most beyond what it returns, in sizes of the document:"
    return f"{text}\n\n" + _table(["", "**exlab_store**", "msgspec, converted row by row", "json"], rows)


def _imports(results: Results) -> str:
    base = results.imports["nothing"]
    rows = [
        [_bold(name), f"{seconds * 1e3:.0f} ms", f"{(seconds - base) * 1e3:.0f} ms"]
        for name, seconds in sorted(results.imports.items(), key=lambda item: item[1])
    ]
    return _table(["", "In all", "More than nothing"], rows)


def _limits(results: Results) -> str:
    rows = [[what, wanted, found, "kept" if kept else "**missed**"] for what, wanted, found, kept in _judged(results)]
    return _table(["", "Wanted", "Found", ""], rows) if rows else ""


def _judged(results: Results) -> Iterable[tuple[str, str, str, bool]]:
    def at_most(what: str, ratio: float, limit: float, of: str) -> tuple[str, str, str, bool]:
        return what, f"at most {limit:g} x {of}", f"{ratio:.2f}", ratio <= limit

    def at_least(what: str, ratio: float, limit: float, of: str) -> tuple[str, str, str, bool]:
        return what, f"at least {limit:g} x {of}", f"{ratio:.2f}", ratio >= limit

    for size in ("2048", "1048576"):
        if size in results.alone:
            of = results.alone[size]
            ratio = of[writers.OURS].median / of[writers.RAW].median
            yield at_most(f"durable write, {_SIZES[size]}, the two in turns", ratio, 1.05, "raw")
    if "atomicwrites" in results.writes.get("2048", {}):
        of = results.writes["2048"]
        yield at_most("durable write, 2 KiB", of[writers.OURS].median / of["atomicwrites"].median, 1.0, "atomicwrites")
    if results.reads:
        ours = results.reads[writers.OURS].median
        yield at_most("read, 2 KiB", ours / results.reads[writers.RAW].median, 1.5, "open().read()")
        memory = results.reads["exlab_store, memory://"].median
        yield "read, memory://", "under 6 us", _shown(memory), memory < 6e-6
    if results.locks:
        ours = results.locks[lockers.OURS].median
        yield at_most("lock and release", ours / results.locks[lockers.FLOCK].median, 4.0, "open, flock, close")
        if lockers.FILELOCK in results.locks:
            theirs = results.locks[lockers.FILELOCK].median
            yield at_least("lock and release, as fast", theirs / ours, 6.0, "filelock.FileLock")
    for crowd in results.crowds:
        if crowd.number == 8 and crowd.think:
            ours, theirs = crowd.figures[lockers.OURS], crowd.figures[lockers.FLOCK]
            yield at_least("8 processes, throughput", ours.per_second / theirs.per_second, 0.9, "blocking flock")
            yield at_most("8 processes, longest wait", ours.longest / theirs.longest, 3.0, "blocking flock")
    if results.updates:
        ratio = results.updates[updaters.OURS].median / results.updates[updaters.RAW].median
        yield at_most("update, 2 KiB", ratio, 1.15, "flock, read, raw write")
    yield from _judged_smb(results)
    if results.catalogue.get("read 10000"):
        for action, limit in (("read", 3.0), ("write", 2.0)):
            of = results.catalogue[f"{action} 10000"]
            ratio = of[catalogues.BY_HAND].median / of[catalogues.OURS].median
            yield at_least(f"catalogue of 10,000, {action}, as fast", ratio, limit, "row by row")
    for action, peaks in results.memory.items():
        yield at_most(f"catalogue of 10,000, {action}, peak memory", peaks[catalogues.OURS], 2.0, "the document")
    if results.imports:
        added = results.imports["exlab_store"] - results.imports["nothing"]
        yield "import exlab_store", "at most 50 ms more than nothing", _shown(added), added <= 0.05
        shown = results.imports["exlab-store --help"]
        yield "exlab-store --help", "under 300 ms", _shown(shown), shown < 0.3


def _judged_smb(results: Results) -> Iterable[tuple[str, str, str, bool]]:
    wanted = {("write", 0.0): 1.0, ("read", 0.0): 1.0, ("write", 0.010): 5.0, ("read", 0.010): 2.5}
    for row in results.smb:
        action = "write" if "write" in row.title else "read"
        limit = wanted.get((action, row.delay))
        if limit is not None:
            ratio = row.medians["fsspec"] / row.medians["exlab_store"]
            what = f"SMB, {action}, {row.delay * 1e3:g} ms, as fast"
            yield what, f"at least {limit:g} x fsspec", f"{ratio:.2f}", ratio >= limit


def _charts(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    note = "Shorter is better. Green: this package. Blue: survives a power cut, never torn. Brown: one of them not."
    for size, name in (("2048", "write-2-kib"), ("1048576", "write-1-mib")):
        if size in results.writes:
            rows = [
                Bar(contender, timing.median, _shown(timing.median), _kind(results, contender))
                for contender, timing in _sorted(results.writes[size])
            ]
            found[name] = bars(f"A write of {_SIZES[size]}, median", note, rows)
    for crowd in results.crowds:
        if crowd.number == 8 and crowd.think:
            rows = [
                Bar(name, figures.longest, _shown(figures.longest), "ours" if name == lockers.OURS else "sound")
                for name, figures in sorted(crowd.figures.items(), key=lambda item: item[1].longest)
            ]
            title = "Longest wait for a lock that 8 processes want"
            found["crowd-longest-wait"] = bars(title, "Shorter is better. Green: this package.", rows)
    rows = [
        Bar(f"{name}, {row.delay * 1e3:g} ms", median, _shown(median), "ours" if name == "exlab_store" else "unsafe")
        for row in results.smb
        if "write" in row.title
        for name, median in row.medians.items()
    ]
    if rows:
        note = "Shorter is better. Green: this package. Brown: peers, whose writes are not flushed."
        found["smb-write"] = bars("A write of 2 KiB over SMB, by round trip, median", note, rows)
    return found


def _kind(results: Results, name: str) -> str:
    if name == writers.OURS:
        return "ours"
    evidence = results.evidence.get(name)
    return "sound" if evidence is not None and evidence.survives and not evidence.torn else "unsafe"
