"""Whether locks exclude, end, and fence."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.clients.witness import overlap
from exlab_store.doctor.findings import Observation, failed, not_applicable, passed, warned
from exlab_store.doctor.holding import try_holding
from exlab_store.doctor.tasks import number
from exlab_store.errors import LockLost

if TYPE_CHECKING:
    from exlab_store.doctor.lock_requests import Waited
    from exlab_store.doctor.visit import Visit

__all__ = ["KEEPALIVE", "advice_on_exclusion", "crash", "exclusion", "fence", "no_locks", "separate", "wait"]

_BRIEF = 0.2
_GRACE = 1.5
_LONG = 10.0
_DEAD = 3.0
_TRY = 0.5
_BIG = 4 << 20  # bytes that take their time to be written

KEEPALIVE = (
    "On Samba set `socket options = TCP_NODELAY TCP_KEEPIDLE=5 TCP_KEEPINTVL=2 TCP_KEEPCNT=3`, so that the server "
    "notices within seconds that a client has gone."
)
"""What to do where a lock outlives its holder."""


def no_locks(visit: Visit) -> Observation | None:
    """That there is nothing to probe, where no locks are claimed that another process could meet.

    Args:
        visit: The clients.
    """
    scope = visit.common.lock_scope
    return not_applicable(f"the claimed lock_scope is {scope!r}") if scope in {"none", "process"} else None


def _no_exclusion(visit: Visit, key: str) -> Observation | None:
    """What cannot be probed where a lock that is held is granted once more; the probe of exclusion says so."""
    visit.second.send("lock", key=key, timeout=0)
    again: Waited = visit.second.answer(_GRACE + 1)
    if not again.granted:
        return None
    visit.renew()
    return not_applicable("locks do not exclude here")


def advice_on_exclusion(visit: Visit) -> str:
    """What to do where locks do not exclude.

    Args:
        visit: The clients.
    """
    served = (
        "On a Samba server set `locking = yes` for the share (and `posix locking = yes`, so that programs on the "
        "server itself are excluded too), then end all connections to the share."
    )
    mounted = (
        "On a mount take away the options that keep locks to this host or switch them off: `nobrl`, `nolock`, "
        "`local_lock=all`; on a cifs mount have a kernel of 5.19 or later."
    )
    return f"{served} {mounted}" if visit.of_server else mounted


def exclusion(visit: Visit) -> Observation:
    """One client holds the lock and the other must not get it; then both take it, and update, again and again.

    Args:
        visit: The clients.
    """
    if visit.of_server and visit.common.lock_scope == "none":
        return warned("the server has no locks that exclude: none are claimed", advice_on_exclusion(visit))
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    found = try_holding(visit, advice_on_exclusion(visit))
    if isinstance(found, Observation):
        return found
    key = visit.key("exclusion.json")
    half = visit.seconds / 2
    first, second = visit.both(
        "hold", {"key": key, "client": "first", "seconds": half}, {"key": key, "client": "second", "seconds": half}
    )
    if overlap(first + second):
        return failed("two clients held one lock at the same time", advice_on_exclusion(visit), lock_scope="broken")
    counter = visit.key("counter")
    counted = sum(visit.both("count_up", {"key": counter, "seconds": half}))
    stored = number(visit.first.ask("read", key=counter)[0])
    if stored != counted:
        return failed(
            f"of {counted} updates under the lock, {counted - stored} were lost",
            advice_on_exclusion(visit),
            lock_scope="broken",
        )
    told = f"; who is refused is told: held by {found}" if found else ""
    return passed(
        f"{len(first) + len(second)} holds did not overlap, {counted} updates, none lost{told}", lock_scope="held"
    )


def separate(visit: Visit) -> Observation:
    """Locks of different documents have nothing to do with each other, however long their names are.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    long = "a long name that goes on and on " * 7
    for one, other in (("one.json", "other.json"), (f"{long}1.json", f"{long}2.json")):
        visit.first.ask("lock", key=visit.key(one), timeout=_LONG)
        free: Waited = visit.second.ask("lock", key=visit.key(other), timeout=_BRIEF)
        visit.first.ask("release")
        visit.second.ask("release")
        if not free.granted:
            return failed(
                f"the lock of one document kept others from another one ({len(other)} bytes of name)",
                "Writers of different documents wait for each other; report it to the backend's author.",
            )
    return passed("the lock of a document keeps nobody from another one")


