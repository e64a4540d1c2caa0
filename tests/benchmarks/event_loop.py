"""What an event loop feels of hundreds of tasks: ``python tests/benchmarks/event_loop.py [--strict] [DIRECTORY]``.

A thousand updates at once over 20 documents, and 300 tasks that wait for one lock, of which 150 are cancelled; on a
directory, in memory and, where smbd is installed, on an SMB server; on asyncio and, where it is installed, on trio. A
task that wakes every millisecond tells how long the loop kept it waiting.

A loop also waits when the machine is busy. So each load is run several times, and before and after each run a loop that
only ticks is watched: the limit is about the median of the runs, and the worst is shown beside what the idle loop felt.
Threads are the most of any run. With ``--strict`` a limit that is missed, or that nothing was measured for, is an
error. ``--json`` prints the figures for ``peers.py``, which judges them by the same limits.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from async_load import many_updates, many_waiters, watched
from judging import PLACES, judged
from machine import machine_of
from results import Looped, Results
from samba_server import SambaServer, find_smbd

from exlab_store import LockTimeout, Store, open_store
from exlab_store.benching.figures import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence

    from async_load import Figures

    Counted = tuple[Figures, int, int]
    """The figures, how many updates were wanted, and how many of them are missing."""

__all__ = ["Measured", "measured"]

_IDLE = 1.0


class Measured(msgspec.Struct):
    """What was measured, and a line for each thing that was left out."""

    event_loop: list[Looped]
    missing: list[str]


async def _updates(store: Store) -> Counted:
    before = _sum(store)
    figures = await many_updates(store)
    return figures, 1000, abs(1000 - (_sum(store) - before))


async def _waiters(store: Store) -> Counted:
    store.atomic_write("a", b"0")
    figures = await many_waiters(store, "a", store.lock("a").release)
    return figures, 150, abs(150 - int(store.read_snapshot("a").data))


def _sum(store: Store) -> int:
    return sum(int(snapshot.data) for _, snapshot in store.read_many(_documents()) if snapshot is not None)


def _documents() -> list[str]:
    return [f"load/{number}" for number in range(20)]


def _left(store: Store) -> int:
    """How many locks cannot be taken."""
    left = 0
    for key in ("a", *_documents()):
        try:
            store.lock(key, timeout=0).release()
        except LockTimeout:
            left += 1
    return left


async def _idle(seconds: float) -> float:
    async with watched() as figures:
        await anyio.sleep(seconds)
    return figures.longest_pause


_LOADS: dict[str, Callable[[Store], Awaitable[Counted]]] = {"1,000 updates": _updates, "300 waiters": _waiters}


def measured(directory: str | None, runs: int, only: Sequence[str] = ()) -> Measured:
    """Puts each load on each loop and each store, several times.

    Args:
        directory: On the file system to be measured; a temporary directory by default.
        runs: How often.
        only: The places to measure, or none for all.
    """
    loops = ["asyncio"]
    missing: list[str] = []
    if importlib.util.find_spec("trio") is None:
        missing.append("trio: left out, as trio is not installed")
    else:
        loops.append("trio")
    if find_smbd() is None:
        missing.append("the event loop on SMB: left out, as smbd is not installed")
    found: list[Looped] = []
    for place, store in _stores(directory, only or PLACES):
        for loop in loops:
            anyio.run(store.aio.list_keys, backend=loop)  # imports
            found += [_looped(place, store, loop, load, runs) for load in _LOADS]
    return Measured(found, missing)


def _looped(place: str, store: Store, loop: str, load: str, runs: int) -> Looped:
    counted: list[Counted] = []
    idle = [anyio.run(_idle, _IDLE / 4, backend=loop)]
    left = 0
    for _ in range(runs):
        counted.append(anyio.run(_LOADS[load], store, backend=loop))
        left += _left(store)
        # For as long as the run, within reason: the longest hold-up of a longer time is longer.
        idle.append(anyio.run(_idle, min(_IDLE, counted[-1][0].seconds), backend=loop))
    figures = [each for each, _, _ in counted]
    looped = Looped(
        place,
        loop,
        load,
        pauses=[each.longest_pause for each in figures],
        idle=idle,
        threads=max(each.threads for each in figures),
        seconds=statistics.median(each.seconds for each in figures),
        wanted=sum(wanted for _, wanted, _ in counted),
        missing=sum(missing for _, _, missing in counted),
        left=left,
    )
    print(_line(looped), file=sys.stderr, flush=True)
    return looped


def _line(looped: Looped) -> str:
    return (
        f"{looped.place:10} {looped.loop:8} {looped.load:14} {shown(looped.seconds):>8}; held up for "
        f"{shown(looped.median)}, at worst {shown(max(looped.pauses))}, an idle loop {shown(max(looped.idle))}; "
        f"{looped.threads} threads more"
    )


def _stores(directory: str | None, wanted: Sequence[str]) -> Iterator[tuple[str, Store]]:
    """One after the other, so that the threads of each are counted by themselves."""
    if "directory" in wanted:
        with (
            tempfile.TemporaryDirectory(prefix="exlab-store-bench-", dir=directory) as place,
            open_store(place) as store,
        ):
            yield "directory", store
    if "memory" in wanted:
        with open_store("memory://") as store:
            yield "memory", store
    if "SMB" in wanted and find_smbd() is not None:
        with _served() as server, open_store(server.url(), password=server.password) as store:
            yield "SMB", store


@contextmanager
def _served() -> Generator[SambaServer]:
    with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as place:
        Path(place).chmod(0o755)
        with SambaServer(Path(place, "server")) as server:
            yield server


def main() -> int:
    """Measures and prints; 1 if a limit that was asked for is missed or could not be judged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=os.path.abspath, help="on the file system to be measured")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed, or could not be judged")
    parser.add_argument("--runs", type=int, default=5, help="how often; fewer than 3 are not judged (default: 5)")
    parser.add_argument("--place", action="append", choices=PLACES, default=[], help="one place; may be repeated")
    parser.add_argument("--json", action="store_true", help="print the figures only, as JSON")
    arguments = parser.parse_args()
    found = measured(arguments.directory, max(1, arguments.runs), arguments.place)
    if arguments.json:
        print(msgspec.json.encode(found).decode())
        return 0
    for line in found.missing:
        print(line)
    results = Results(machine=machine_of(arguments.directory or "."), seconds=1.0, event_loop=found.event_loop)
    verdicts = [verdict for verdict in judged(results) if verdict.limit.section == "event_loop"]
    if arguments.place:
        verdicts = [verdict for verdict in verdicts if verdict.found]
    for verdict in verdicts:
        print(f"{verdict.limit.what}: {verdict.limit.wanted}: {verdict.found or '-'}: {verdict.word}")
    return int(arguments.strict and not all(verdict.kept for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
