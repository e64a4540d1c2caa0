"""The requests of a client process for an examination of two machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.clients.requests import on_store
from exlab_store.doctor.lock_requests import LockRequests
from exlab_store.doctor.machines import tasks
from exlab_store.doctor.machines.inbox import Inbox
from exlab_store.errors import DocumentNotFound, NotSupported

if TYPE_CHECKING:
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Version

__all__ = ["MachineRequests"]


class MachineRequests(LockRequests):
    """Each public method is a request."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox = Inbox()

    occupy = on_store(tasks.occupy)

    def write_in_turns(self, turn: str, key: str, rounds: int) -> None:
        """See `tasks.write_in_turns`; the first lock has been taken."""
        tasks.write_in_turns(self.store, self._locked(), turn, key, rounds)

    def read_in_turns(self, turn: str, key: str, rounds: int) -> tasks.ReadsInTurns:
        """See `tasks.read_in_turns`; the second lock has been taken."""
        return tasks.read_in_turns(self.store, self._locked(), turn, key, rounds)

    def _locked(self) -> StoreLock:
        if self._lock is None:
            raise NotSupported("no lock has been taken")
        return self._lock

    # Documents that two machines write to each other.

    def write_beside(self, key: str, data: bytes, beside: str | None) -> bool:
        """Writes, if a document that is named is there; else False: its folder was removed, and would be made again."""
        if beside is not None:
            try:
                self.store.read_snapshot(beside)  # within the bound that the inbox has set: it has read it before
            except DocumentNotFound:
                return False
        self.store.atomic_write(key, data)
        return True

    def await_change(self, key: str, known: Version | None, seconds: float) -> bytes | None:
        """A document as soon as it is another one than is known: None if it is not, no bytes if it was removed."""
        return self._inbox.await_change(self.store, key, known, seconds)

    def forget(self) -> None:
        """Has nothing of the documents open any more."""
        self._inbox.close()
