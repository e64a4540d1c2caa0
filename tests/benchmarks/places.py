"""What each place promises and costs, for "Choose a protocol for a site": ``python tests/benchmarks/places.py``.

It starts the servers, measures a read, a write and an update of 2 KiB behind a proxy that delays what passes by half a
round trip in either direction, and writes the table of the page. The round trips are what 49 ms more of delay add: the
disk of a busy machine adds some milliseconds, too. With ``--promises`` it measures nothing, and keeps the figures that
stand there.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import re
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from site_places import COLUMNS, NEEDS, SERVED, claimed_cells, promised_without_server

from exlab_store import Guarantees, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Store

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "choose-a-protocol.md"
BETWEEN: Final = re.compile(r"(?<=<!-- made by tests/benchmarks/places.py -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
DELAYS: Final = (1, 10)  # milliseconds of a round trip
_COUNTED: Final = 50
_KEY, _TIMES = "folder/document.json", 40
_DATA: Final = b"x" * 2048
_COSTS: Final = ("Round trips", *(f"at {delay} ms" for delay in DELAYS))


class DelayingProxy:
    """Passes bytes on, each so much later; ``delay`` may be set at any time.

    Args:
        port: The server's, on 127.0.0.1.

    Attributes:
        delay: Seconds in one direction.
        port: Its own.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for one, other in ((client, server), (server, client)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    parts: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    threading.Thread(target=self._receive, args=(one, parts), daemon=True).start()
                    threading.Thread(target=_send, args=(other, parts), daemon=True).start()

    def _receive(self, peer: socket.socket, parts: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"1"
        while data:
            try:
                data = peer.recv(1 << 16)
            except OSError:
                data = b""
            parts.put((time.monotonic() + self.delay, data))

    def close(self) -> None:
        """Takes no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _send(peer: socket.socket, parts: queue.SimpleQueue[tuple[float, bytes]]) -> None:
    with peer, suppress(OSError):
        while True:
            due, data = parts.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                peer.shutdown(socket.SHUT_RDWR)
                return
            peer.sendall(data)


def _calls(store: Store) -> list[Callable[[], object] | None]:
    updates = store.guarantees.lock_scope != "none"
    return [
        lambda: store.read_snapshot(_KEY),
        lambda: store.atomic_write(_KEY, _DATA),
        (lambda: store.update(_KEY, lambda _: _DATA)) if updates else None,
    ]


def _taken(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _measured(store: Store, proxy: DelayingProxy | None, times: int) -> list[str]:
    """The cells of the costs: of each call the least time, as others have the machine's processors and disk too."""
    calls = _calls(store)
    store.atomic_write(_KEY, _DATA)
    for call in calls:
        if call is not None:
            call()  # connections are made, and what an update can do is found out
    if proxy is None:
        shown = _joined(_least(calls, times))
        return ["0, 0, 0", shown, shown]
    found: dict[int, list[float | None]] = {}
    for delay in (*DELAYS, _COUNTED):
        proxy.delay = delay / 2000
        found[delay] = _least(calls, times if delay in DELAYS else times // 4)
    spread = _COUNTED - DELAYS[0]
    trips = [
        "none" if low is None or high is None else str(round((high - low) / spread))
        for low, high in zip(found[DELAYS[0]], found[_COUNTED], strict=True)
    ]
    return [", ".join(trips), *(_joined(found[delay]) for delay in DELAYS)]


def _least(calls: list[Callable[[], object] | None], times: int) -> list[float | None]:
    least: list[float | None] = [None if call is None else math.inf for call in calls]
    for _ in range(times):
        for number, call in enumerate(calls):
            if call is not None:
                least[number] = min(least[number] or math.inf, _taken(call))
    return least


def _joined(milliseconds: list[float | None]) -> str:
    return ", ".join(map(_shown, milliseconds))


def _shown(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "none"
    return f"{milliseconds:.0f}" if milliseconds >= 9.95 else f"{milliseconds:.1f}" if milliseconds >= 0.05 else "< 0.1"


def _served(place: str, times: int | None) -> tuple[Guarantees, list[str] | None]:
    with ExitStack() as stack:
        proxies: list[DelayingProxy] = []

        def via(port: int) -> int:
            if times is None:
                return port
            proxies.append(DelayingProxy(port))
            stack.callback(proxies[-1].close)
            return proxies[-1].port

        store = stack.enter_context(SERVED[place](via))
        return store.guarantees, None if times is None else _measured(store, proxies[0], times)


def _of_this_machine(place: str, times: int) -> list[str]:
    import tempfile

    folder = {"local disk": tempfile.gettempdir(), "tmpfs": "/dev/shm"}.get(place)
    if place == "memory:":
        with open_store("memory://") as store:
            return _measured(store, None, times)
    if folder is None:
        return ["", "", ""]
    with tempfile.TemporaryDirectory(dir=folder) as directory, open_store(directory) as store:
        return _measured(store, None, times)


def written_costs(text: str) -> dict[str, list[str]]:
    """The costs that stand in the page, by the place.

    Args:
        text: Of the page.
    """
    found = BETWEEN.search(text)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].splitlines()[2:]]
    return {row[0].replace("`", ""): row[1 + len(COLUMNS) : 1 + len(COLUMNS) + len(_COSTS)] for row in rows}


def table(promises: dict[str, Guarantees], costs: dict[str, list[str]]) -> str:
    """The table.

    Args:
        promises: Of each place.
        costs: Their cells; a place may lack them.
    """
    header = ["Place", *(f"`{name}`" for name in COLUMNS), *_COSTS, "Needs"]
    lines = [header, ["---"] * len(header)]
    for place, needs in NEEDS.items():
        name = re.sub(r"^[\w+]+:", lambda scheme: f"`{scheme[0]}`", place)
        lines.append([name, *claimed_cells(promises[place]), *costs.get(place, [""] * len(_COSTS)), needs])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--promises", action="store_true", help="keep the figures, and look at the promises alone")
    parser.add_argument("--times", type=int, default=_TIMES, help=f"how often each call is made (default: {_TIMES})")
    arguments = parser.parse_args()
    times = None if arguments.promises else arguments.times
    text = PAGE.read_text(encoding="utf-8")
    promises, costs = promised_without_server(), written_costs(text)
    for place in SERVED:
        promises[place], measured = _served(place, times)
        costs[place] = measured or costs.get(place, [""] * len(_COSTS))
        print(f"{place}: {costs[place]}", flush=True)
    if times is not None:
        costs |= {place: _of_this_machine(place, times) for place in NEEDS if place not in SERVED}
    PAGE.write_text(BETWEEN.sub(lambda _: table(promises, costs), text), encoding="utf-8")
    print(f"{PAGE} is written; load of the machine: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
