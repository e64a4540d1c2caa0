"""Operations of a store beside the bare client of its server, in turns, with a limit for each ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.benching.taking_turns import timed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["OURS", "all_kept"]

OURS = "exlab_store"
SIZE = 2048


def all_kept(
    pairs: Mapping[str, tuple[Callable[[bytes], object], Callable[[bytes], object]]],
    limits: Mapping[str, float],
    theirs: str,
    seconds: float,
) -> bool:
    """Measures and prints; tells whether each limit is kept.

    Args:
        pairs: By operation: the store's, and the client's; each is given 2 KiB.
        limits: By operation: how many times as long as the client's the store's may take.
        theirs: The client's name.
        seconds: How long a pair is measured.
    """
    kept = True
    for name, (store, client) in pairs.items():
        timings = timed({OURS: store, theirs: client}, SIZE, seconds)
        ours, bare = timings[OURS].median, timings[theirs].median
        ratio = ours / bare
        kept &= ratio <= limits[name]
        times = f"{OURS} {1e3 * ours:.3f} ms, {theirs} {1e3 * bare:.3f} ms"
        print(f"{name}: {times}, {ratio:.3f} x, at most {limits[name]:g} x")
    return kept
