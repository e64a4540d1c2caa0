"""What an event loop feels of hundreds of tasks: ``python tests/benchmarks/event_loop.py [--strict] [DIRECTORY]``.

A thousand updates at once over 20 documents, and 300 tasks that wait for one lock, of which 150 are cancelled; on a
directory, in memory and, where smbd is installed, on an SMB server; on asyncio and on trio. A task that wakes every
millisecond tells how long the loop kept it waiting. With ``--strict``, more than 20 ms is an error, and so are more
than 16 threads.

A loop also waits when the machine is busy: of three runs, the best counts, and nothing is an error where a loop that
has nothing to do is held up too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

from async_load import many_updates, many_waiters, watched
from samba_server import SambaServer, find_smbd

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from async_load import Figures

_PAUSE = 0.020
_THREADS = 16
_RUNS = 3


async def _updates(store: Store) -> Figures:
    before = _counted(store)
    figures = await many_updates(store)
    if _counted(store) - before != 1000:
        raise SystemExit("an update was lost")
    return figures


async def _waiters(store: Store) -> Figures:
    store.atomic_write("a", b"0")
    figures = await many_waiters(store, "a", store.lock("a").release)
    if store.read_snapshot("a").data != b"150":
        raise SystemExit("an update was lost, or one that was cancelled was made")
    store.lock("a", timeout=0).release()
    return figures


def _counted(store: Store) -> int:
    keys = [f"load/{number}" for number in range(20)]
    return sum(int(snapshot.data) for _, snapshot in store.read_many(keys) if snapshot is not None)


def _best(work: Callable[[Store], Awaitable[Figures]], store: Store, loop: str) -> Figures:
    anyio.run(store.aio.list_keys, backend=loop)  # imports
    runs = [anyio.run(work, store, backend=loop) for _ in range(_RUNS)]
    return min(runs, key=lambda figures: figures.longest_pause)


def main() -> int:
    """Measures and prints; 1 if a limit that was asked for is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, help="on the file system to be measured")
    parser.add_argument("--strict", action="store_true", help="fail if a limit is exceeded")
    arguments = parser.parse_args()
    exceeded = False
    idle = anyio.run(_idle)
    for name, opened in _stores(arguments.directory):
        with opened as store:
            for loop in ("asyncio", "trio"):
                for what, work in (("1,000 updates", _updates), ("300 waiters", _waiters)):
                    figures = _best(work, store, loop)
                    over = figures.longest_pause > _PAUSE or figures.threads > _THREADS
                    exceeded |= over
                    print(f"{name:10} {loop:8} {what:14} {figures}{'  <- over the limit' if over else ''}", flush=True)
    idle = max(idle, anyio.run(_idle))
    print(f"a loop that has nothing to do was held up for {idle * 1e3:.1f} ms: ", end="")
    busy = idle > _PAUSE / 4
    print("this machine is too busy to tell" if busy else "that much is the machine's")
    return 1 if exceeded and arguments.strict and not busy else 0


async def _idle() -> float:
    async with watched() as figures:
        await anyio.sleep(1)
    return figures.longest_pause


def _stores(directory: Path | None) -> Iterator[tuple[str, AbstractContextManager[Store]]]:
    """One after the other, so that the threads of each are counted by themselves."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        yield "directory", open_store(place)
    yield "memory", open_store("memory://")
    if find_smbd() is not None:
        with tempfile.TemporaryDirectory(prefix="exlab-store-samba-") as place:
            Path(place).chmod(0o755)
            with SambaServer(Path(place, "server")) as server:
                yield "smb", open_store(server.url(), password=server.password)


if __name__ == "__main__":
    sys.exit(main())
