"""The page ``benchmarks.md``: tables, charts, what was wanted and what was found."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import catalogues
import lockers
import updaters
import writers
from charts import Bar, bars
from judging import judged
from notes import notes_on
from pairs import OPEN_READ

from exlab_store.benching.figures import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from judging import Verdict
    from results import Crowded, Results

    from exlab_store.benching.figures import Timing

__all__ = ["judgements", "report", "write_page"]

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
    if results.reads:
        yield "## Reading 2 KiB"
        yield _READS if charts else ""
        yield _timings(_readers(results.reads), OPEN_READ, _MEANS)
    if results.locks:
        yield "## Locks"
        yield _LOCKS if charts else ""
        yield _timings(results.locks, lockers.FLOCK, _MEANS)
    if results.crowds:
        yield _CROWDS if charts else ""
        yield chart("crowd-longest-wait", "Bars: the longest wait for a lock that 8 processes want, by contender")
        yield from (_crowd(crowd) for crowd in results.crowds)
    if results.updates:
        yield "## Changing a document under its lock"
        yield "2 KiB are read, changed and written." if charts else ""
        yield _timings(results.updates, updaters.RAW, "99 of 100")
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
        yield _MEMORY if charts else ""
        yield _memory(results)
    if results.event_loop:
        yield "## An event loop with hundreds of tasks"
        yield _EVENT_LOOP if charts else ""
        yield _event_loop(results)
    if results.imports:
        yield "## Import"
        yield "Starting Python, importing, ending; the second column is what the import adds." if charts else ""
        yield _imports(results)
    if results.pairs or results.contended:
        yield "## Two by two"
        yield _PAIRS if charts else ""
        yield _pairs(results) if results.pairs else ""
        yield from (_crowd(crowd) for crowd in results.contended)
    verdicts = judged(results)
    if any(verdict.found for verdict in verdicts):
        yield "## What was wanted, and what was found"
        yield judgements(verdicts, short=results.short)
        notes = notes_on(verdicts)
        if charts and notes:
            yield "### What is not reached, or not in every run, and why"
            yield notes
    if charts:
        yield _AGAIN


_INTRODUCTION = """\
# Benchmarks

How close each operation is to the bare system calls, and how it compares with what people use instead. Contenders of
a table took turns in one run, in an order that was drawn anew each round, so that what slowed the machine down slowed
all of them; every write had other bytes; times are medians. A fast write that a power cut takes back, or that readers
see half of, is not a win: so the tables say which those are."""

_WRITES = """\
One document is replaced again and again. *Survives a power cut*: strace saw that the new bytes, and where a file was
renamed also its directory, were synchronised before the call returned. *Torn reads*: another process read documents of
1 MiB meanwhile; a read counts as torn if it gave a mixture of two documents, a part of one, or none. SQLite appends to
one log, which is flushed once and not twice; its database is no document that other programs read, and its log does not
work on a mounted share."""

_READS = """\
`open().read()` is Python's, as people write it; the bare calls beneath it (open, read, close) would be faster. A sample
is the mean of ten calls."""

_LOCKS = """\
One process takes the lock and gives it back; nobody else wants it. A bare `flock` keeps no record of its owner, and is
not seen by the clients of a Samba server; this package's lock is. A sample is the mean of ten times."""

_MEANS = "99 of 100 samples"

_CROWDS = """\
So many processes want one lock at the same time. Each keeps it for 0.5 ms and then thinks for 2 ms; in the second half
they neither keep it nor think. Whoever has to wait asks again after 50 ms (`filelock.FileLock`), 250 ms (portalocker)
or 10 to 100 ms (fasteners), as long as nothing else is asked of them; so each is there with 1 ms as well. *Fairness* is
Jain's index: 1 if all got the lock equally often."""

_SMB = """\
Debian's `smbd` on the same machine, behind a proxy that delays each round trip. The peers write a temporary file and
replace the document with it (`smbclient.replace`), which flushes nothing: their writes do not survive a power cut of
the server. Those of this package do. Round trips are in parentheses. In the chart, each delay has a scale of its
own."""

_CATALOGUE = """\
From the stored bytes to rows and back, in a store in memory, so that no disk is measured. *Converted row by row*
decodes to dicts and converts each (`msgspec.convert`, `msgspec.to_builtins`); *json* is Python's own, with dataclasses
as rows."""

_MEMORY = """\
The memory that this takes at most, in sizes of the document, as `tracemalloc` sees it: beyond what it returns, and in
all. What a read returns, the rows, is larger than the document."""

