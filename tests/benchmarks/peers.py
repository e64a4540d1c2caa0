"""This package beside what people use instead.

Usage: ``python tests/benchmarks/peers.py [--strict] [--page docs] [DIRECTORY]``.

All contenders of a table take turns in one run, in an order that is drawn anew each round; each write has other bytes,
and every ratio is of medians. For each contender of a write, two questions are answered first: does an acknowledged
write survive a power cut, and can readers see torn data?

This one command measures and judges everything that was wanted: what compares two by pairs (pairs.py), the rest by its
own section. With ``--strict`` a limit that is missed is an error, and so is one that was to be judged and could not be:
a server or a package is not installed, or the run was shorter than ``--seconds 0.5``, which shows only that all of it
works.

The peers are the group ``peers`` of pyproject.toml; one that is not installed is left out, and said so. With ``--page``
the page ``benchmarks.md`` and its charts are written into that folder. With ``--readme`` the main ratios
replace the table in that README. ``--seconds`` is how long each contender of a
table is measured, about; ``--only`` one section. ``--save`` and ``--load`` keep the figures as JSON.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import catalogues
import lockers
import msgspec
import updaters
from evidence import Evidence, gather
from judging import judged
from machine import machine_of
from page import report, write_page
from pairs import pairs
from readme import write_table
from results import SHORT, Crowded, Looped, Pair, Peak, Results, SmbRow
from writers import all_writers

from exlab_store import open_store
from exlab_store.benching.taking_turns import timed
from exlab_store.documents import write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.benching.figures import Timing

SIZES = (2048, 65536, 1048576)
CROWDS = (1, 4, 8)
HOLD, THINK = 0.0005, 0.002
COUNTS = (100, 10_000, 100_000)
DELAYS = (0.0, 0.001, 0.010, 0.050)
_RUNS = 5


class Session:
    """One run of all sections, at one place."""

    def __init__(self, directory: str, seconds: float, *, peers: bool) -> None:
        self._directory = directory
        self._seconds = seconds
        self._peers = peers
        self.missing: list[str] = []

    def evidence(self) -> dict[str, Evidence]:
        return gather(f"{self._directory}/evidence", self._seconds)

    def writes(self) -> dict[str, dict[str, Timing]]:
        writers, missing = all_writers(f"{self._directory}/writes")
        self.missing += missing
        return {
            str(size): timed({each.name: each.write for each in writers}, size, self._seconds * len(writers))
            for size in SIZES
        }

    def pairs(self) -> list[Pair]:
        found, missing = pairs(f"{self._directory}/pairs", self._seconds)
        self.missing += missing
        return found

    def reads(self) -> dict[str, Timing]:
        writers, _ = all_writers(f"{self._directory}/reads")
        for each in writers:
            each.write(os.urandom(SIZES[0]))
        with open_store("memory://") as store:
            store.atomic_write("document.json", os.urandom(SIZES[0]))
            calls = {each.name: _without(each.read) for each in writers}
            calls["exlab_store, memory://"] = lambda _: store.read_snapshot("document.json")
            return timed(calls, 8, self._seconds * len(calls), repeat=10)

    def locks(self) -> dict[str, Timing]:
        found, missing = lockers.lockers(self._fresh("locks"))
        self.missing += missing
        calls = {name: _without(each.once) for name, each in found.items()}
        return timed(calls, 8, self._seconds * len(calls), repeat=10)

    def crowds(self) -> list[Crowded]:
        directory = self._fresh("crowds")
        found: list[Crowded] = []
        for hold, think in ((HOLD, THINK), (0.0, 0.0)):
            for number in CROWDS:
                figures = lockers.crowds(
                    directory, number, hold=hold, think=think, seconds=self._seconds, rounds=1 if self._brief else 3
                )
                found.append(Crowded(number, hold, think, figures))
        return found

    def contended(self) -> list[Crowded]:
        pair, rounds = (lockers.OURS, lockers.FLOCK), 1 if self._brief else 4
        figures = lockers.crowds(
            self._fresh("contended"),
            CROWDS[-1],
            hold=HOLD,
            think=THINK,
            seconds=4 * self._seconds,
            rounds=rounds,
            only=pair,
        )
        return [Crowded(CROWDS[-1], HOLD, THINK, figures)]

    def updates(self) -> dict[str, Timing]:
        found, missing = updaters.updaters(self._fresh("updates"))
        self.missing += missing
        return timed(found, 2048, self._seconds * len(found))

    def smb(self) -> list[SmbRow]:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from samba_server import SambaServer, find_smbd

        try:
            import smb
        except ImportError as error:
            self.missing.append(f"SMB: left out, as {error.name} is not installed")
            return []
        if find_smbd() is None:
            self.missing.append("SMB: left out, as smbd is not installed")
            return []
        found: list[SmbRow] = []
        with tempfile.TemporaryDirectory(prefix="exlab-store-bench-") as directory, ExitStack() as stack:
            Path(directory).chmod(0o755)
            bench = smb.Bench(stack.enter_context(SambaServer(Path(directory, "server"))), stack, quick=self._brief)
            for delay in DELAYS:
                # As many rounds as fit: a round of the slowest is about fifty round trips.
                rounds = max(3, min(300, int(self._seconds * 10 / (0.02 + 30 * delay))))
                found += [
                    SmbRow(delay, row.result.title, dict(row.result.medians), row.round_trips)
                    for row in bench.run(delay, rounds)
                    if len(row.result.medians) > 1 and smb.PEER in row.result.medians
                ]
        return found

    def catalogue(self) -> dict[str, dict[str, Timing]]:
        found: dict[str, dict[str, Timing]] = {}
        for count in COUNTS[: 2 if self._brief else None]:
            with open_store("memory://") as store:
                path, catalogue = store / "catalogue.json", catalogues.catalogue_of(count)
                write_catalogue(path, catalogue)
                for action, ways in (
                    ("read", catalogues.readers(path)),
                    ("write", catalogues.writers(path, catalogue)),
                ):
                    found[f"{action} {count}"] = timed(ways, 8, self._seconds * len(ways))
        return found

    def memory(self) -> dict[str, dict[str, Peak]]:
        names = (catalogues.OURS, catalogues.BY_HAND, catalogues.JSON)
        count = COUNTS[0 if self._brief else 1]
        return {
            f"{action} {count}": {name: catalogues.memory_peak(action, name, count) for name in names}
            for action in ("read", "write")
        }

    def imports(self) -> dict[str, float]:
        """Seconds to start, import and end; as for a user: what is imported twice has been compiled once."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        commands = {
            "nothing": ["-c", "pass"],
            "exlab_store": ["-c", "import exlab_store"],
            "exlab_store.documents": ["-c", "import exlab_store.documents"],
            "exlab-store --help": ["-m", "exlab_store.cli", "--help"],
        }
        packages = ["filelock", "fsspec", "smbclient", "obstore", "opendal", "upath", "zarr", "diskcache"]
        for package in packages if self._peers else []:
            if subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode == 0:
                commands[package] = ["-c", f"import {package}"]
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(3 if self._brief else 15):
            for name, arguments in random.sample(list(commands.items()), len(commands)):
                began = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
                if turn:
                    samples[name].append(time.perf_counter() - began)
        return {name: statistics.median(values) for name, values in samples.items()}

    def event_loop(self) -> list[Looped]:
        """In a process of its own: nothing of the peers' runs there."""
        program = str(Path(__file__).with_name("event_loop.py"))
        runs = 1 if self._brief else _RUNS
        command = [sys.executable, program, "--json", "--runs", str(runs), self._fresh("event-loop")]
        found = msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=_Looped)
        self.missing += found.missing
        return found.event_loop

    @property
    def _brief(self) -> bool:
        return self._seconds < SHORT

    def _fresh(self, name: str) -> str:
        path = f"{self._directory}/{name}"
        os.makedirs(path)
        return path


