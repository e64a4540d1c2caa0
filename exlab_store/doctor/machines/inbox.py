"""A document that another machine replaces, and this one waits for."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store.doctor.machines.memory import bound_memory
from exlab_store.doctor.machines.messages import LIMIT
from exlab_store.errors import DocumentNotFound, StoreError
from exlab_store.model import version_of

if TYPE_CHECKING:
    from exlab_store.locks.held import StoreLock
    from exlab_store.model import Version
    from exlab_store.store import Store

__all__ = ["Inbox"]

_FIRST_POLL = 0.01
_LONGEST_POLL = 0.25
_MISSES = 5  # a storage that does not replace files in one step has moments without one


class Inbox:
    """Where the other machine's documents are found.

    The lock of the document is held meanwhile, where the storage has locks: a mount gives a fresh document under the
    lock, and may give a cached one without. The other machine writes without the lock.
    """

    def __init__(self) -> None:
        self._lock: StoreLock | None = None
        self._tried = False
        self._bounded = False

    def await_change(self, store: Store, key: str, known: Version | None, seconds: float) -> bytes | None:
        """The document as soon as it is another one than is known.

        Args:
            store: The client's store.
            key: The document.
            known: The version that is known; None for none.
            seconds: How long to wait.

        Returns:
            It; None if it does not change or is too long for a message, and no bytes if it was known and is there no
            more.

        Raises:
            StoreError: It cannot be read, or is larger than anything that this process may read.
        """
        if not self._bounded:
            self._bounded = True
            bound_memory()
        end = time.monotonic() + seconds
        pause = _FIRST_POLL
        missed = 0
        while True:
            try:
                data = store.read_snapshot(key).data
            except DocumentNotFound:
                missed += 1
                if known is not None and missed >= _MISSES:
                    return b""
            else:
                missed = 0
                self._take(store, key)
                if 0 < len(data) <= LIMIT and version_of(data) != known:
                    return data
            left = end - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_POLL)

    def close(self) -> None:
        """Releases the lock."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def _take(self, store: Store, key: str) -> None:
        """Once, and only beside a document that is there: a lock makes its folder."""
        if self._tried or store.guarantees.lock_scope in {"none", "process"}:
            return
        self._tried = True
        with suppress(StoreError):
            self._lock = store.lock(key, timeout=0, purpose="doctor")