_EVENT_LOOP = """\
A thousand updates of 20 documents at once, and 300 tasks that wait for one lock, of which 150 are cancelled. A task
that wakes every millisecond tells for how long the loop kept it waiting at most; each load was run several times. *Idle
loop*: the same of a loop that does nothing but tick, in the same process, before and after each run: that much is the
machine's. *Threads* are those that were there more, at most in any run."""

_PAIRS = """\
In a table of many, a contender also pays for what those before it have left behind, such as pages that are not on the
disk yet, or caches full of other things. An order that is drawn anew spreads that, and does not take it away. So the
rule for every limit that compares two: it is judged by these two, as they took turns with nobody between them. That is
so for writes, reads, locks, updates, the catalogue and the eight processes that want one lock. The limits on memory,
imports and the event loop are about processes of their own, and those on SMB about a network that is waited for: they
are judged by their tables above."""

_AGAIN = """\
## Measure again

The page and its charts are written by `python tests/benchmarks/peers.py --page docs`. It takes about ten minutes, and
wants a machine that does nothing else. With `--strict`, the same command ends with exit code 1 if a limit is missed, or
could not be judged: it measures all that is in the table of what was wanted. `run.py` in the same folder takes half a
minute and judges, in the same way, those limits that need no peer, no server and no event loop. The peers are the
dependency group `peers` of `pyproject.toml` (`pip install --group peers`, with pip 25.1 or later); one that is not
installed is left out, and said so.

For a place of your own there is [`exlab-store bench`](reference/command.md)."""


