"""The probes of reach, speed and exactness: a location is reached, written and read, byte for byte."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from exlab_store.doctor.findings import Latencies, ProbeResult, failed, passed, warned
from exlab_store.errors import AccessDenied, DocumentNotFound, LocationError, StorageFull

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit

__all__ = ["exact", "reach"]

# A person who waits notices these.
_SLOW_READ = 200.0
_SLOW_WRITE = 1000.0


def reach(visit: Visit) -> ProbeResult:
    """Writes, reads and locks, with one client after the other, and measures how long that takes.

    Args:
        visit: The clients.

    Returns:
        What was seen, with the latencies.

    Raises:
        LocationError: Processes cannot share the place.
    """
    key, content = visit.key("reach.json"), secrets.token_bytes(16)
    try:
        visit.first.ask("write", key=key, data=content)
    except (AccessDenied, StorageFull) as error:
        visit.writable = False
        advice = (
            "Free some room, or raise the quota of the account."
            if isinstance(error, StorageFull)
            else "Give the account the right to write into the folder: on Samba `read only = no` or the account in "
            "`write list`, and the permissions of the folder itself."
        )
        return failed(f"it was opened, and a write was refused: {error.message}", advice)
    try:
        found, _ = visit.second.ask("read", key=key)
    except DocumentNotFound:
        opened = visit.first.opened
        if opened.guarantees.lock_scope in {"none", "process"}:
            raise LocationError(
                "processes cannot share this store, so there is nothing to examine",
                location=opened.location,
                hint="Give a location that several processes reach, such as a directory.",
            ) from None
        found = None
    if found != content:
        return failed(
            "what one client has written, another does not find",
            "Look for a cache or a replica between the clients and the storage.",
        )
    locks = visit.first.opened.guarantees.lock_scope != "none"
    measured: tuple[Latencies, ...] = visit.first.ask(
        "time_operations", key=key, data=b"x" * 2000, seconds=visit.seconds / 2, locks=locks
    )
    text = ", ".join(f"{each.operation} {duration(each.median)}" for each in measured)
    slow = [each for each in measured if each.median > (_SLOW_READ if each.operation == "read" else _SLOW_WRITE)]
    observed = f"two clients read and write there; medians: {text}"
    observation = (
        warned(observed, "Look at the network between here and the storage, and at the load of the server.")
        if slow
        else passed(observed)
    )
    return msgspec.structs.replace(observation, latencies=measured)


def exact(visit: Visit) -> ProbeResult:
    """Writes documents of every kind of byte and length, and reads them with the other client.

    Args:
        visit: The clients.
    """
    kinds = {
        "an empty document": b"",
        "all bytes": bytes(range(256)),
        "line ends": b"one\r\ntwo\nthree\r\r\n",
        "1 MiB": secrets.token_bytes(1 << 20),
    }
    key = visit.key("exact.bin")
    for name, data in kinds.items():
        version = visit.first.ask("write", key=key, data=data)
        found, its_version = visit.second.ask("read", key=key)
        if found != data:
            return failed(f"{name} came back changed: {len(data)} bytes as {len(found)}", "Do not use this place.")
        again = visit.second.ask("write", key=key, data=data)
        if len({version, its_version, again}) > 1:
            return warned(
                "equal documents have different versions",
                "Writers with `expect=` will see conflicts where nothing has changed; report it to the backend's "
                "author.",
            )
    return passed(f"{len(kinds)} kinds of documents, up to 1 MiB, came back byte for byte, with equal versions")


def duration(milliseconds: float) -> str:
    """A duration for people.

    Args:
        milliseconds: The duration.
    """
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} us"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds / 1000:.1f} s"
