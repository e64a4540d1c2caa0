"""A catalogue decoded and encoded: this package, dicts that are converted row by row, and Python's own ``json``.

All of them read from and write to one store in memory, so that only the way from bytes to rows and back differs. As a
program it does one of them once and prints how much memory that took at most, in all and beyond what it returns.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
from results import Peak

from exlab_store import open_store
from exlab_store.documents import LIMSProject, OfflineCatalogue, now, read_catalogue, write_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Store, StorePath

__all__ = ["BY_HAND", "ENDPOINT", "JSON", "OURS", "catalogue_of", "memory_peak", "readers", "writers"]

ENDPOINT = "https://lims.lab.example/api/v1"
OURS, BY_HAND, JSON = "exlab_store", "msgspec, dicts, converted row by row", "json, dataclasses"


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    uid: str
    short_id: str
    name: str
    status: str
    owner: str
    fetched_at: str
    description: str | None
    contact_name: str | None
    metadata: dict[str, Any]


def projects(count: int) -> list[LIMSProject]:
    """Rows as a LIMS sends them."""
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


def catalogue_of(count: int) -> OfflineCatalogue:
    """A catalogue of so many projects."""
    return OfflineCatalogue("1.0", "bench", now(), ENDPOINT, projects(count))


def readers(path: StorePath) -> dict[str, Callable[[bytes], object]]:
    """Ways to read the catalogue that is there; what they are given, they leave alone."""

    def by_hand(_: bytes) -> list[LIMSProject]:
        document: dict[str, Any] = msgspec.json.decode(path.read_snapshot().data)
        assert document["schema_version"] == "1.0"
        assert document["lims_endpoint"] == ENDPOINT
        return [msgspec.convert(row, LIMSProject) for row in document["projects"]]

    def with_json(_: bytes) -> list[_Row]:
        document: dict[str, Any] = json.loads(path.read_snapshot().data)
        assert document["schema_version"] == "1.0"
        assert document["lims_endpoint"] == ENDPOINT
        return [_Row(**row) for row in document["projects"]]

    return {OURS: lambda _: read_catalogue(path, expected_endpoint=ENDPOINT), BY_HAND: by_hand, JSON: with_json}


def writers(path: StorePath, catalogue: OfflineCatalogue) -> dict[str, Callable[[bytes], object]]:
    """Ways to write a catalogue; who is said to have produced it is what they are given, as hexadecimal digits."""
    rows = [_Row(**msgspec.structs.asdict(row)) for row in catalogue.projects]

    def document(projects: list[Any], producer: bytes) -> dict[str, Any]:
        return {
            "schema_version": catalogue.schema_version,
            "produced_by": producer.hex(),
            "produced_at": catalogue.produced_at,
            "lims_endpoint": catalogue.lims_endpoint,
            "projects": projects,
        }

    def ours(producer: bytes) -> None:
        write_catalogue(path, msgspec.structs.replace(catalogue, produced_by=producer.hex()))

    def by_hand(producer: bytes) -> object:
        converted = document([msgspec.to_builtins(row) for row in catalogue.projects], producer)
        return path.atomic_write(msgspec.json.encode(converted))

    def with_json(producer: bytes) -> object:
        converted = document([dataclasses.asdict(row) for row in rows], producer)
        return path.atomic_write(json.dumps(converted, ensure_ascii=False, separators=(",", ":")).encode())

    return {OURS: ours, BY_HAND: by_hand, JSON: with_json}


def _prepared(store: Store, action: str, name: str, count: int) -> tuple[Callable[[bytes], object], int]:
    path = store / "catalogue.json"
    catalogue = catalogue_of(count)
    write_catalogue(path, catalogue)
    size = len(path.read_snapshot())
    if action == "read":
        del catalogue
        return readers(path)[name], size
    return writers(path, catalogue)[name], size


def memory_peak(action: str, name: str, count: int) -> Peak:
    """The memory that reading or writing takes at most, in sizes of the document."""
    command = [sys.executable, __file__, action, name, str(count)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    whole, beyond = map(float, said.split())
    return Peak(whole, beyond)


def _measure(action: str, name: str, count: int) -> Peak:
    # On a disk, so that the document counts as memory when it is read.
    with tempfile.TemporaryDirectory(prefix="exlab-store-bench-") as directory, open_store(directory) as store:
        call, size = _prepared(store, action, name, count)
        call(bytes(8))
        tracemalloc.start()
        result = call(b"measured")
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del result
        return Peak(peak / size, (peak - after) / size)


if __name__ == "__main__":
    measured = _measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print(measured.whole, measured.beyond)
