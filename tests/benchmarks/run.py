"""What the layers cost over the bare system calls: ``python tests/benchmarks/run.py [--strict] [DIRECTORY]``.

Every ratio is of medians of interleaved samples of one run. With ``--strict`` a ratio over its limit is an error;
without, it is only shown, as a busy machine proves nothing.
"""

from __future__ import annotations

import argparse
import fcntl
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

import msgspec
from measuring import Limit, Result, compare

from exlab_store import Store, open_store
from exlab_store.documents import LIMSProject, OfflineCatalogue, now, read_catalogue, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

ENDPOINT = "https://lims.lab.example/api/v1"


def _payload(number: int, size: int = 2048) -> bytes:
    return number.to_bytes(8, "little") * (size // 8)


def raw_durable_write(directory: str, name: str, data: bytes) -> None:
    """Temporary file, write, fsync, rename, fsync of the directory: the least that survives a power cut."""
    temporary = f"{directory}/{name}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(temporary, f"{directory}/{name}")
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)


def durable_write(store: Store, directory: str) -> Result:
    return compare(
        "durable atomic_write of 2 KiB",
        {
            "raw temp+write+fsync+rename+directory fsync": lambda n: raw_durable_write(directory, "raw", _payload(n)),
            "exlab_store": lambda n: store.atomic_write("ours", _payload(n)),
        },
        Limit("exlab_store", "raw temp+write+fsync+rename+directory fsync", 1.10),
        rounds=1500,
    )


def snapshot_read(store: Store, directory: str) -> Result:
    store.atomic_write("read", _payload(1))
    path = f"{directory}/read"

    def raw(_: int) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    return compare(
        "read_snapshot of 2 KiB",
        {"open().read()": raw, "exlab_store": lambda _: store.read_snapshot("read")},
        Limit("exlab_store", "open().read()", 2.5),
        rounds=300,
        repeat=100,
    )


def lock_and_release(store: Store, directory: str) -> Result:
    path = f"{directory}/raw.lock"

    def raw(_: int) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.close(descriptor)

    return compare(
        "lock and release",
        {"open+flock+close": raw, "exlab_store": lambda _: store.lock("locked").release()},
        Limit("exlab_store", "open+flock+close", 6.0),
        rounds=300,
        repeat=100,
    )


def _projects(count: int) -> list[LIMSProject]:
    return [
        LIMSProject(
            uid=f"bdd640fb-0667-4ad1-9c80-{number:012x}",
            short_id=f"PROJ-{number:05}",
            name=f"Light sheet: phage display Q{number % 4 + 1}",
            status=("Pending", "Active", "Completed", "Archived")[number % 4],
            owner="asmith@lab.example",
            fetched_at="2026-05-05T14:23:00Z",
            description=None if number % 3 else "Pilot, see protocol v9.",
            contact_name="S. García",
            metadata={"tier": "pilot", "site": "main"} if number % 2 else {},
        )
        for number in range(count)
    ]


def catalogue_read(store: Store, directory: str) -> Result:
    path = store / "catalogue.json"
    write_catalogue(path, OfflineCatalogue("1.0", "bench", now(), ENDPOINT, _projects(10_000)))

    def row_by_row(_: int) -> list[LIMSProject]:
        document: dict[str, Any] = msgspec.json.decode(Path(directory, "catalogue.json").read_bytes())
        assert document["schema_version"] == "1.0"
        assert document["lims_endpoint"] == ENDPOINT
        return [msgspec.convert(row, LIMSProject) for row in document["projects"]]

    return compare(
        "read a catalogue of 10,000 projects",
        {"decode to dicts, convert row by row": row_by_row, "exlab_store": lambda _: read_at(path)},
        Limit("exlab_store", "decode to dicts, convert row by row", 0.5),
        rounds=40,
    )


def read_at(location: Any) -> OfflineCatalogue:
    return read_catalogue(location, expected_endpoint=ENDPOINT)


def resolved_document(store: Store, directory: str) -> list[Result]:
    small = OfflineCatalogue("1.0", "bench", now(), ENDPOINT, [])
    write_catalogue(store / "small.json", small)
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


def import_time() -> Result:
    # As for a user: what is imported twice has been compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(code: str) -> Callable[[int], object]:
        return lambda _: subprocess.run([sys.executable, "-c", code], check=True, env=environment)

    return compare(
        "import exlab_store",
        {"python -c pass": run("pass"), "python -c 'import exlab_store'": run("import exlab_store")},
        Limit("python -c 'import exlab_store'", "python -c pass", 1.0, extra=60e-3),
        rounds=21,
    )


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
                durable_write(store, directory),
                snapshot_read(store, directory),
                lock_and_release(store, directory),
                catalogue_read(store, directory),
                *resolved_document(store, directory),
                import_time(),
            ]
    finally:
        shutil.rmtree(directory)
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores,")
    print(f"medians of interleaved samples, {time.monotonic() - began:.0f} s in all.\n")
    print(report(results))
    mean = statistics.geometric_mean(result.ratio for result in results)
    print(f"\n{sum(result.kept for result in results)} of {len(results)} limits kept; geometric mean {mean:.2f} x")
    return int(arguments.strict and not all(result.kept for result in results))


if __name__ == "__main__":
    sys.exit(main())
