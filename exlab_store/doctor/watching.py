"""The probe of watches: what one client writes is told to the other, and nothing else is."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from exlab_store.doctor.findings import ProbeResult, not_applicable
from exlab_store.doctor.reaching import duration

if TYPE_CHECKING:
    from exlab_store.clients.client import Client
    from exlab_store.doctor.visit import Visit
    from exlab_store.doctor.watch_requests import EndedWatch, HeardChange
    from exlab_store.model import Version

__all__ = ["watching"]

_FEWEST, _MOST = 3, 20
_POLLED = 0.1  # seconds between two looks
# Beside a source that may not hear of everything the core looks every 60 intervals: after 18 s here. What comes before
# _LATE was told by the storage, also on a busy machine; what comes after _PATIENCE would not have come at all.
_PUSHED, _LATE, _PATIENCE = 0.3, 10.0, 25.0
_MESSAGES = 5.0
_SLOW_LOOKS = 5.0  # after which one change has to do: the pauses are three times as long as the looks
_ADVICE = (
    "Programs that watch this place miss changes: have them read at times what they need. On a mount, see whether "
    "something caches; over `smb:`, whether the server tells of changes (`change notify = yes`)."
)
_SLOW = (
    "Programs that watch here learn of changes late: over `smb:` set `change notify = yes` on the server; on Linux "
    "see whether `fs.inotify.max_user_watches` is large enough."
)


def watching(visit: Visit) -> ProbeResult:
    """One client watches a folder in which the other writes; between two machines, each watches in its turn.

    Args:
        visit: The clients.
    """
    clients = visit.first, visit.second
    results: list[ProbeResult] = []
    for number in range(1 if visit.other is None else 2):
        if visit.opened[number].guarantees.watch == "none":
            continue
        result = _watched(visit, number, clients[number], clients[1 - number])
        if result.outcome != "pass":
            return result
        results.append(result)
    if not results:
        return not_applicable(visit.why_not("watch"))
    return ProbeResult(
        "pass",
        "; ".join(result.observed for result in results),
        seen={"watch": "held"},
        client=None if len(results) > 1 or visit.other is None else results[0].client,
    )


def _watched(visit: Visit, number: int, watcher: Client, writer: Client) -> ProbeResult:
    """What one of the two is told of the other's writes."""
    guarantees = visit.opened[number].guarantees
    pushed = guarantees.watch == "pushed"
    folder = visit.key(f"watched-{number + 1}")
    key = f"{folder}/state.json"
    written: set[tuple[str, Version | None]] = {(key, writer.ask("write", key=key, data=b"before"))}
    watcher.ask("begin_watch", folder=folder, interval=_PUSHED if pushed else _POLLED)
    delays: list[float] = []
    waits: list[float] = []
    end = time.monotonic() + min(1.0, visit.seconds / 2)
    new_folder = False
    while not new_folder and max(waits, default=0.0) < _LATE:
        fewest = _FEWEST if time.monotonic() < end + _SLOW_LOOKS else 1
        new_folder = len(waits) >= (fewest if time.monotonic() > end else _MOST)
        if new_folder:
            key = f"{folder}/new/state.json"
        began = time.monotonic()
        version: Version = writer.ask("write", key=key, data=str(len(waits)).encode())
        acknowledged = time.monotonic()
        written.add((key, version))
        watcher.send("hear", key=key, version=version, seconds=_PATIENCE)
        notice: HeardChange | None = watcher.answer(_PATIENCE + _MESSAGES)
        waits.append(time.monotonic() - acknowledged)
        if notice is None:
            break
        # The clocks of the processes of one machine are one clock.
        delays.append((notice.at - began) * 1000)
    watched: EndedWatch = watcher.ask("end_watch")
    told = {(notice.key, notice.version) for notice in watched.notices}
    if told - written:
        observed = f"of {len(told)} changes that were told, {len(told - written)} did not happen"
        return ProbeResult("fail", observed, _ADVICE, {"watch": "broken"}, client=number)
    if len(delays) < len(waits):
        where = " in a new folder" if new_folder else ""
        observed = f"a document that the other client had written{where} was not told of within {_PATIENCE:g} s"
        if guarantees.fresh != "always":  # what is looked at may be older for as long as a cache likes
            return ProbeResult("warn", observed, _ADVICE, {"watch": "doubtful"}, client=number)
        return ProbeResult("fail", observed, _ADVICE, {"watch": "broken"}, client=number)
    if not watched.ended:
        observed = "a watch went on after it was told to end"
        return ProbeResult("fail", observed, "Report it to the backend's author.", client=number)
    if pushed and (watched.mode == "polled" or max(waits) > _LATE):
        observed = (
            "the storage could not tell of changes, so that the store was looked at again and again"
            if watched.mode == "polled"
            else f"the storage did not tell of a change: it was seen {max(waits):.0f} s later"
        )
        return ProbeResult("warn", observed, _SLOW, {"watch": "doubtful"}, client=number)
    how = "told by the storage" if pushed else "seen by looking again and again"
    # Between two machines the messages take longer than what is measured.
    after = (
        f", in the median {duration(statistics.median(delays))} after the write began" if visit.other is None else ""
    )
    observed = f"{len(waits)} changes were {how}{after}, and nothing else"
    return ProbeResult("pass", observed, seen={"watch": "held"}, client=number)
