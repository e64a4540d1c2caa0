"""Evidence of several clients that use one document: sealed documents, and notes of the holders of a lock.

A sealed document shows whether it is whole. The doctor and the conformance kit judge a store by this evidence.
"""

from __future__ import annotations

import hashlib

import msgspec

__all__ = ["Hold", "is_whole", "overlap", "sealed"]


class Hold(msgspec.Struct, frozen=True, order=True):
    """From when to when a client held a lock, by the clock that all processes of a machine share.

    Attributes:
        began: Right after the lock was had, `time.monotonic_ns`.
        ended: Right before it was released.
        client: The holder's name.
    """

    began: int
    ended: int
    client: str


def overlap(holds: list[Hold]) -> tuple[Hold, Hold] | None:
    """Two holds of which the second began before the first had ended; None if there are none.

    Args:
        holds: Those of all clients.
    """
    latest: Hold | None = None
    for each in sorted(holds):
        if latest is not None and each.began < latest.ended:
            return latest, each
        latest = each
    return None


def sealed(client: str, number: int, size: int) -> bytes:
    """A document that tells whether it is whole; its length and bytes differ from those of its neighbours.

    Args:
        client: Who writes it.
        number: Which of the client's documents it is.
        size: Bytes of the smallest, roughly; others have up to three times as many.
    """
    label = f"{client} {number} ".encode()
    body = label * (1 + size * (1 + number % 3) // len(label))
    return hashlib.sha256(body).digest() + body


def is_whole(data: bytes) -> bool:
    """Whether a document is one that `sealed` made.

    Args:
        data: The document.
    """
    return hashlib.sha256(data[32:]).digest() == data[:32]