def wait(visit: Visit) -> Observation:
    """A wait ends when its time is over, when it is cancelled, and when the lock is released.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    key = visit.key("wait.json")
    advice = "Programs may hang here; report it to the backend's author."
    visit.first.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key)
    if unfit is not None:
        return unfit
    single = _single_try(visit, key)
    if single > _TRY:
        return failed(f"a try for a lock that is held, without waiting for it, took {single:.1f} s", advice)
    visit.second.send("lock", key=key, timeout=_BRIEF)
    over: Waited = visit.second.answer(_BRIEF + _GRACE + 1)
    visit.second.send("lock", key=key, timeout=_BRIEF + _GRACE + 0.5, cancel_after=_BRIEF)
    cancelled: Waited = visit.second.answer(_LONG)
    for what, waited in (("was over", over), ("was cancelled", cancelled)):
        if waited.seconds > _BRIEF + _GRACE:
            return failed(f"a wait for a lock that {what} after {_BRIEF:g} s took {waited.seconds:.1f} s", advice)
    visit.second.send("lock", key=key, timeout=_LONG)
    time.sleep(0.1)  # it is to be waiting when the lock is released
    released: int = visit.first.ask("release")
    granted: Waited = visit.second.answer(_LONG + _GRACE)
    if not granted.granted:
        return failed(f"a lock that was released was not granted within {_LONG:g} s to who waited for it", advice)
    visit.second.ask("release")
    handed = max(0.0, (granted.at - released) / 1e6)
    observed = f"a wait ends in time and can be cancelled; a released lock is granted within {handed:.0f} ms"
    return passed(observed) if handed < 1000 else warned(observed, "Look at the load of the server and the network.")


def _single_try(visit: Visit, key: str) -> float:
    """By how many seconds a try in vain takes longer than to take a lock that is free; the least of several."""
    taken: list[float] = []
    while not taken or (len(taken) < 3 and min(taken) > _TRY):
        free: Waited = visit.second.ask("lock", key=visit.key("free.json"), timeout=_LONG)
        visit.second.ask("release")
        refused: Waited = visit.second.ask("lock", key=key, timeout=0)
        taken.append(refused.seconds - 2 * free.seconds)
    return min(taken)


def crash(visit: Visit) -> Observation:
    """The process that holds the lock is killed.

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
    visit.first.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key)
    if unfit is not None:
        return unfit
    program: int = visit.first.ask("begin_program")
    try:
        visit.kill(0)
        waited: Waited = visit.second.ask("lock", key=key, timeout=_DEAD)
    finally:
        with suppress(OSError):
            os.kill(program, signal.SIGTERM)
    if not waited.granted and visit.second.ask("lock", key=key, timeout=_DEAD).granted:
        return failed(
            f"a lock was still held {_DEAD:g} s after its holder was killed, by a program that the holder had started",
            "Report it to the backend's author: what holds the lock must not be inherited.",
            lock_release="broken",
        )
    if not waited.granted:
        return failed(
            f"a lock was still held {_DEAD:g} s after its holder was killed", KEEPALIVE, lock_release="broken"
        )
    visit.second.ask("release")
    observed = f"the lock was free within {max(1.0, waited.seconds * 1000):.0f} ms after its holder was killed"
    if waited.seconds > _DEAD / 2:
        return warned(observed, KEEPALIVE, lock_release="held")
    return passed(observed, lock_release="held")


def fence(visit: Visit) -> Observation:
    """A client loses its lock without knowing, another one takes it and writes, and the first writes under its lock.

    Args:
        visit: The clients.
    """
    unfit = no_locks(visit)
    if unfit is not None:
        return unfit
    if not visit.common.fenced:
        return not_applicable("it is not claimed")
    key = visit.key("fence.json")
    visit.first.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key)
    if unfit is not None:
        return unfit
    visit.first.ask("write_locked", key=key, data=b"before")
    how = _lose(visit, key)
    if how is None:
        visit.first.ask("release")
        return not_applicable("there is no way to take a lock away from a client here")
    found = _flaw_of_succession(visit, key, how)
    if found is not None:
        return found
    try:
        visit.first.ask("write_locked", key=key, data=b"late")
    except LockLost:
        pass
    if not _is_the_successors(visit, key):
        return _overwritten(f"a client that had lost its lock ({how})")
    visit.first.ask("lock", key=key, timeout=_LONG)
    began = time.monotonic()
    visit.first.ask("write_locked", key=key, data=bytes(_BIG))
    duration = time.monotonic() - began
    visit.first.ask("begin_write_locked", key=key, data=bytes(_BIG))
    time.sleep(duration / 3)
    _lose(visit, key)
    found = _flaw_of_succession(visit, key, how)
    if found is not None:
        return found
    visit.first.ask("end_write")
    if not _is_the_successors(visit, key):
        return _overwritten(f"a client that lost its lock in the middle of a write ({how})")
    return passed(f"a client that had lost its lock ({how}) was refused", fenced="held")


def _lose(visit: Visit, key: str) -> str | None:
    """Takes the first client's lock away; returns how, or None if there is no way."""
    if visit.first.ask("cut_connections"):
        return "its connection was cut"
    if visit.bypass(0) is None and visit.first.ask("take_lock_away", key=key):
        return "its lock file was removed"
    return None


def _flaw_of_succession(visit: Visit, key: str, how: str) -> Observation | None:
    waited: Waited = visit.second.ask("lock", key=key, timeout=_LONG)
    if not waited.granted:
        visit.renew()
        return failed(f"a lock was still held {_LONG:g} s after {how}", KEEPALIVE, lock_release="broken")
    visit.second.ask("write_locked", key=key, data=b"successor")
    return None


def _is_the_successors(visit: Visit, key: str) -> bool:
    found, _ = visit.second.ask("read", key=key)
    visit.first.ask("release")
    visit.second.ask("release")
    return bool(found == b"successor")


def _overwritten(who: str) -> Observation:
    return failed(
        f"{who} overwrote the next holder's document",
        "Do not write under a lock for longer than it takes; report it to the backend's author.",
        fenced="broken",
    )
