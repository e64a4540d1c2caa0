"""The kit's client processes: each opens the harness's location on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store.clients import work
from exlab_store.clients.process import ClientProcess
from exlab_store.clients.requests import StoreRequests, on_store
from exlab_store.testing.conformance.work import BODY, operate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store.clients.witness import Hold
    from exlab_store.locks.held import StoreLock
    from exlab_store.testing.conformance.harness import Harness

__all__ = ["KitRequests", "start_client"]

_PATIENCE = 60.0


class KitRequests(StoreRequests):
    """What a client process of the kit can be asked for; each public method is a request."""

    def __init__(self) -> None:
        super().__init__()
        self._lock: StoreLock | None = None

    def lock(self, key: str, timeout: float) -> str:
        """Takes a lock and keeps it; returns its owner's identifier."""
        self._lock = self.store.lock(key, timeout=timeout, purpose="conformance")
        return self._lock.owner.id

    def release(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.release()

    def update(self, key: str, data: bytes) -> str:
        """Updates, whatever is there."""
        return self.store.update(key, lambda _: data)

    def hold(self, key: str, client: str, times: int) -> list[Hold]:
        """See `work.hold`."""
        return work.hold(self.store, key, client, 0, times)

    def write_sealed(self, key: str, client: str, times: int) -> int:
        """See `work.write_sealed`."""
        return work.write_sealed(self.store, key, client, 0, times, BODY)

    def count_up(self, key: str, times: int) -> int:
        """See `work.count_up`."""
        return work.count_up(self.store, key, 0, times)

    def swap_up(self, key: str, times: int) -> tuple[int, int]:
        """See `work.swap_up`."""
        return work.swap_up(self.store, key, 0, times, _PATIENCE)

    operate = on_store(operate)


def start_client(harness: Harness, *, pid: int | None = None, under: Sequence[str] = ()) -> ClientProcess:
    """Starts a client, whose complaints go to the standard error of the tests.

    Args:
        harness: A harness with a location.
        pid: As for `ClientProcess.open`.
        under: As for `ClientProcess`; what runs under another program has three times as long.
    """
    patience = harness.patience * (3 if under else 1)
    client = ClientProcess(KitRequests, patience, farewell=patience, under=under, complaints=None)
    return client.open(str(harness.location), harness.options, pid=pid)
