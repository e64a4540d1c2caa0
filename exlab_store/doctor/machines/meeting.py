"""The check that two machines take part, and that both use one storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.doctor.findings import ProbeResult, failed, passed, warned
from exlab_store.doctor.machines.names import machine
from exlab_store.errors import DocumentNotFound

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit

__all__ = ["machines"]


def machines(visit: Visit) -> ProbeResult:
    """Each writes, and the other reads; and who they are.

    Args:
        visit: The clients, the second one of another machine.
    """
    own, other = machine(), "" if visit.other is None else visit.other.name
    for number, (writer, reader) in enumerate(((visit.first, visit.second), (visit.second, visit.first))):
        key = visit.key(f"same-{number}.json")
        writer.ask("write", key=key, data=b"1")
        try:
            reader.ask("read", key=key)
        except DocumentNotFound:
            return failed(
                f"what one of {own} and {other} has written, the other does not find",
                "Look for a cache or a replica between the machines and the storage.",
            )
    observed = f"each of {own} and {other} reads what the other one writes"
    if visit.other is not None and visit.other.same_name:
        return warned(
            f"both sides are called {own}",
            "Join from another machine: one machine shows nothing of what happens between two. If they are two, "
            "give them two names: who waits for a lock is told the name of its holder's machine.",
        )
    if visit.other is not None and visit.other.same_kernel:
        return warned(
            f"{observed}; both run on one kernel",
            "Join from another machine than a container or a name on this one: what its kernel caches, both see.",
        )
    return passed(observed)