class _Looped(msgspec.Struct):
    """What event_loop.py prints."""

    event_loop: list[Looped]
    missing: list[str]


def _without(call: Callable[[], object]) -> Callable[[bytes], object]:
    return lambda _: call()


SECTIONS = (
    "evidence writes pairs reads locks crowds contended updates smb catalogue memory imports event_loop"
).split()


def measured(directory: str, seconds: float, only: list[str], *, peers: bool = True) -> Results:
    """All sections, or those that are wanted.

    Args:
        directory: Where; an absolute path.
        seconds: How long each contender of a table is measured, about.
        only: The sections, or none for all.
        peers: Whether the peers' imports, too, are measured.
    """
    results = Results(machine=machine_of(directory), seconds=seconds)
    session = Session(directory, seconds, peers=peers)
    results.machine.load.append(os.getloadavg()[0])
    began = time.monotonic()
    for name in SECTIONS:
        if only and name not in only:
            continue
        print(f"{time.monotonic() - began:4.0f} s  {name}", file=sys.stderr, flush=True)
        setattr(results, name, getattr(session, name)())
    results.took = time.monotonic() - began
    results.machine.load.append(os.getloadavg()[0])
    results.missing = list(dict.fromkeys(session.missing))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directory", nargs="?", type=os.path.abspath, help="where to measure; a temporary directory by default"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed, or could not be judged")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each contender of a table (default: 2)")
    parser.add_argument("--only", action="append", choices=SECTIONS, default=[], help="one section; may be repeated")
    parser.add_argument("--page", type=Path, help="write benchmarks.md and its charts into this folder")
    parser.add_argument("--readme", type=Path, help="replace the table of this README's section on speed")
    parser.add_argument("--save", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--load", type=Path, help="take the figures from this file instead of measuring")
    arguments = parser.parse_args()
    if arguments.load:
        results = msgspec.json.decode(arguments.load.read_bytes(), type=Results)
    else:
        with tempfile.TemporaryDirectory(prefix="exlab-store-bench-", dir=arguments.directory) as directory:
            results = measured(directory, arguments.seconds, arguments.only)
    if arguments.save:
        arguments.save.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    print(report(results))
    if arguments.page:
        write_page(results, arguments.page)
    if arguments.readme:
        write_table(results, arguments.readme)
    wanted = arguments.only or SECTIONS
    not_kept = [verdict for verdict in judged(results) if verdict.limit.section in wanted and not verdict.kept]
    if arguments.strict:
        for verdict in not_kept:
            print(f"{verdict.limit.what}: {verdict.word.strip('*')}", file=sys.stderr)
    return int(arguments.strict and bool(not_kept))


if __name__ == "__main__":
    sys.exit(main())
