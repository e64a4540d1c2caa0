"""What the layers cost over the bare system calls: ``python tests/benchmarks/run.py [--strict] [DIRECTORY]``.

Every ratio is of medians of interleaved samples of one run. With ``--strict`` a ratio over its limit is an error;
without, it is only shown, as a busy machine proves nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalogues
import lockers
from filelock import FileLock
from measuring import Limit, Result, compare

from exlab_store import Store, open_store
from exlab_store.benching.bare import BareFiles
from exlab_store.documents import OfflineCatalogue, read_catalogue, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

OURS = "exlab_store"
RAW_WRITE = "raw temp+write+fsync+rename+directory fsync"


def _payload(number: int, size: int = 2048) -> bytes:
    return number.to_bytes(8, "little") * (size // 8)


def durable_write(store: Store, directory: str, size: int, rounds: int) -> Result:
    bare = BareFiles(directory)
    payloads = [_payload(number, size) for number in range(16)]  # made before, as making them is not measured
    return compare(
        f"durable write of {size >> 10:,} KiB",
        {
            RAW_WRITE: lambda n: bare.write("raw", payloads[n % 16]),
            OURS: lambda n: store.atomic_write("ours", payloads[n % 16]),
        },
        Limit(OURS, RAW_WRITE, 1.05),
        rounds=rounds,
    )


def beside_atomicwrites(store: Store, directory: str) -> list[Result]:
    try:
        from atomicwrites import atomic_write
    except ImportError:
        print("atomicwrites is left out, as it is not installed", file=sys.stderr)
        return []

    def theirs(number: int) -> None:
        with atomic_write(f"{directory}/theirs", mode="wb", overwrite=True) as file:
            file.write(_payload(number))

    ways = {"atomicwrites": theirs, OURS: lambda n: store.atomic_write("ours", _payload(n))}
    return [compare("durable write of 2 KiB", ways, Limit(OURS, "atomicwrites", 1.0), rounds=500)]


def snapshot_read(store: Store, directory: str) -> Result:
    store.atomic_write("read", _payload(1))
    bare = BareFiles(directory)
    return compare(
        "read_snapshot of 2 KiB",
        {"open().read()": lambda _: bare.read("read"), OURS: lambda _: store.read_snapshot("read")},
        Limit(OURS, "open().read()", 1.5),
        rounds=1000,
        repeat=20,
    )


def read_from_memory() -> Result:
    with open_store("memory://") as store:
        store.atomic_write("read", _payload(1))
        ways = {"nothing": lambda _: None, OURS: lambda _: store.read_snapshot("read")}
        return compare("read_snapshot, memory://", ways, Limit(OURS, "nothing", 0.0, 6e-6), rounds=300, repeat=100)


def lock_and_release(store: Store, directory: str) -> list[Result]:
    bare, reference = BareFiles(directory), "open+flock+close"
    by_file_lock = FileLock(f"{directory}/filelock.lock")

    def theirs(_: int) -> None:
        with by_file_lock:
            pass

    def ours(_: int) -> None:
        store.lock("locked").release()

    return [
        compare(
            "lock and release",
            {reference: lambda _: bare.lock_and_release("raw.lock"), OURS: ours},
            Limit(OURS, reference, 4.0),
            rounds=2000,
            repeat=10,
        ),
        compare(
            "lock and release",
            {"filelock.FileLock": theirs, OURS: ours},
            Limit(OURS, "filelock.FileLock", 1 / 6),
            rounds=1000,
            repeat=10,
        ),
    ]


def contended(directory: str) -> list[Result]:
    """Eight processes with think time; a limit on what a turn takes is one on how many turns there are."""
    names = (lockers.OURS, lockers.FLOCK)
    found = lockers.crowds(directory, 8, hold=0.0005, think=0.002, seconds=4, rounds=4, only=names)
    limit = Limit(OURS, lockers.FLOCK, 1 / 0.9)
    longest = Limit(OURS, lockers.FLOCK, 3.0)
    turns = {lockers.OURS: 1 / found[names[0]].per_second, lockers.FLOCK: 1 / found[names[1]].per_second}
    waits = {name: crowd.longest for name, crowd in found.items()}
    return [
        Result("8 processes, each turn", turns, limit),
        Result("8 processes, longest wait", waits, longest),
    ]


def update(store: Store, directory: str) -> Result:
    bare, reference = BareFiles(directory), "raw lock + read + durable write"
    bare.write("raw-update", _payload(0))
    return compare(
        "update of 2 KiB",
        {
            reference: lambda n: bare.update("raw-update", _payload(n)),
            OURS: lambda n: store.update("update", lambda _: _payload(n)),
        },
        Limit(OURS, reference, 1.15),
        rounds=1000,
    )


def catalogue() -> list[Result]:
    with open_store("memory://") as store:
        path, document = store / "catalogue.json", catalogues.catalogue_of(10_000)
        write_catalogue(path, document)
        ways = {"read": catalogues.readers(path), "write": catalogues.writers(path, document)}
        return [
            compare(
                f"{action} a catalogue of 10,000 projects",
                {name: _unnumbered(ways[action][name]) for name in (catalogues.BY_HAND, OURS)},
                Limit(OURS, catalogues.BY_HAND, factor),
                rounds=40,
            )
            for action, factor in (("read", 1 / 3), ("write", 1 / 2))
        ]


def _unnumbered(call: Callable[[], object]) -> Callable[[int], object]:
    return lambda _: call()


def read_at(location: Any) -> OfflineCatalogue:
    return read_catalogue(location, expected_endpoint=catalogues.ENDPOINT)


def resolved_document(store: Store, directory: str) -> list[Result]:
    write_catalogue(store / "small.json", catalogues.catalogue_of(0))
    path, url = Path(directory, "small.json"), f"file://{directory}/small.json"
    given = store / "small.json"
    return [
        compare(
            f"read_catalogue, given a {kind}",
            {"a StorePath": lambda _: read_at(given), f"a {kind}": lambda _, other=other: read_at(other)},
            Limit(f"a {kind}", "a StorePath", 1.0, extra=60e-6),
            rounds=200,
            repeat=20,
        )
        for kind, other in (("Path", path), ("URL", url))
    ]


def starting() -> list[Result]:
    # As for a user: what is imported twice has been compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(*words: str) -> Callable[[int], object]:
        command = [sys.executable, *words]
        return lambda _: subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    nothing, ours, shown = "python -c pass", "python -c 'import exlab_store'", "exlab-store --help"
    return [
        compare(
            "import exlab_store",
            {nothing: run("-c", "pass"), ours: run("-c", "import exlab_store")},
            Limit(ours, nothing, 1.0, extra=50e-3),
            rounds=21,
        ),
        compare(
            "exlab-store --help",
            {nothing: run("-c", "pass"), shown: run("-m", "exlab_store.cli", "--help")},
            Limit(shown, nothing, 0.0, extra=300e-3),
            rounds=11,
        ),
    ]


def _shown(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def _limit(limit: Limit) -> str:
    return f"+{_shown(limit.extra)}" if limit.extra else f"{limit.factor:g} x"


def report(results: list[Result]) -> str:
    rows = ["| benchmark | reference | exlab_store | found | limit | |", "|---|---|---|---|---|---|"]
    for result in results:
        limit = result.limit
        found = f"+{_shown(result.difference)}" if limit.extra else f"{result.ratio:.2f} x"
        reference = f"{limit.reference}: {_shown(result.medians[limit.reference])}"
        ours = _shown(result.medians[limit.contender])
        verdict = "kept" if result.kept else "**over**"
        rows.append(f"| {result.title} | {reference} | {ours} | {found} | {_limit(limit)} | {verdict} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", help="where to measure; a temporary directory by default")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is exceeded")
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="exlab-store-bench-", dir=arguments.directory)
    began = time.monotonic()
    try:
        with open_store(directory) as store:
            results = [
                durable_write(store, directory, 2048, 1500),
                durable_write(store, directory, 1 << 20, 300),
                *beside_atomicwrites(store, directory),
                snapshot_read(store, directory),
                read_from_memory(),
                *lock_and_release(store, directory),
                *contended(directory),
                update(store, directory),
                *catalogue(),
                *resolved_document(store, directory),
                *starting(),
            ]
    finally:
        shutil.rmtree(directory)
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, ",
        end="",
    )
    print(f"load {os.getloadavg()[0]:.1f},")
    print(f"medians of interleaved samples, {time.monotonic() - began:.0f} s in all.\n")
    print(report(results))
    mean = statistics.geometric_mean(result.ratio for result in results)
    print(f"\n{sum(result.kept for result in results)} of {len(results)} limits kept; geometric mean {mean:.2f} x")
    return int(arguments.strict and not all(result.kept for result in results))


if __name__ == "__main__":
    sys.exit(main())
