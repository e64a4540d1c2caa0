"""The work of a client while another machine's client does the same; no clock of the two is compared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from exlab_store.clients.work import rounds
from exlab_store.errors import DocumentNotFound

if TYPE_CHECKING:
    from exlab_store.locks.held import StoreLock
    from exlab_store.store import Store

__all__ = ["ReadsInTurns", "occupy", "read_in_turns", "turn_locks", "write_in_turns"]

_LET_IN = 0.005
_OLD = 3.0
_WAIT = 10.0


class ReadsInTurns(msgspec.Struct, frozen=True):
    """What a reader saw that had its turns from a writer.

    Attributes:
        stale: How many reads gave an older document than the last write.
        seconds: After how long the first of them gave it; about as long as this waits, if it did not.
    """

    stale: int
    seconds: float


def turn_locks(turn: str) -> tuple[str, str, str]:
    """The three documents by whose locks a writer and a reader let each other have their turns.

    Args:
        turn: What their names begin with.
    """
    return f"{turn}-0", f"{turn}-1", f"{turn}-2"


def write_in_turns(store: Store, held: StoreLock, turn: str, key: str, rounds: int) -> None:
    """Writes the number of the round, and lets the reader have its turn; see `read_in_turns`.

    Args:
        store: The client's store.
        held: The first of the three locks.
        turn: What the names of the documents begin with by whose locks turns are given.
        key: The document that is written.
        rounds: The number of rounds.
    """
    turns = turn_locks(turn)
    next_held = store.lock(turns[2], timeout=_WAIT, purpose="doctor")
    for number in range(rounds):
        store.atomic_write(key, str(number).encode())
        held.release()
        held, next_held = next_held, store.lock(turns[(1 + 2 * number) % 3], timeout=_WAIT, purpose="doctor")
    held.release()
    next_held.release()


def read_in_turns(store: Store, held: StoreLock, turn: str, key: str, rounds: int) -> ReadsInTurns:
    """Reads, without the lock of what it reads, as soon as the writer has let it have its turn.

    Of three locks, the writer holds two and the reader one, and each waits for one that the other holds. The writer
    releases it after its write was acknowledged, and the reader the other way after its read. (With two locks, one side
    could take the lock again that it has just released.) So a read begins within milliseconds after the write, and both
    count the rounds. No clock, and no message that may itself be late, has to be believed.

    Args:
        store: The client's store.
        held: The second of the three locks.
        turn: As for `write_in_turns`.
        key: The document that is read.
        rounds: The number of rounds.
    """
    turns = turn_locks(turn)
    stale = 0
    seconds = 0.0
    for number in range(rounds):
        next_held = store.lock(turns[2 * number % 3], timeout=_WAIT, purpose="doctor")
        if not _is_read(store, key, number):
            stale += 1
            seconds = seconds or _until_read(store, key, number)
        held.release()
        held = next_held
    held.release()
    return ReadsInTurns(stale, seconds)


def _is_read(store: Store, key: str, number: int) -> bool:
    try:
        return store.read_snapshot(key).data == str(number).encode()
    except DocumentNotFound:
        return False


def _until_read(store: Store, key: str, number: int) -> float:
    began = time.monotonic()
    while time.monotonic() < began + _OLD and not _is_read(store, key, number):
        time.sleep(_LET_IN)
    return time.monotonic() - began


def occupy(store: Store, key: str, client: str, seconds: float) -> tuple[int, int]:
    """Writes its name under the lock, again and again, and looks whether another name stands there before it releases.

    Args:
        store: The client's store.
        key: The document.
        client: The name.
        seconds: For how long.

    Returns:
        How often the lock was held, and how often another client wrote meanwhile.
    """
    held = entered = 0
    for _ in rounds(seconds, 3):
        with store.lock(key, timeout=_WAIT, purpose="doctor"):
            store.atomic_write(key, client.encode())
            time.sleep(_LET_IN)
            entered += store.read_snapshot(key).data != client.encode()
        held += 1
        time.sleep(_LET_IN)
    return held, entered
