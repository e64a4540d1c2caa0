"""What a store on an SMB server costs beside fsspec and smbclient: ``python tests/benchmarks/smb.py [--strict]``.

It starts Debian's ``smbd`` and measures through a proxy, without delay and with a round trip of 10 ms. Every ratio is
of medians of interleaved samples of one run. With ``--strict`` a ratio over its limit is an error; without, it is only
shown, as a busy machine proves nothing. ``--quick`` takes few samples, shows that all of it works, and judges nothing.
The limits beside fsspec are those that ``peers.py --strict`` judges with all others; only here is the one for a lock
that is handed over.

The peer does what can be done with fsspec and smbclient: a temporary file, and ``smbclient.replace``, which is atomic
and flushes nothing; smbclient does the same alone. A write of the store is flushed, with its folder.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import smbclient
from judging import SMB_WANTED
from measuring import Limit, Result, compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samba_server import SambaServer, find_smbd
from wire_proxy import WireProxy

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

STORE, PEER, PLAIN = "exlab_store", "fsspec", "smbclient"
WITHOUT_LIMIT = math.inf
ROUND_TRIP = "round trip"
UPDATE_ROUND_TRIPS = 2.6  # an update at 10 ms: two on the wire, and what the server and its disk take


def _payload(number: int) -> bytes:
    return number.to_bytes(8, "little") * 256


@dataclass(frozen=True, slots=True)
class Row:
    """A benchmark with the round trips of each contender."""

    result: Result
    round_trips: dict[str, int]


class Peer:
    """fsspec's filesystem and smbclient, with the connection that they share."""

    def __init__(self, samba: SambaServer, wire: WireProxy) -> None:
        self._port = wire.port
        self._files = fsspec.filesystem(
            "smb", host="127.0.0.1", port=wire.port, **samba.options, skip_instance_cache=True
        )

    def replace(self, number: int) -> None:
        with self._files.open("/lab/peer.json.tmp", "wb") as file:
            file.write(_payload(number))
        smbclient.replace(r"\\127.0.0.1\lab\peer.json.tmp", r"\\127.0.0.1\lab\peer.json", port=self._port)

    def read(self, _: int) -> bytes:
        with self._files.open("/lab/read.json", "rb") as file:
            return bytes(file.read())


class PlainPeer:
    """smbclient alone, without fsspec's looks before and after."""

    def __init__(self, samba: SambaServer, wire: WireProxy) -> None:
        self._options = {"port": wire.port, **samba.options}

    def replace(self, number: int) -> None:
        with smbclient.open_file(r"\\127.0.0.1\lab\plain.json.tmp", "wb", **self._options) as file:
            file.write(_payload(number))
        smbclient.replace(r"\\127.0.0.1\lab\plain.json.tmp", r"\\127.0.0.1\lab\plain.json", **self._options)

    def read(self, _: int) -> bytes:
        with smbclient.open_file(r"\\127.0.0.1\lab\read.json", "rb", **self._options) as file:
            return bytes(file.read())


class Bench:
    """One server, a network before it, and everybody who is measured."""

    def __init__(self, samba: SambaServer, stack: ExitStack, *, quick: bool) -> None:
        self._wire = stack.enter_context(WireProxy("127.0.0.1", samba.port))
        self._others = stack.enter_context(WireProxy("127.0.0.1", samba.port))
        # One process's stores at one address would hand the lock over among themselves.
        self._store, self._other = (
            stack.enter_context(
                open_store(samba.url(user=False, port=wire.port), username=samba.user, password=samba.password)
            )
            for wire in (self._wire, self._others)
        )
        self._peer = Peer(samba, self._wire)
        self._plain = PlainPeer(samba, self._wire)
        stack.callback(smbclient.reset_connection_cache, fail_on_error=False)
        self._quick = quick

    def run(self, delay: float, rounds: int | None = None) -> list[Row]:
        """All benchmarks, with a round trip of so many seconds."""
        self._wire.delay = self._others.delay = delay / 2
        rounds = rounds or (3 if self._quick else 100 if delay else 300)
        store, peer, plain = self._store, self._peer, self._plain
        store.atomic_write("read.json", _payload(1))

        def factor(action: str) -> float:
            return 1 / SMB_WANTED[action, delay] if (action, delay) in SMB_WANTED else WITHOUT_LIMIT

        return [
            self._compared(
                "durable write of 2 KiB",
                {
                    STORE: lambda n: store.atomic_write("ours.json", _payload(n)),
                    PEER: peer.replace,
                    PLAIN: plain.replace,
                },
                factor("write"),
                rounds,
            ),
            self._compared(
                "read of 2 KiB",
                {STORE: lambda _: store.read_snapshot("read.json"), PEER: peer.read, PLAIN: plain.read},
                factor("read"),
                rounds,
            ),
            self._alone("lock and release", lambda _: store.lock("lock.json").release(), rounds),
            self._in_round_trips("update", lambda n: store.update("update.json", lambda _: _payload(n)), rounds, delay),
            self._handed_over(rounds, math.inf if delay else 0.020),
        ]

    def _compared(self, title: str, contenders: dict[str, Callable[[int], object]], factor: float, rounds: int) -> Row:
        result = compare(title, contenders, Limit(STORE, PEER, factor), rounds=rounds)
        return Row(result, {name: self._round_trips(call) for name, call in contenders.items()})

    def _alone(self, title: str, call: Callable[[int], object], rounds: int) -> Row:
        result = compare(title, {STORE: call}, Limit(STORE, STORE, WITHOUT_LIMIT), rounds=rounds)
        return Row(result, {STORE: self._round_trips(call)})

    def _in_round_trips(self, title: str, call: Callable[[int], object], rounds: int, delay: float) -> Row:
        """What takes the time of so many round trips, and of the server's disk."""
        found = self._alone(title, call, rounds)
        if not delay:
            return found
        medians = {**found.result.medians, ROUND_TRIP: delay}
        return Row(Result(title, medians, Limit(STORE, ROUND_TRIP, UPDATE_ROUND_TRIPS)), found.round_trips)

    def _round_trips(self, call: Callable[[int], object]) -> int:
        with self._wire.counting() as count:
            call(0)
        return count.round_trips

    def _handed_over(self, rounds: int, limit: float) -> Row:
        stores = (self._store, self._other)
        samples = [_hand_over(*stores[:: 1 if number % 2 else -1]) for number in range(rounds)]
        median = {STORE: statistics.median(samples), "nothing": 0.0}
        return Row(Result("lock hand-over, SMB to SMB", median, Limit(STORE, "nothing", 0.0, limit)), {})


