"""All probes, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exlab_store.doctor.clocks import clock
from exlab_store.doctor.durability import flush
from exlab_store.doctor.findings import ProbeResult, not_applicable, passed
from exlab_store.doctor.locking import crash, exclusion, fence, separate, wait
from exlab_store.doctor.machines.meeting import machines
from exlab_store.doctor.mounts import mount
from exlab_store.doctor.names import listing, names
from exlab_store.doctor.permissions import permissions
from exlab_store.doctor.racing import fresh, swap
from exlab_store.doctor.reaching import exact, reach
from exlab_store.doctor.replacing import held_open, replace
from exlab_store.doctor.space import leftovers, space
from exlab_store.doctor.watching import watching
from exlab_store.errors import DocumentNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.doctor.visit import Visit

__all__ = ["OF_MACHINES", "OF_PAIRS", "OF_PLACES", "PROBES", "Probe"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question.

    Attributes:
        name: Its short name.
        title: What it looks at, in words.
        run: Asks it.
        writes: Whether it needs a place that can be written.
    """

    name: str
    title: str
    run: Callable[[Visit], ProbeResult]
    writes: bool = True


def same(visit: Visit) -> ProbeResult:
    """Whether what is written at one place is found at the other: the other probes of a pair need that.

    Args:
        visit: The clients.
    """
    visit.first.ask("write", key=visit.key("same.json"), data=b"1")
    try:
        visit.second.ask("read", key=visit.key("same.json"))
    except DocumentNotFound:
        return not_applicable("the two places are not the same folder of the same storage")
    return passed("what is written at one place is found at the other")


OF_PLACES = (
    Probe("reach", "Reachable, and how fast", reach, writes=False),
    Probe("mount", "The mount", mount, writes=False),
    Probe("space", "Free space", space, writes=False),
    Probe("permissions", "Permissions", permissions),
    Probe("exact", "Documents come back as written", exact),
    Probe("replace", "Replaced as a whole, under readers", replace),
    Probe("held-open", "Replaced while another program has it open", held_open),
    Probe("lock", "Locks exclude", exclusion),
    Probe("separate", "Locks of different documents", separate),
    Probe("wait", "Waiting for a lock, and cancelling", wait),
    Probe("crash", "The holder of a lock is killed", crash),
    Probe("fence", "A writer that lost its lock", fence),
    Probe("swap", "Compare-and-swap", swap),
    Probe("fresh", "Reads are of the last write", fresh),
    Probe("watching", "Changes are told", watching),
    Probe("flush", "Flushes reach the disk (heuristic)", flush),
    Probe("names", "Names", names),
    Probe("list", "Listing and deleting", listing),
    Probe("clock", "Clocks", clock),
    Probe("leftovers", "Leftovers", leftovers, writes=False),
)

OF_PAIRS = (
    Probe("same", "The same storage", same),
    Probe("replace", "Replaced as a whole, under readers", replace),
    Probe("lock", "Locks exclude", exclusion),
    Probe("wait", "Waiting for a lock, and cancelling", wait),
    Probe("swap", "Compare-and-swap", swap),
    Probe("fresh", "Reads are of the last write", fresh),
)

OF_MACHINES = (
    Probe("machines", "The two machines", machines),
    Probe("replace", "Replaced as a whole, under readers", replace),
    Probe("lock", "Locks exclude", exclusion),
    Probe("wait", "Waiting for a lock, and cancelling", wait),
    Probe("crash", "The holder of a lock is killed", crash),
    Probe("fence", "A writer that lost its lock", fence),
    Probe("swap", "Compare-and-swap", swap),
    Probe("fresh", "Reads are of the last write", fresh),
    Probe("watching", "Changes are told", watching),
)

PROBES = {probe.name: probe for probe in (*OF_PAIRS, *OF_MACHINES, *OF_PLACES)}
