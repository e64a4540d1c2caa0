"""What was wanted of each operation, and whether a run's figures keep to it: the same for every program here.

One rule: a limit that compares two is judged by these two, as they took turns with nobody between them. The others are
about what runs in processes of its own (imports, peak memory, the event loop) or waits for a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import catalogues
import lockers
import updaters
import writers
from pairs import OPEN_READ, ROWS

from exlab_store.benching.figures import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from results import Crowded, Looped, Pair, Results

    Found = tuple[str, bool]

__all__ = ["LIMITS", "PAUSE", "PLACES", "SMB_WANTED", "THREADS", "Limit", "Verdict", "judged"]

PAUSE, THREADS = 0.020, 16
PLACES = ("directory", "memory", "SMB")
"""Where an event loop's load has its store."""
SMB_WANTED = {("write", 0.0): 1.0, ("read", 0.0): 1.0, ("write", 0.010): 5.0, ("read", 0.010): 2.5}
"""Times as fast as fsspec, by what is done and the seconds of a round trip."""

_FEWEST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that was wanted.

    Attributes:
        what: Of which operation; no two are the same.
        wanted: In words.
        section: The part of a run that measures it.
        find: What a run has found, in words, and whether that is enough; None if it has not been measured.
    """

    what: str
    wanted: str
    section: str
    find: Callable[[Results], Found | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a limit.

    Attributes:
        limit: Which.
        found: In words; empty if it has not been measured.
        kept: Whether it was kept; None if that cannot be told.
    """

    limit: Limit
    found: str
    kept: bool | None

    @property
    def word(self) -> str:
        """The verdict as it is shown."""
        if self.kept is not None:
            return "kept" if self.kept else "**missed**"
        return "too short to judge" if self.found else "not measured"


def judged(results: Results) -> list[Verdict]:
    """All limits, in order."""
    return [_judged(limit, results) for limit in LIMITS]


def _judged(limit: Limit, results: Results) -> Verdict:
    found = limit.find(results)
    if found is None:
        return Verdict(limit, "", None)
    words, kept = found
    runs = min((len(looped.pauses) for looped in results.event_loop), default=0)
    short = runs < _FEWEST_RUNS if limit.section == "event_loop" else results.short
    return Verdict(limit, words, None if short else kept)


def _pair_of(results: Results, title: str, reference: str) -> Pair | None:
    return next((pair for pair in results.pairs if (pair.title, pair.reference) == (title, reference)), None)


def _paired(title: str, reference: str, factor: float, *, of: str = "", what: str = "") -> Limit:
    def find(results: Results) -> Found | None:
        pair = _pair_of(results, title, reference)
        return None if pair is None else (f"{pair.ratio:.2f}", pair.ratio <= factor)

    return Limit(what or title, f"at most {factor:g} x {of or reference}", "pairs", find)


def _faster(title: str, reference: str, factor: float, *, of: str = "") -> Limit:
    def find(results: Results) -> Found | None:
        pair = _pair_of(results, title, reference)
        return None if pair is None else (f"{1 / pair.ratio:.2f}", 1 / pair.ratio >= factor)

    return Limit(f"{title}, times as fast", f"at least {factor:g} x {of or reference}", "pairs", find)


def _more(title: str, seconds: float) -> Limit:
    def find(results: Results) -> Found | None:
        pair = _pair_of(results, title, "a StorePath")
        if pair is None:
            return None
        more = pair.ours.median - pair.theirs.median
        return shown(more), more <= seconds

    return Limit(title, f"at most {shown(seconds)} more than a StorePath", "pairs", find)


def _from_memory(results: Results) -> Found | None:
    pair = next((pair for pair in results.pairs if pair.title == "read, memory://"), None)
    return None if pair is None else (shown(pair.ours.median), pair.ours.median < 6e-6)


def _throughput(crowd: Crowded) -> Found:
    ratio = crowd.figures[lockers.OURS].per_second / crowd.figures[lockers.FLOCK].per_second
    return f"{ratio:.2f}", ratio >= 0.9


def _longest(crowd: Crowded) -> Found:
    ours, theirs = (crowd.figures[name].longest for name in (lockers.OURS, lockers.FLOCK))
    return f"{ours / theirs:.2f} ({shown(ours)}, {shown(theirs)})", ours <= 3 * theirs


def _contended(find: Callable[[Crowded], Found]) -> Callable[[Results], Found | None]:
    return lambda results: find(results.contended[0]) if results.contended else None


