"""A client process that writes under the lock that it holds."""

from __future__ import annotations

from exlab_store.testing.conformance.clients import KitRequests


class HoldingRequests(KitRequests):
    def write_held(self, key: str, data: bytes) -> None:
        self.store.atomic_write(key, data, lock=self._lock)