def _machine(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    load = " before, ".join(f"{load:.1f}" for load in machine.load[:2]) + " in the last minute"
    text = (
        f"Measured on {machine.date}: {machine.processors} processors ({machine.processor}), {machine.kernel}, "
        f"{machine.file_system}, Python {machine.python}, {versions}. Load of the machine: {load}. "
        f"A table was measured for {results.seconds:g} s for each of its contenders, about; all of it took "
        f"{results.took / 60:.0f} minutes."
    )
    if results.short:
        text += " **This run was short: it shows that all of it works; its figures mean nothing, and none is judged.**"
    if results.missing:
        text += " " + "; ".join(results.missing) + "."
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sorted(timings: Mapping[str, Timing]) -> list[tuple[str, Timing]]:
    return sorted(timings.items(), key=lambda item: item[1].median)


def _bold(name: str) -> str:
    return f"**{name}**" if name.startswith(writers.OURS) else name


def _writes(results: Results) -> str:
    small = results.writes["2048"]
    rows: list[list[str]] = []
    order = {True: 0, None: 1, False: 2}
    for name, _ in sorted(small.items(), key=lambda item: (order[_survives(results, item[0])], item[1].median)):
        cells = [_bold(name), _yes(_survives(results, name)), _torn(results, name)]
        for size in results.writes:
            timings = results.writes[size]
            cells.append(f"{shown(timings[name].median)} ({timings[name].median / timings[writers.RAW].median:.2f})")
        rows.append(cells)
    sizes = [f"{_SIZES[size]} (x raw)" for size in results.writes]
    return _table(["Contender", "Survives a power cut", "Torn reads", *sizes], rows)


def _pairs(results: Results) -> str:
    rows = [
        [pair.title, shown(pair.ours.median), shown(pair.theirs.median), pair.reference, f"{pair.ratio:.2f}"]
        for pair in results.pairs
    ]
    return _table(["", f"**{writers.OURS}**", "The other", "Which is", "x the other"], rows)


def _event_loop(results: Results) -> str:
    rows = [
        [
            f"{looped.load}, {looped.place}, {looped.loop}",
            f"{len(looped.pauses)} x {shown(looped.seconds)}",
            shown(looped.median),
            shown(max(looped.pauses)),
            shown(max(looped.idle)),
            f"{looped.threads}",
            f"{looped.missing} of {looped.wanted:,}",
            f"{looped.left}",
        ]
        for looped in results.event_loop
    ]
    head = ["", "Runs", "Held up, median", "Worst run", "Idle loop, worst", "Threads", "Updates lost", "Locks left"]
    return _table(head, rows)


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


def _timings(timings: Mapping[str, Timing], reference: str, tail: str) -> str:
    base = timings[reference].median
    rows = [
        [_bold(name), shown(timing.median), shown(timing.p99), f"{timing.median / base:.2f}"]
        for name, timing in _sorted(timings)
    ]
    return _table(["Contender", "Median", tail, f"x {reference}"], rows)


def _readers(timings: Mapping[str, Timing]) -> dict[str, Timing]:
    """Without those who read as everybody does, and that under its name."""
    alike = {"open().write()", "temporary file, os.replace", "atomicwrites"}
    return {OPEN_READ if name == writers.RAW else name: timings[name] for name in timings if name not in alike}


def _crowd(crowd: Crowded) -> str:
    many = "process" if crowd.number == 1 else "processes"
    work = f"each keeps it {crowd.hold * 1e3:g} ms and thinks {crowd.think * 1e3:g} ms"
    title = f"{crowd.number} {many}, {work if crowd.think else 'which neither keep it nor think'}:"
    rows = [
        [
            _bold(name),
            f"{figures.per_second:,.0f}",
            shown(figures.median),
            shown(figures.p99),
            shown(figures.longest),
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
            cells.append("" if median is None else f"{shown(median)} ({row.round_trips.get(name, 0)})")
        peer = row.medians.get("fsspec")
        cells.append("" if peer is None else f"{peer / row.medians['exlab_store']:.1f}")
        rows.append(cells)
    return _table(["Operation, round trip", *names, "Times as fast as fsspec"], rows)


def _catalogue(results: Results) -> str:
    names = (catalogues.OURS, catalogues.BY_HAND, catalogues.JSON)
    rows = [
        [
            _counted(what),
            *(f"{shown(timings[name].median)}" for name in names),
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
        [_counted(what), *(f"{peaks[name].beyond:.2f} ({peaks[name].whole:.2f})" for name in names)]
        for what, peaks in results.memory.items()
    ]
    head = ["Beyond what it returns (in all)", "**exlab_store**", "msgspec, converted row by row", "json"]
    return _table(head, rows)


def _counted(what: str) -> str:
    action, count = what.split()
    return f"{action} {int(count):,} projects"


def _imports(results: Results) -> str:
    base = results.imports["nothing"]
    rows = [
        [_bold(name), f"{seconds * 1e3:.0f} ms", f"{(seconds - base) * 1e3:.0f} ms"]
        for name, seconds in sorted(results.imports.items(), key=lambda item: item[1])
    ]
    return _table(["", "In all", "More than nothing"], rows)


def judgements(verdicts: Sequence[Verdict], *, short: bool) -> str:
    """What was wanted and what was found, as a table; what was not measured is named below it.

    Args:
        verdicts: Of one run.
        short: Whether it was too short to judge.
    """
    found = [verdict for verdict in verdicts if verdict.found]
    head = ["", "Wanted", "Found", ""]
    text = _table(head, [[each.limit.what, each.limit.wanted, each.found, each.word] for each in found])
    kept = sum(bool(verdict.kept) for verdict in found)
    count = sum(verdict.kept is not None for verdict in found)
    lines = [f"{kept} of {count} limits kept."] if count else []
    if short:
        lines.append("The run was too short to judge.")
    absent = [verdict.limit.what for verdict in verdicts if not verdict.found]
    if absent:
        lines.append(f"Not measured in this run: {'; '.join(absent)}.")
    return f"{text}\n\n" + textwrap.fill(" ".join(lines), 120, break_long_words=False, break_on_hyphens=False)


def _charts(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    note = "Shorter is better. Green: this package. Blue: survives a power cut, never torn. Brown: one of them not."
    if any(_kind(results, name) == "unknown" for name in results.writes.get("2048", {})):
        note += " Grey: not examined."
    for size, name in (("2048", "write-2-kib"), ("1048576", "write-1-mib")):
        if size in results.writes:
            rows = [
                Bar(contender, timing.median, shown(timing.median), _kind(results, contender))
                for contender, timing in _sorted(results.writes[size])
            ]
            found[name] = bars(f"A write of {_SIZES[size]}, median", note, rows)
    for crowd in results.crowds:
        if crowd.number == 8 and crowd.think:
            rows = [
                Bar(name, figures.longest, shown(figures.longest), "ours" if name == lockers.OURS else "sound")
                for name, figures in sorted(crowd.figures.items(), key=lambda item: item[1].longest)
            ]
            title = "Longest wait for a lock that 8 processes want"
            found["crowd-longest-wait"] = bars(title, "Shorter is better. Green: this package. Blue: the others.", rows)
    rows = [
        Bar(
            f"{name}, {row.delay * 1e3:g} ms",
            median,
            shown(median),
            "ours" if name == "exlab_store" else "unsafe",
            group=f"{row.delay}",
        )
        for row in results.smb
        if "write" in row.title
        for name, median in row.medians.items()
    ]
    if rows:
        note = "Shorter is better; each round trip has its own scale. Green: this package. Brown: peers, not flushed."
        found["smb-write"] = bars("A write of 2 KiB over SMB, by round trip, median", note, rows)
    return found


def _kind(results: Results, name: str) -> str:
    if name == writers.OURS:
        return "ours"
    evidence = results.evidence.get(name)
    if evidence is None:
        return "unknown"
    if evidence.torn or evidence.survives is False:
        return "unsafe"
    return "sound" if evidence.survives else "unknown"
