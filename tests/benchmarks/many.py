"""What lists and many reads cost beside the bare exchanges: ``python tests/benchmarks/many.py [--strict] [--quick]``.

It lists a local folder of 50,000 documents beside ``os.scandir``, a folder of 10,000 on Debian's ``smbd`` beside the
QUERY_DIRECTORY requests that are needed at least, and reads 1,000 small documents at a round trip of 10 ms beside a
single read. Every ratio is of medians of interleaved samples of one run. With ``--strict`` a ratio over its limit is
an error; without, it is only shown, as a busy machine proves nothing. ``--quick`` takes few documents and samples.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from measuring import Limit, Result, compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samba_server import SambaServer, find_smbd
from wire_proxy import WireProxy

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

BARE, STORE = "bare", "exlab_store"
DELAY = 0.005  # seconds each way


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument("--quick", action="store_true", help="few documents and samples")
    arguments = parser.parse_args()
    shown: list[Result] = []
    print("| | bare | exlab_store | ratio | at most |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="exlab-store-bench-") as directory:
        Path(directory).chmod(0o755)
        for result in _measured(Path(directory), quick=arguments.quick):
            bare, store = (f"{result.medians[name] * 1000:.1f} ms" for name in (BARE, STORE))
            print(f"| {result.title} | {bare} | {store} | {result.ratio:.2f} | {result.limit.factor} |", flush=True)
            shown.append(result)
    return int(arguments.strict and not all(result.kept for result in shown))


def _measured(directory: Path, *, quick: bool) -> Iterator[Result]:
    rounds = 2 if quick else 15
    yield _local_list(directory / "local", 2000 if quick else 50_000, rounds)
    if find_smbd() is None:
        print("Debian's package samba is not installed: nothing is measured over SMB")
        return
    with ExitStack() as stack:
        server = stack.enter_context(SambaServer(directory / "server"))
        wire = stack.enter_context(WireProxy("127.0.0.1", server.port))
        direct = stack.enter_context(open_store(server.url(), password=server.password))
        distant = stack.enter_context(open_store(server.url(port=wire.port), password=server.password))
        yield _smb_list(server, direct, 1000 if quick else 10_000, rounds)
        wire.delay = DELAY
        yield _smb_reads(server, distant, 100 if quick else 1000, min(rounds, 5))


def _files(folder: Path, count: int, data: bytes = b"") -> list[str]:
    folder.mkdir()
    names = [f"run-{number:06d}.json" for number in range(count)]
    for name in names:
        (folder / name).write_bytes(data)
    return names


def _local_list(folder: Path, count: int, rounds: int) -> Result:
    _files(folder, count)

    def bare(_: int) -> list[str]:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]

    with open_store(folder) as store:
        return compare(
            f"list a local folder of {count:,}",
            {BARE: bare, STORE: lambda _: store.list_keys()},
            Limit(STORE, BARE, 2.5),
            rounds=rounds,
        )


def _smb_list(server: SambaServer, store: Store, count: int, rounds: int) -> Result:
    _files(server.root / "runs", count)
    # What a folder needs at least, without a look at the answers.
    backend: Any = store._hooks._close.__self__  # type: ignore[attr-defined]
    link = backend._links.current(Deadline(10))

    def bare(_: int) -> None:
        (opened,) = link.run([messages.open_to_list("runs")], Deadline(10))
        file_id = messages.file_id_of(opened)
        while link.run([messages.query_directory(1 << 20, file_id)], Deadline(10))[0].ok:
            pass
        link.run([messages.close(file_id)], Deadline(10))

    return compare(
        f"list a folder of {count:,} over SMB",
        {BARE: bare, STORE: lambda _: store.list_keys("runs")},
        Limit(STORE, BARE, 1.2),
        rounds=rounds,
    )


def _smb_reads(server: SambaServer, store: Store, count: int, rounds: int) -> Result:
    keys = [f"small/{name}" for name in _files(server.root / "small", count, b"x" * 500)]
    return compare(
        f"read {count:,} documents at 10 ms, beside one",
        {BARE: lambda _: store.read_snapshot(keys[0]), STORE: lambda _: dict(store.read_many(keys))},
        Limit(STORE, BARE, 40),
        rounds=rounds,
    )


if __name__ == "__main__":
    sys.exit(main())