def _hand_over(holder: Store, waiter: Store) -> float:
    """Seconds from the call of release to the moment when the one who waits has the lock."""
    held = holder.lock("handed.json", timeout=10)
    granted: list[float] = []
    asked = threading.Event()

    def looked() -> bool:  # asked about every 50 ms of waiting
        asked.set()
        return False

    def wait() -> None:
        with waiter.lock("handed.json", timeout=10, cancelled=looked):
            granted.append(time.perf_counter())

    thread = threading.Thread(target=wait)
    thread.start()
    asked.wait(1)
    time.sleep(0.06)  # so that the wait is at the server, whatever the delay
    began = time.perf_counter()
    held.release()
    thread.join()
    return granted[0] - began


def _shown(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _judged(result: Result) -> tuple[str, str]:
    """A limit, and whether it is kept."""
    limit = result.limit
    if math.isinf(limit.factor) or math.isinf(limit.extra):
        return "", ""
    if limit.reference == ROUND_TRIP:
        shown = f"{limit.factor:g} round trips; {result.ratio:.2f} found"
    else:
        shown = f"under {_shown(limit.extra)}" if limit.extra else f"{1 / limit.factor:g} x as fast"
    return shown, "kept" if result.kept else "**missed**"


def report(delay: float, rows: list[Row], *, judge: bool) -> str:
    lines: list[str] = []
    for row in rows:
        result, trips = row.result, row.round_trips

        cells = {
            name: _shown(median) + (f" ({trips[name]})" if name in trips else "")
            for name, median in result.medians.items()
        }
        ratio = f"{1 / result.ratio:.1f} x" if PEER in result.medians else ""
        wanted, verdict = _judged(result)
        if wanted and not judge:
            verdict = "too short to judge"
        shown = [cells.get(name, "") for name in (PEER, PLAIN, STORE)]
        words = [f"{delay * 1e3:g} ms", result.title, *shown, ratio, wanted, verdict]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument("--quick", action="store_true", help="few samples: whether it works at all")
    arguments = parser.parse_args()
    if find_smbd() is None:
        parser.error("smbd is not installed; Debian's package is samba")
    began = time.monotonic()
    found: dict[float, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="exlab-store-bench-") as directory, ExitStack() as stack:
        Path(directory).chmod(0o755)
        samba = stack.enter_context(SambaServer(Path(directory, "server")))
        bench = Bench(samba, stack, quick=arguments.quick)
        for delay in (0.0, 0.010):
            found[delay] = bench.run(delay)
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores,")
    print(f"medians of interleaved samples, {time.monotonic() - began:.0f} s in all; round trips in parentheses.\n")
    print(f"| round trip | operation | {PEER} | {PLAIN} | {STORE} | ratio to {PEER} | wanted | |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(report(delay, rows, judge=not arguments.quick) for delay, rows in found.items()))
    kept = all(row.result.kept for rows in found.values() for row in rows)
    return int(arguments.strict and not (kept and not arguments.quick))


if __name__ == "__main__":
    sys.exit(main())
