"""Two that take turns with nobody between them: how each limit that compares two is measured.

In a table of many, a contender also pays for what those before it have left behind: pages that are not on the disk yet,
caches full of other things. To draw the order of each round anew spreads that, and does not take it away.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import catalogues
import lockers
import updaters
from results import Pair
from writers import OURS, RAW, writer

from exlab_store import open_store
from exlab_store.benching.taking_turns import timed
from exlab_store.documents import read_catalogue, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exlab_store import StorePath

__all__ = ["OPEN_READ", "ROWS", "pairs"]

OPEN_READ = "open().read()"
ROWS = 10_000
_SIZES = {"2 KiB": 2048, "64 KiB": 65536, "1 MiB": 1048576}
_NOTHING = "a call of nothing"


def pairs(directory: str, seconds: float) -> tuple[list[Pair], list[str]]:
    """All pairs whose other one is installed, and a line for each that is not.

    Args:
        directory: Where the files are; new, or empty.
        seconds: How long each of the two is measured, about.
    """
    found: list[Pair] = []
    missing: list[str] = []
    with ExitStack() as stack:
        for measured in (
            _writes(directory, seconds),
            _reads(directory, seconds, stack),
            _locks(directory, seconds),
            _updates(directory, seconds),
            _catalogues(seconds, stack),
            _locations(directory, seconds, stack),
        ):
            for pair in measured:
                if isinstance(pair, str):
                    missing.append(pair)
                else:
                    found.append(pair)
    return found, missing


def _pair(
    title: str, calls: Mapping[str, Callable[[bytes], object]], size: int, seconds: float, repeat: int = 1
) -> Pair:
    """This package is the first of the two."""
    ours, reference = calls
    timings = timed(calls, size, 2 * seconds, repeat=repeat)
    return Pair(title, reference, timings[ours], timings[reference])


def _writes(directory: str, seconds: float) -> Iterator[Pair | str]:
    place = f"{directory}/writes"
    ours, raw = writer(OURS, place), writer(RAW, place)
    for shown, size in _SIZES.items():
        yield _pair(f"durable write, {shown}", {OURS: ours.write, RAW: raw.write}, size, seconds)
    try:
        theirs = writer("atomicwrites", place)
    except ImportError:
        yield "atomicwrites: left out, as atomicwrites is not installed"
    else:
        calls = {OURS: ours.write, theirs.name: theirs.write}
        yield _pair("durable write, 2 KiB", calls, _SIZES["2 KiB"], seconds)


def _reads(directory: str, seconds: float, stack: ExitStack) -> Iterator[Pair]:
    place, document = f"{directory}/reads", os.urandom(2048)
    raw = writer(RAW, place)
    raw.write(document)
    store = stack.enter_context(open_store(place))
    store.atomic_write("document.json", document)
    calls: dict[str, Callable[[bytes], object]]
    calls = {OURS: lambda _: store.read_snapshot("document.json"), OPEN_READ: lambda _: raw.read()}
    yield _pair("read, 2 KiB", calls, 8, seconds, repeat=10)
    memory = stack.enter_context(open_store("memory://"))
    memory.atomic_write("document.json", document)
    calls = {OURS: lambda _: memory.read_snapshot("document.json"), _NOTHING: lambda _: b""}
    yield _pair("read, memory://", calls, 8, seconds, repeat=10)


def _locks(directory: str, seconds: float) -> Iterator[Pair]:
    place = f"{directory}/locks"
    os.makedirs(place)
    found = {name: lockers.locker(name, place).once for name in (lockers.OURS, lockers.FLOCK, lockers.FILELOCK)}
    for reference in (lockers.FLOCK, lockers.FILELOCK):
        calls = {name: _given(found[name]) for name in (lockers.OURS, reference)}
        yield _pair("lock and release", calls, 8, seconds, repeat=10)


def _updates(directory: str, seconds: float) -> Iterator[Pair]:
    place = f"{directory}/updates"
    os.makedirs(place)
    found, _ = updaters.updaters(place)
    yield _pair("update, 2 KiB", {name: found[name] for name in (updaters.OURS, updaters.RAW)}, 2048, seconds)


def _catalogues(seconds: float, stack: ExitStack) -> Iterator[Pair]:
    path, document = stack.enter_context(open_store("memory://")) / "catalogue.json", catalogues.catalogue_of(ROWS)
    write_catalogue(path, document)
    for action, ways in (("read", catalogues.readers(path)), ("write", catalogues.writers(path, document))):
        calls = {name: ways[name] for name in (catalogues.OURS, catalogues.BY_HAND)}
        yield _pair(f"catalogue of {ROWS:,}, {action}", calls, 8, seconds)


def _locations(directory: str, seconds: float, stack: ExitStack) -> Iterator[Pair]:
    """What it costs to find the store of a place, each time."""
    place = Path(directory, "locations")
    place.mkdir()
    given = stack.enter_context(open_store(place)) / "small.json"
    write_catalogue(given, catalogues.catalogue_of(0))

    def read(location: StorePath | str | Path) -> Callable[[bytes], object]:
        return lambda _: read_catalogue(location, expected_endpoint=catalogues.ENDPOINT)

    for kind, location in (("Path", place / "small.json"), ("URL", f"file://{place}/small.json")):
        calls = {f"a {kind}": read(location), "a StorePath": read(given)}
        yield _pair(f"read_catalogue, given a {kind}", calls, 8, seconds, repeat=10)


def _given(call: Callable[[], object]) -> Callable[[bytes], object]:
    return lambda _: call()
