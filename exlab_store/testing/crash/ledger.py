"""The ledger of writers, outside the disk that loses power: their beginnings and their acknowledgements.

Each line says at which position of the disk's log it was noted. After a cut at some position the disk has to hold,
of each document, a whole state: the last one that was acknowledged by then, or one that was begun after that.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from exlab_store.testing.crash.block_log import position_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from exlab_store.testing.crash.block_log import BlockLog

__all__ = ["Ledger", "Loss", "Notes", "stamp_of", "stamped"]


def stamped(name: str, sequence: int, size: int = 10_000) -> bytes:
    """A document that says which write it is of, and shows whether it is whole.

    Args:
        name: The document's key.
        sequence: The number of the write.
        size: Bytes, about: several blocks, so that a torn document can be told.

    Returns:
        A head with a checksum, and a body of which no two blocks are alike.
    """
    head = f"{name} {sequence} "
    body = "".join(f"{sequence}:{line};" for line in range(size // (len(str(sequence)) + 6)))
    return f"{hashlib.sha256((head + body).encode()).hexdigest()} {head}{body}".encode()


def stamp_of(name: str, data: bytes) -> int | None:
    """Which write a document is of.

    Args:
        name: The document's key.
        data: What was found.

    Returns:
        The number of the write; None for a torn document.
    """
    checksum, _, rest = data.partition(b" ")
    if hashlib.sha256(rest).hexdigest().encode() != checksum:
        return None
    found, _, rest = rest.partition(b" ")
    return int(rest.partition(b" ")[0]) if found == name.encode() else None


class Ledger:
    """Takes notes for a writer.

    Args:
        path: The notes; several processes may write them.
        log: The disk's log.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self._log = log
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def begin(self, name: str, sequence: int, *, present: bool = True) -> None:
        """Notes, before the operation, what it is going to do.

        Args:
            name: The document's key.
            sequence: The number of this state of the document; each is higher than those before it.
            present: False for a deletion.
        """
        self._note(name, sequence, acknowledged=False, present=present)

    def acknowledge(self, name: str, sequence: int) -> None:
        """Notes that the operation has returned.

        Args:
            name: The document's key.
            sequence: As in `begin`.
        """
        self._note(name, sequence, acknowledged=True, present=True)

    def close(self) -> None:
        """Closes the notes."""
        os.close(self._descriptor)

    def _note(self, name: str, sequence: int, *, acknowledged: bool, present: bool) -> None:
        line = json.dumps([name, sequence, acknowledged, present, position_of(self._log)]) + "\n"
        os.write(self._descriptor, line.encode())


class Loss(NamedTuple):
    """A broken promise.

    Attributes:
        name: The document.
        kind: ``torn``, ``lost`` (an acknowledged state is gone), or ``early`` (there before it was begun).
        expected: The last state that was acknowledged.
        found: The state that was found; None for a torn document, 0 for none.
    """

    name: str
    kind: str
    expected: int
    found: int | None


class _State(NamedTuple):
    sequence: int
    begun: int
    present: bool


class Notes:
    """The notes of all writers, read when they have ended.

    Args:
        path: The notes.
        log: The disk's log.
    """

    def __init__(self, path: Path, log: BlockLog) -> None:
        # In numbers of entries that the disk had seen.
        self._states: dict[str, list[_State]] = {}
        self._acknowledged: dict[str, list[tuple[int, int]]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            name, sequence, acknowledged, present, position = json.loads(line)
            seen = log.seen(position)
            if acknowledged:
                self._acknowledged.setdefault(name, []).append((seen, sequence))
            else:
                self._states.setdefault(name, []).append(_State(sequence, seen, present))

    @property
    def names(self) -> list[str]:
        """The documents."""
        return list(self._states)

    @property
    def acknowledgements(self) -> int:
        """How many operations were acknowledged."""
        return sum(map(len, self._acknowledged.values()))

    @property
    def last_acknowledgement(self) -> int:
        """How many entries the disk had seen when the last operation was acknowledged."""
        return max((seen for pairs in self._acknowledged.values() for seen, _ in pairs), default=0)

    def losses(self, seen: int, found: Mapping[str, bytes | None]) -> list[Loss]:
        """Which promises a disk breaks.

        Args:
            seen: How many entries the disk had seen when the power was cut.
            found: The bytes of each document, None for one that is not there.
        """
        return [loss for name in self._states if (loss := self._loss(name, seen, found.get(name))) is not None]

    def _loss(self, name: str, seen: int, data: bytes | None) -> Loss | None:
        expected = max((number for at, number in self._acknowledged.get(name, ()) if at <= seen), default=0)
        states = [state for state in self._states[name] if state.begun < seen]
        if data is None:
            absent = [0, *(state.sequence for state in states if not state.present)]
            return None if max(absent) >= expected else Loss(name, "lost", expected, 0)
        found = stamp_of(name, data)
        if found is None:
            return Loss(name, "torn", expected, None)
        if found < expected:
            return Loss(name, "lost", expected, found)
        if not any(state.sequence == found and state.present for state in states):
            return Loss(name, "early", expected, found)
        return None
