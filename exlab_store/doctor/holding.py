"""The probe of a held lock: it excludes all others, touches no other document, and is free after its release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.clients.client import NoAnswer
from exlab_store.doctor.findings import ProbeResult, failed

if TYPE_CHECKING:
    from exlab_store.clients.client import Client
    from exlab_store.doctor.lock_requests import Waited
    from exlab_store.doctor.visit import Visit

__all__ = ["both_ways", "try_holding"]

_LONG = 10.0
_SOON = 5.0
_REPORT = "Report it to the backend's author."


def both_ways(visit: Visit) -> list[tuple[Client, Client]]:
    """The client that holds the lock, and the other one; and the other way round.

    Args:
        visit: The clients.
    """
    return [(visit.first, visit.second), (visit.second, visit.first)]


def try_holding(visit: Visit, advice: str) -> ProbeResult | list[str]:
    """Each client holds the lock, and the other one must not get it.

    Args:
        visit: The clients.
        advice: What to do where locks do not exclude.

    Returns:
        What is wrong, or whom each client that was refused is told to hold the lock; empty text where it is not told.
    """
    key = visit.key("exclusion.json")
    told: list[str] = []
    for holder, other in both_ways(visit):
        taken: Waited = holder.ask("lock", key=key, timeout=_LONG)
        if not taken.granted:
            return failed(
                f"a lock that nobody holds was not granted within {_LONG:g} s",
                "See who holds it; restart the lock service of the storage.",
                lock_scope="broken",
            )
        refused = _try(other, key)
        if refused.granted:
            holder.ask("release")
            return failed("two clients held one lock at the same time", advice, lock_scope="broken")
        # Of this machine's own clients, this has been seen before.
        found = None if visit.other is not None else _flaw_of_work_beside(visit, key, holder, other)
        if found is not None:
            return found
        holder.ask("release")
        told.append(refused.holder)
    found = None if visit.other is not None else _flaw_of_giving_back(visit)
    return told if found is None else found


def _try(client: Client, key: str) -> Waited:
    refused: Waited = client.ask("lock", key=key, timeout=0)
    if refused.granted:
        client.ask("release")
    return refused


def _flaw_of_work_beside(visit: Visit, key: str, holder: Client, other: Client) -> ProbeResult | None:
    """Who reads and writes without the lock does not wait for it, and does not end it."""
    for request, arguments in (("write", {"key": key, "data": b"1"}), ("read", {"key": key})):
        other.send(request, **arguments)
        try:
            other.answer(_SOON)
        except NoAnswer:
            visit.renew()
            return failed(f"a {request} without the lock waits for whoever holds the lock", _REPORT)
    holder.ask("write", key=key, data=b"2")
    if _try(other, key).granted:
        return failed("a lock that is held is free as soon as its document is replaced", _REPORT, lock_scope="broken")
    return None


def _flaw_of_giving_back(visit: Visit) -> ProbeResult | None:
    key = visit.key("given-back.json")
    visit.first.ask("lock", key=key, timeout=_LONG)
    visit.first.ask("release_elsewhere")
    waited: Waited = visit.second.ask("lock", key=key, timeout=_SOON)
    if not waited.granted:
        visit.renew()
        return failed("a lock stays held when another thread releases it than the one that took it", _REPORT)
    visit.second.ask("release")
    folder = visit.key("folder")
    visit.first.ask("write", key=f"{folder}/document.json", data=b"1")
    visit.first.ask("update_in_vain", key=folder)
    if not visit.second.ask("lockable", key=folder):
        visit.renew()
        return failed("an update that failed left its document locked", _REPORT)
    visit.second.ask("release")
    return None