def _smb(action: str, delay: float, results: Results) -> Found | None:
    for row in results.smb:
        if (row.delay, action in row.title) == (delay, True):
            ratio = row.medians["fsspec"] / row.medians["exlab_store"]
            return f"{ratio:.2f}", ratio >= SMB_WANTED[action, delay]
    return None


def _memory(action: str, results: Results) -> Found | None:
    peaks = results.memory.get(f"{action} {ROWS}")
    if peaks is None:
        return None
    peak = peaks[catalogues.OURS]
    with_it = "with the rows" if action == "read" else "in all"
    return f"{peak.beyond:.2f}; {with_it} {peak.whole:.2f}", peak.beyond < 2


def _import(results: Results) -> Found | None:
    if not results.imports:
        return None
    more = results.imports["exlab_store"] - results.imports["nothing"]
    return shown(more), more <= 0.05


def _help(results: Results) -> Found | None:
    if not results.imports:
        return None
    return shown(results.imports["exlab-store --help"]), results.imports["exlab-store --help"] < 0.3


def _held_up(place: str, loop: str, results: Results) -> Found | None:
    found = [looped for looped in results.event_loop if (looped.place, looped.loop) == (place, loop)]
    if not found:
        return None
    worst = max(found, key=lambda looped: looped.median)
    words = (
        f"{shown(worst.median)} ({worst.load}); worst of all runs "
        f"{shown(max(max(looped.pauses) for looped in found))}, "
        f"an idle loop {shown(max(max(looped.idle) for looped in found))}"
    )
    return words, worst.median <= PAUSE


def _looped(find: Callable[[list[Looped]], Found]) -> Callable[[Results], Found | None]:
    return lambda results: find(results.event_loop) if results.event_loop else None


def _threads(found: list[Looped]) -> Found:
    threads = max(looped.threads for looped in found)
    return f"{threads}", threads <= THREADS


def _lost(found: list[Looped]) -> Found:
    wanted, missing = (sum(getattr(looped, name) for looped in found) for name in ("wanted", "missing"))
    return f"{wanted - missing:,} of {wanted:,}", not missing


def _left(found: list[Looped]) -> Found:
    left = sum(looped.left for looped in found)
    return f"{left}", not left


def _all() -> Iterator[Limit]:
    for size in ("2 KiB", "1 MiB"):
        yield _paired(f"durable write, {size}", writers.RAW, 1.05)
    yield _paired("durable write, 2 KiB", "atomicwrites", 1.0, what="durable write, 2 KiB, beside a peer")
    yield _paired("read, 2 KiB", OPEN_READ, 1.5)
    yield Limit("read, memory://", "under 6 us", "pairs", _from_memory)
    yield _paired("lock and release", lockers.FLOCK, 4.0)
    yield _faster("lock and release", lockers.FILELOCK, 6.0)
    yield Limit("8 processes, throughput", "at least 0.9 x blocking flock", "contended", _contended(_throughput))
    yield Limit("8 processes, longest wait", "at most 3 x blocking flock", "contended", _contended(_longest))
    yield _paired("update, 2 KiB", updaters.RAW, 1.15)
    for (action, delay), factor in SMB_WANTED.items():
        what = f"SMB, {action}, {delay * 1e3:g} ms, times as fast"
        yield Limit(what, f"at least {factor:g} x fsspec", "smb", partial(_smb, action, delay))
    for action, factor in (("read", 3.0), ("write", 2.0)):
        yield _faster(f"catalogue of {ROWS:,}, {action}", catalogues.BY_HAND, factor, of="row by row")
    for action, beyond in (("read", " beyond the rows"), ("write", "")):
        what = f"catalogue of {ROWS:,}, {action}, peak memory{beyond}"
        yield Limit(what, "below 2 x the document", "memory", partial(_memory, action))
    for place in PLACES:
        for loop in ("asyncio", "trio"):
            what, wanted = f"event loop held up, {place}, {loop}", f"at most {shown(PAUSE)}, median of the runs"
            yield Limit(what, wanted, "event_loop", partial(_held_up, place, loop))
    yield Limit("event loop, threads more", f"at most {THREADS}, in any run", "event_loop", _looped(_threads))
    yield Limit("event loop, updates made", "all, and none that was cancelled", "event_loop", _looped(_lost))
    yield Limit("event loop, locks left behind", "none", "event_loop", _looped(_left))
    yield Limit("import exlab_store", "at most 50 ms more than nothing", "imports", _import)
    yield Limit("exlab-store --help", "under 300 ms", "imports", _help)
    for kind in ("Path", "URL"):
        yield _more(f"read_catalogue, given a {kind}", 60e-6)


LIMITS = tuple(_all())
