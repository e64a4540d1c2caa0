"""Whether locks exclude, end and fence between two machines.

The clients of one machine are probed in `doctor.locking`. Here nothing rests on a clock that both have, and what is
done to a holder is done on the one machine and then on the other.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exlab_store.doctor.findings import Observation, failed, not_applicable, passed, warned
from exlab_store.doctor.locking import KEEPALIVE, advice_on_exclusion, no_locks
from exlab_store.doctor.tasks import number
from exlab_store.errors import LockLost

if TYPE_CHECKING:
    from exlab_store.doctor.clients import Client
    from exlab_store.doctor.lock_requests import Waited
    from exlab_store.doctor.machines.client import RemoteClient
    from exlab_store.doctor.visit import Visit

__all__ = ["crash", "exclusion", "fence", "wait"]

_BRIEF = 0.2
_GRACE = 1.5
_LONG = 10.0
_DEAD = 3.0


def exclusion(visit: Visit) -> Observation:
    """Each machine holds the lock while the other asks for it; then both take it, and update, again and again.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    key = visit.key("exclusion.json")
    told: list[str] = []
    for holder, other in ((visit.first, visit.second), (visit.second, visit.first)):
        taken: Waited = holder.ask("lock", key=key, timeout=_LONG)
        if not taken.granted:
            return failed(
                f"a lock that nobody holds was not granted within {_LONG:g} s",
                "See who holds it; restart the lock service of the storage.",
                lock_scope="broken",
            )
        refused: Waited = other.ask("lock", key=key, timeout=0)
        holder.ask("release")
        if refused.granted:
            other.ask("release")
            return _not_excluded(visit, "two clients held one lock at the same time")
        told.append(refused.holder)
    half = visit.seconds / 2
    occupied = visit.both("occupy", *({"key": key, "client": name, "seconds": half} for name in ("first", "second")))
    if any(entered for _, entered in occupied):
        return _not_excluded(visit, "two clients held one lock at the same time")
    counter = visit.key("counter")
    counted = sum(visit.both("count_up", {"key": counter, "seconds": half}))
    stored = number(visit.first.ask("read", key=counter)[0])
    if stored != counted:
        return _not_excluded(visit, f"of {counted} updates under the lock, {counted - stored} were lost")
    more = ", which is more than is claimed" if visit.common.lock_scope == "host" else ""
    who = f"told: held by {' and by '.join(told)}" if all(told) else "not told which machine holds the lock"
    return passed(
        f"{sum(held for held, _ in occupied)} holds did not overlap, {counted} updates, none lost{more}; who is "
        f"refused is {who}",
        lock_scope="held",
    )


def _not_excluded(visit: Visit, observed: str) -> Observation:
    return failed(observed, advice_on_exclusion(visit), lock_scope="broken")


def _no_exclusion(visit: Visit, key: str, other: Client | RemoteClient) -> Observation | None:
    """What cannot be probed where a lock that is held is granted once more; the probe of exclusion says so."""
    again: Waited = other.ask("lock", key=key, timeout=0)
    if not again.granted:
        return None
    visit.renew()
    return not_applicable("locks do not exclude here")


def wait(visit: Visit) -> Observation:
    """A wait for a lock of the other machine ends when its time is over, when it is cancelled, and with the lock.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    key = visit.key("wait.json")
    advice = "Programs may hang here; report it to the backend's author."
    visit.first.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key, visit.second)
    if unfit is not None:
        return unfit
    over: Waited = visit.second.ask("lock", key=key, timeout=_BRIEF)
    cancelled: Waited = visit.second.ask("lock", key=key, timeout=_LONG, cancel_after=_BRIEF)
    for what, waited in (("was over", over), ("was cancelled", cancelled)):
        if waited.seconds > _BRIEF + _GRACE:
            return failed(f"a wait for a lock that {what} after {_BRIEF:g} s took {waited.seconds:.1f} s", advice)
    visit.second.send("lock", key=key, timeout=_LONG)
    time.sleep(0.1)  # it is to be waiting when the lock is released
    began = time.monotonic()
    visit.first.ask("release")
    granted: Waited = visit.second.answer(_LONG + _GRACE)
    handed = time.monotonic() - began
    if not granted.granted:
        return failed(f"a lock that was released was not granted within {_LONG:g} s to who waited for it", advice)
    visit.second.ask("release")
    return passed(
        "a wait ends in time and can be cancelled; that a released lock was granted was known here after "
        f"{handed * 1000:.0f} ms"
    )


def crash(visit: Visit) -> Observation:
    """The process that holds the lock is killed, on the one machine and then on the other.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    release = visit.common.lock_release
    if release != "crash":
        return not_applicable(f"the claimed lock_release is {release!r}: a dead holder's lock is not free at once")
    key = visit.key("crash.json")
    longest = 0.0
    for holder in range(2):
        one, other = (visit.first, visit.second) if holder == 0 else (visit.second, visit.first)
        one.ask("lock", key=key, timeout=_LONG)
        unfit = _no_exclusion(visit, key, other)
        if unfit is not None:
            return unfit
        visit.kill(holder)
        waited: Waited = other.ask("lock", key=key, timeout=_DEAD)
        if not waited.granted:
            return failed(
                f"a lock was still held {_DEAD:g} s after its holder was killed", KEEPALIVE, lock_release="broken"
            )
        other.ask("release")
        longest = max(longest, waited.seconds)
    observed = (
        f"the lock was free within {max(1.0, longest * 1000):.0f} ms after its holder was killed, on either machine"
    )
    if longest > _DEAD / 2:
        return warned(observed, KEEPALIVE, lock_release="held")
    return passed(observed, lock_release="held")


def fence(visit: Visit) -> Observation:
    """A machine loses its lock without knowing, the other one takes it and writes, and the first writes under its lock.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    if not visit.common.fenced:
        return not_applicable("it is not claimed")
    ways: list[str] = []
    for holder, other in ((visit.first, visit.second), (visit.second, visit.first)):
        fenced = _fenced(visit, holder, other)
        if isinstance(fenced, Observation):
            return fenced
        ways.append(fenced)
    how = ", ".join(dict.fromkeys(ways))
    return passed(f"a client that had lost its lock ({how}) was refused, on either machine", fenced="held")


def _fenced(visit: Visit, holder: Client | RemoteClient, other: Client | RemoteClient) -> Observation | str:
    """What is wrong, or how the lock was taken away from a holder that was then refused."""
    key = visit.key("fence.json")
    holder.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key, other)
    if unfit is not None:
        return unfit
    holder.ask("write_locked", key=key, data=b"before")
    how = "its connection was cut"
    if not holder.ask("cut_connections"):
        how = "its lock file was removed"
        if visit.bypass(0) is not None or not visit.first.ask("take_lock_away", key=key):
            holder.ask("release")
            return not_applicable("there is no way to take a lock away from a client here")
    waited: Waited = other.ask("lock", key=key, timeout=_LONG)
    if not waited.granted:
        visit.renew()
        return failed(f"a lock was still held {_LONG:g} s after {how}", KEEPALIVE, lock_release="broken")
    other.ask("write_locked", key=key, data=b"successor")
    try:
        holder.ask("write_locked", key=key, data=b"late")
    except LockLost:
        pass
    found, _ = other.ask("read", key=key)
    holder.ask("release")
    other.ask("release")
    if found != b"successor":
        return failed(
            f"a client that had lost its lock ({how}) overwrote the next holder's document",
            "Do not write under a lock for longer than it takes; report it to the backend's author.",
            fenced="broken",
        )
    return how
