"""The probe for durability: does a flush take the time that a disk needs? Only a power cut would prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.doctor.findings import ProbeResult, not_applicable, passed, warned
from exlab_store.doctor.reaching import duration

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit

__all__ = ["flush"]

_SIZE = 8 << 20
_FASTEST_DISK = 8.0  # bytes in a nanosecond, GB/s: what no disk of a NAS exceeds
_ROUNDS = 9
_PATIENCE = 30.0


def flush(visit: Visit) -> ProbeResult:
    """Times the flush of 8 MiB that were just written, and one with nothing to write.

    The least of several times is compared: a busy machine makes each longer, and none shorter.

    Args:
        visit: The clients.
    """
    if not visit.common.durable:
        return not_applicable(visit.why_not("durable"))
    reason = visit.bypass(0)
    if reason is not None:
        return not_applicable(f"a flush cannot be timed from here: {reason}")
    long_enough = max(1.5, visit.seconds)  # of few rounds, each may have been held up
    visit.first.send("time_flushes", key=visit.key("flush.bin"), size=_SIZE, rounds=_ROUNDS, seconds=long_enough)
    dirty, clean = visit.first.answer(_PATIENCE)  # it is some megabytes, over whatever network there is
    needed = _SIZE / _FASTEST_DISK / 1e6
    took, idle = min(dirty), min(clean)
    observed = (
        f"the flush of 8 MiB took {duration(took)}, a flush of nothing {duration(idle)} (a sign only; no proof of it)"
    )
    if took - idle >= needed:
        return passed(observed, durable="plausible")
    return warned(
        f"{observed}: no disk is that fast",
        "What is acknowledged may be lost in a power cut. On Samba set `strict sync = yes`; see whether the exported "
        "file system is in memory or mounted with `nobarrier`. Nothing is wrong if the storage has a cache with a "
        "battery that takes more than 8 GB/s."
        if visit.of_server
        else "What is acknowledged may be lost in a power cut: see whether the file system is in memory, or its disk "
        "ignores flushes.",
        durable="doubtful",
    )
