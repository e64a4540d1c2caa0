"""What looking costs beside the bare system calls: ``python tests/benchmarks/looks.py [--strict] [--quick]``.

It lists a local folder of 20,000 documents beside ``os.scandir`` that finds out the same, names, kinds and order, and
beside the names alone. It finds one document in each of 300 runs, one of which has 20,000 pictures, beside a walk of
the folders alone in which something can fit. Every ratio is of medians of interleaved samples of one run. With
``--strict`` a ratio over its limit is an error; without, it is only shown, as a busy machine proves nothing.
``--quick`` takes few documents and samples.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import Limit, Result, compare

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

BARE, STORE = "bare", "exlab_store"
RUNS, CREATION = 300, ".exlab-wizard/creation.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument("--quick", action="store_true", help="few documents and samples")
    arguments = parser.parse_args()
    shown: list[Result] = []
    print("| | bare | exlab_store | ratio | at most |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="exlab-store-bench-") as directory:
        for result in _measured(Path(directory), quick=arguments.quick):
            bare, store = (f"{result.medians[name] * 1000:.2f} ms" for name in (BARE, STORE))
            print(f"| {result.title} | {bare} | {store} | {result.ratio:.2f} | {result.limit.factor} |", flush=True)
            shown.append(result)
    return int(arguments.strict and not all(result.kept for result in shown))


def _measured(directory: Path, *, quick: bool) -> Iterator[Result]:
    count, rounds = (500, 2) if quick else (20_000, 25)
    yield from _lists(directory / "lists", count, rounds)
    yield from _searches(directory / "searches", 20 if quick else RUNS, count, rounds)


def _lists(root: Path, count: int, rounds: int) -> Iterator[Result]:
    (root / "runs").mkdir(parents=True)
    for number in range(count):
        (root / "runs" / f"run-{number:06d}.json").touch()

    def scanned(_: int) -> list[str]:
        with os.scandir(root / "runs") as entries:
            return [entry.name for entry in entries]

    def sorted_files(_: int) -> list[tuple[str, bool]]:
        with os.scandir(root / "runs") as entries:
            return sorted((entry.name, entry.is_file()) for entry in entries)

    with open_store(root) as store:
        whole = {STORE: lambda _: list(store.list_folder("runs"))}
        title = f"list_folder of {count:,}"
        yield compare(
            f"{title}, beside scandir with kinds and in order",
            {BARE: sorted_files, **whole},
            Limit(STORE, BARE, 1.5),
            rounds=rounds,
        )
        yield compare(f"{title}, beside the names", {BARE: scanned, **whole}, Limit(STORE, BARE, 4), rounds=rounds)
        yield compare(
            f"the first of {count:,}, beside the names of all",
            {BARE: scanned, STORE: lambda _: next(store.list_folder("runs"))},
            Limit(STORE, BARE, 2),
            rounds=rounds,
        )


def _searches(root: Path, runs: int, pictures: int, rounds: int) -> Iterator[Result]:
    for run in range(runs):
        creation = root / f"run {run:03}" / CREATION
        creation.parent.mkdir(parents=True)
        creation.write_bytes(b"{}")
        (root / f"run {run:03}" / "notes").mkdir()
    for number in range(pictures):
        (root / "run 007" / f"picture {number:05}.tif").touch()

    def of_each_run(_: int) -> list[str]:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(f"{name}/{CREATION}" for name in names if os.path.isfile(root / name / CREATION))

    def at_any_depth(_: int) -> list[str]:
        found: list[str] = []
        waiting = [str(root)]
        while waiting:
            folder = waiting.pop()
            inner: list[str] = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(entry.path)
                    elif entry.name == "creation.json" and folder.endswith("/.exlab-wizard"):
                        found.append(entry.path)
            waiting += inner
        return sorted(found)

    with open_store(root) as store:
        for pattern, bare in ((f"*/{CREATION}", of_each_run), (f"**/{CREATION}", at_any_depth)):
            assert len(store.list_keys(pattern=pattern)) == len(bare(0)) == runs
            yield compare(
                f"{pattern} over {runs} runs, {pictures:,} pictures in one",
                {BARE: bare, STORE: lambda _, pattern=pattern: store.list_keys(pattern=pattern)},  # type: ignore[misc]
                Limit(STORE, BARE, 2),
                rounds=rounds,
            )


if __name__ == "__main__":
    sys.exit(main())
