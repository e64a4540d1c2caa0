"""The probes with two writers at once: conditions hold, and a read gives the last write."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from exlab_store.clients.work import number
from exlab_store.doctor.findings import ProbeResult, failed, not_applicable, passed
from exlab_store.doctor.machines.tasks import turn_locks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.doctor.machines.tasks import ReadsInTurns
    from exlab_store.doctor.visit import Visit
    from exlab_store.guarantees import Fresh

__all__ = ["fresh", "swap"]

_CREATIONS = 6
_LONG = 10.0
_CACHES = (
    "Something caches: on a cifs mount set `cache=strict` or `cache=none` and `actimeo=0`, on NFS `actimeo=0` "
    "or `noac`; on Samba `oplocks = no` and `level2 oplocks = no`; or use `smb:` instead of the mount."
)


def swap(visit: Visit) -> ProbeResult:
    """Both clients count up with compare-and-swap, and both try to be the one that makes a document.

    Args:
        visit: The clients.
    """
    if visit.common.conditional_write == "none":
        return not_applicable(visit.why_not("conditional_write"))
    confused = _confused(visit)
    if confused:
        return failed(
            confused,
            "Writers with `expect=` overwrite what they have not seen: report it to the backend's author.",
            conditional_write="broken",
        )
    advice = "Writers with `expect=` overwrite each other here: see whether the locks exclude, and do not use it."
    for creation in range(_CREATIONS):
        key = visit.key(f"create-{creation}.json")
        made = visit.both("create", {"key": key, "data": b"1"}, {"key": key, "data": b"2"})
        if sum(made) != 1 or visit.first.ask("create", key=key, data=b"3"):
            return failed(
                "more than one client made a document that must not exist"
                if sum(made)
                else "no client could make a document that did not exist",
                advice,
                conditional_write="broken",
            )
    key = visit.key("swap.json")
    first, second = visit.both("swap_up", {"key": key, "seconds": visit.seconds * 0.7})
    done, refused = first[0] + second[0], first[1] + second[1]
    stored = number(visit.first.ask("read", key=key)[0])
    if stored != done:
        return failed(
            f"of {done} writes with compare-and-swap, {done - stored} were lost", advice, conditional_write="broken"
        )
    return passed(
        f"{done} writes with compare-and-swap, none lost, {refused} refused; one of two made each new document",
        conditional_write="held",
    )


def _confused(visit: Visit) -> str:
    """Whether different documents have one version, or a write gives back another's."""
    key = visit.key("versions.json")
    # Both have the CRC-32 4ddb0c25, and the same length.
    one, other = (visit.first.ask("write", key=key, data=data) for data in (b"plumless", b"buckeroo"))
    if one == other:
        return "two different documents with one checksum have one version"
    first, second = visit.both(
        "versions_of",
        {"key": key, "data": b"plumless", "seconds": visit.seconds / 5},
        {"key": key, "data": b"buckeroo", "seconds": visit.seconds / 5},
    )
    if first & second:
        return "a write gave back the version of what the other client has written"
    return ""


def fresh(visit: Visit) -> ProbeResult:
    """Each client writes for a while, and the other reads as soon as that is acknowledged; under the lock, if need be.

    Each reads as its own place claims to give the last write: where that is claimed under the lock alone, under it.

    Args:
        visit: The clients.
    """
    key = visit.key("fresh.json")
    clients = visit.first, visit.second
    claims: list[Fresh] = [opened.guarantees.fresh for opened in visit.opened]
    rounds, stale, longest = 0, [0, 0], 0.0
    end = time.monotonic() + visit.seconds / 2
    while max(stale) < 5 and (rounds < 16 or (time.monotonic() < end and rounds < 400)):
        # Several writes of one, so that the other reads again what it has read before and not written since.
        reading = 0 if rounds // 4 % 2 else 1
        writer, reader = clients[1 - reading], clients[reading]
        text = str(rounds).encode()
        writer.ask("write", key=key, data=text)
        began = time.monotonic()
        locks = claims[reading] == "locked"
        if locks:
            reader.ask("lock", key=key, timeout=10)
        found = reader.ask("read", key=key)[0]
        if locks:
            reader.ask("release")
        if found != text:
            stale[reading] += 1
            longest = longest or _until(visit, key, text, began)
        rounds += 1
    if any(stale):
        age = (
            f"the first for {longest:.1f} s" if longest < visit.seconds + 1 else "the first for longer than was waited"
        )
        observed = f"{sum(stale)} of {rounds} reads gave an older document than the last acknowledged write, {age}"
        return _stale(observed, stale)
    under = " under the lock" if set(claims) == {"locked"} else ", some under the lock," if "locked" in claims else ""
    observed = f"{rounds} of {rounds} reads{under} gave what the other client had just written"
    if visit.other is None or visit.common.lock_scope in {"none", "process"}:
        return passed(observed, fresh="held")
    # A message between two machines takes a while, in which a cache may have noticed; a lock that is granted does not.
    return _fresh_in_turns(visit, observed, claims)


def _stale(observed: str, stale: list[int]) -> ProbeResult:
    """Whose claim it breaks: that of the client that read, which need not be the one with the cache."""
    of_one = None if all(stale) else stale.index(max(stale))
    return ProbeResult("fail", observed, _CACHES, {"fresh": "broken"}, client=of_one)


def _fresh_in_turns(visit: Visit, observed: str, claims: Sequence[Fresh]) -> ProbeResult:
    rounds = max(8, min(200, int(visit.seconds * 40)))
    turn = visit.key("turn")
    arguments: dict[str, Any] = {"turn": turn, "key": visit.key("turns.json"), "rounds": rounds}
    of_writer, of_reader, _ = turn_locks(turn)
    stale, seconds = [0, 0], 0.0
    clients = visit.first, visit.second
    for reading in (1, 0):
        writer, reader = clients[1 - reading], clients[reading]
        writer.ask("lock", key=of_writer, timeout=_LONG)
        reader.ask("lock", key=of_reader, timeout=_LONG)
        writer.send("write_in_turns", **arguments)
        reader.send("read_in_turns", **arguments)
        if reader is visit.second:  # see Visit.both
            turns: ReadsInTurns = reader.answer()
            writer.answer()
        else:
            writer.answer()
            turns = reader.answer()
        stale[reading], seconds = turns.stale, seconds or turns.seconds
    if any(stale):
        observed = (
            f"{sum(stale)} of {2 * rounds} reads right after the other machine's write gave an older document, the "
            f"first for {seconds:.1f} s"
        )
        # These reads take no lock.
        broken = [number if claim == "always" else 0 for number, claim in zip(stale, claims, strict=True)]
        return _stale(observed, broken) if any(broken) else failed(observed, _CACHES, fresh="held")
    return passed(
        f"{observed}, and so did {2 * rounds} of {2 * rounds} right after that was acknowledged", fresh="held"
    )


def _until(visit: Visit, key: str, text: bytes, began: float) -> float:
    """Seconds until both clients see the text; about as long as this waits, if they do not."""
    while time.monotonic() - began < visit.seconds + 1:
        if all(client.ask("read", key=key)[0] == text for client in (visit.first, visit.second)):
            break
        time.sleep(0.02)
    return time.monotonic() - began
