"""The probes of locks: exclusion, end and fence, between two clients of this machine or with another machine's.

Between machines, nothing rests on a clock that both have, and what is done to a holder is done on the one machine and
then on the other.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.clients.witness import overlap
from exlab_store.clients.work import number
from exlab_store.doctor.findings import ProbeResult, failed, not_applicable, passed, warned
from exlab_store.doctor.holding import both_ways, try_holding
from exlab_store.errors import LockLost

if TYPE_CHECKING:
    from exlab_store.clients.client import Client
    from exlab_store.doctor.lock_requests import Waited
    from exlab_store.doctor.visit import Visit

__all__ = ["crash", "exclusion", "fence", "separate", "wait"]

_BRIEF = 0.2
_GRACE = 1.5
_LONG = 10.0
_DEAD = 3.0
_TRY = 0.5
_BIG = 4 << 20  # bytes that take their time to be written

_KEEPALIVE = (
    "On Samba set `socket options = TCP_NODELAY TCP_KEEPIDLE=5 TCP_KEEPINTVL=2 TCP_KEEPCNT=3`, so that the server "
    "notices within seconds that a client has gone."
)


def _no_locks(visit: Visit) -> ProbeResult | None:
    """That there is nothing to probe, where no locks are claimed that another process could meet."""
    scope = visit.common.lock_scope
    if scope == "none":
        return not_applicable(visit.why_not("lock_scope"))
    return not_applicable(f"the claimed lock_scope is {scope!r}") if scope == "process" else None


def _no_exclusion(visit: Visit, key: str, other: Client) -> ProbeResult | None:
    """What cannot be probed where a lock that is held is granted once more; the probe of exclusion says so."""
    other.send("lock", key=key, timeout=0)
    again: Waited = other.answer(_GRACE + 1)
    if not again.granted:
        return None
    visit.renew()
    return not_applicable("locks do not exclude here")


def _advice_on_exclusion(visit: Visit) -> str:
    """What to do where locks do not exclude."""
    served = (
        "On a Samba server set `locking = yes` for the share (and `posix locking = yes`, so that programs on the "
        "server itself are excluded too), then end all connections to the share."
    )
    mounted = (
        "On a mount take away the options that keep locks to this host or switch them off: `nobrl`, `nolock`, "
        "`local_lock=all`; on a cifs mount have a kernel of 5.19 or later."
    )
    return f"{served} {mounted}" if visit.of_server else mounted


def exclusion(visit: Visit) -> ProbeResult:
    """One client holds the lock and the other must not get it; then both take it, and update, again and again.

    Args:
        visit: The clients.
    """
    advice = _advice_on_exclusion(visit)
    if visit.other is None and visit.of_server and visit.common.lock_scope == "none":
        reason = visit.first.opened.unclaimed.get("lock_scope")
        if reason is not None:
            return warned(f"no locks are claimed: {reason}", "Let one program alone change a document here.")
        return warned("the server has no locks that exclude: none are claimed", advice)
    unfit = _no_locks(visit)
    if unfit is not None:
        return unfit
    told = try_holding(visit, advice)
    if isinstance(told, ProbeResult):
        return told
    holds = _holds(visit)
    if holds is None:
        return failed("two clients held one lock at the same time", advice, lock_scope="broken")
    counter = visit.key("counter")
    counted = sum(visit.both("count_up", {"key": counter, "seconds": visit.seconds / 2}))
    stored = number(visit.first.ask("read", key=counter)[0])
    if stored != counted:
        return failed(f"of {counted} updates under the lock, {counted - stored} were lost", advice, lock_scope="broken")
    return passed(
        f"{holds} holds did not overlap, {counted} updates, none lost{_of_refusals(visit, told)}", lock_scope="held"
    )


def _holds(visit: Visit) -> int | None:
    """How often both held the lock in turns; None if they ever did at the same time."""
    key, half = visit.key("exclusion.json"), visit.seconds / 2
    arguments = [{"key": key, "client": name, "seconds": half} for name in ("first", "second")]
    if visit.other is not None:
        occupied = visit.both("occupy", *arguments)
        return None if any(entered for _, entered in occupied) else sum(held for held, _ in occupied)
    first, second = visit.both("hold", *arguments)
    return None if overlap(first + second) else len(first) + len(second)


def _of_refusals(visit: Visit, told: list[str]) -> str:
    """Whom a client that is refused is told to hold the lock."""
    if visit.other is None:
        return f"; who is refused is told: held by {told[-1]}" if told[-1] else ""
    more = ", which is more than is claimed" if visit.common.lock_scope == "host" else ""
    who = f"told: held by {' and by '.join(told)}" if all(told) else "not told which machine holds the lock"
    return f"{more}; who is refused is {who}"


def separate(visit: Visit) -> ProbeResult:
    """Locks of different documents have nothing to do with each other, however long their names are.

    Args:
        visit: The clients.
    """
    unfit = _no_locks(visit)
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


def wait(visit: Visit) -> ProbeResult:
    """A wait ends when its time is over, when it is cancelled, and when the lock is released.

    Args:
        visit: The clients.
    """
    unfit = _no_locks(visit)
    if unfit is not None:
        return unfit
    key = visit.key("wait.json")
    advice = "Programs may hang here; report it to the backend's author."
    visit.first.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key, visit.second)
    if unfit is not None:
        return unfit
    single = 0.0 if visit.other is not None else _single_try(visit, key)
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
    began = time.monotonic()
    released: int = visit.first.ask("release")
    granted: Waited = visit.second.answer(_LONG + _GRACE)
    known = time.monotonic() - began
    if not granted.granted:
        return failed(f"a lock that was released was not granted within {_LONG:g} s to who waited for it", advice)
    visit.second.ask("release")
    ends = "a wait ends in time and can be cancelled;"
    if visit.other is not None:
        return passed(f"{ends} that a released lock was granted was known here after {known * 1000:.0f} ms")
    handed = max(0.0, (granted.at - released) / 1e6)
    observed = f"{ends} a released lock is granted within {handed:.0f} ms"
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


def crash(visit: Visit) -> ProbeResult:
    """The process that holds the lock is killed.

    Args:
        visit: The clients.
    """
    unfit = _no_locks(visit)
    if unfit is not None:
        return unfit
    release = visit.common.lock_release
    if release != "crash":
        return not_applicable(f"the claimed lock_release is {release!r}: a dead holder's lock is not free at once")
    longest = 0.0
    for holder in range(1 if visit.other is None else 2):
        waited = _wait_after_a_crash(visit, holder)
        if isinstance(waited, ProbeResult):
            return waited
        longest = max(longest, waited)
    where = "" if visit.other is None else ", on either machine"
    observed = f"the lock was free within {max(1.0, longest * 1000):.0f} ms after its holder was killed{where}"
    if longest > _DEAD / 2:
        return warned(observed, _KEEPALIVE, lock_release="held")
    return passed(observed, lock_release="held")


def _wait_after_a_crash(visit: Visit, number: int) -> ProbeResult | float:
    """What is wrong, or how many seconds the lock of a client that was killed stays held."""
    key = visit.key("crash.json")
    holder, other = both_ways(visit)[number]
    holder.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key, other)
    if unfit is not None:
        return unfit
    program: int | None = holder.ask("begin_program") if visit.other is None else None
    try:
        visit.kill(number)
        waited: Waited = other.ask("lock", key=key, timeout=_DEAD)
    finally:
        if program is not None:
            with suppress(OSError):
                os.kill(program, signal.SIGTERM)
    held = f"a lock was still held {_DEAD:g} s after its holder was killed"
    if not waited.granted and program is not None and other.ask("lock", key=key, timeout=_DEAD).granted:
        return failed(
            f"{held}, by a program that the holder had started",
            "Report it to the backend's author: what holds the lock must not be inherited.",
            lock_release="broken",
        )
    if not waited.granted:
        return failed(held, _KEEPALIVE, lock_release="broken")
    other.ask("release")
    return waited.seconds


def fence(visit: Visit) -> ProbeResult:
    """A client loses its lock without knowing, another one takes it and writes, and the first writes under its lock.

    Args:
        visit: The clients.
    """
    unfit = _no_locks(visit)
    if unfit is not None:
        return unfit
    if not visit.common.fenced:
        return not_applicable(visit.why_not("fenced"))
    ways: list[str] = []
    for holder, other in both_ways(visit)[: 1 if visit.other is None else 2]:
        fenced = _fenced(visit, holder, other)
        if isinstance(fenced, ProbeResult):
            return fenced
        ways.append(fenced)
    how = ", ".join(dict.fromkeys(ways))
    where = "" if visit.other is None else ", on either machine"
    found = _flaw_in_the_middle_of_a_write(visit, how) if visit.other is None else None
    return found or passed(f"a client that had lost its lock ({how}) was refused{where}", fenced="held")


def _fenced(visit: Visit, holder: Client, other: Client) -> ProbeResult | str:
    """What is wrong, or how the lock was taken away from a holder that was then refused."""
    key = visit.key("fence.json")
    holder.ask("lock", key=key, timeout=_LONG)
    unfit = _no_exclusion(visit, key, other)
    if unfit is not None:
        return unfit
    holder.ask("write_locked", key=key, data=b"before")
    how = _lose(visit, holder, key)
    if how is None:
        holder.ask("release")
        return not_applicable("there is no way to take a lock away from a client here")
    found = _flaw_of_succession(visit, key, how, other)
    if found is not None:
        return found
    with suppress(LockLost):
        holder.ask("write_locked", key=key, data=b"late")
    if not _is_the_successors(key, holder, other):
        return _overwritten(f"a client that had lost its lock ({how})")
    return how


def _flaw_in_the_middle_of_a_write(visit: Visit, how: str) -> ProbeResult | None:
    key, holder, other = visit.key("fence.json"), visit.first, visit.second
    holder.ask("lock", key=key, timeout=_LONG)
    began = time.monotonic()
    holder.ask("write_locked", key=key, data=bytes(_BIG))
    duration = time.monotonic() - began
    holder.ask("begin_write_locked", key=key, data=bytes(_BIG))
    time.sleep(duration / 3)
    _lose(visit, holder, key)
    found = _flaw_of_succession(visit, key, how, other)
    if found is not None:
        return found
    holder.ask("end_write")
    if not _is_the_successors(key, holder, other):
        return _overwritten(f"a client that lost its lock in the middle of a write ({how})")
    return None


def _lose(visit: Visit, holder: Client, key: str) -> str | None:
    """Takes a client's lock away; returns how, or None if there is no way."""
    if holder.ask("cut_connections"):
        return "its connection was cut"
    if visit.bypass(0) is None and visit.first.ask("take_lock_away", key=key):
        return "its lock file was removed"
    return None


def _flaw_of_succession(visit: Visit, key: str, how: str, other: Client) -> ProbeResult | None:
    waited: Waited = other.ask("lock", key=key, timeout=_LONG)
    if not waited.granted:
        visit.renew()
        return failed(f"a lock was still held {_LONG:g} s after {how}", _KEEPALIVE, lock_release="broken")
    other.ask("write_locked", key=key, data=b"successor")
    return None


def _is_the_successors(key: str, holder: Client, other: Client) -> bool:
    found, _ = other.ask("read", key=key)
    holder.ask("release")
    other.ask("release")
    return bool(found == b"successor")


def _overwritten(who: str) -> ProbeResult:
    return failed(
        f"{who} overwrote the next holder's document",
        "Do not write under a lock for longer than it takes; report it to the backend's author.",
        fenced="broken",
    )
