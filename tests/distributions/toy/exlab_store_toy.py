"""The least a third party can write: three hooks around a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exlab_store import (
    DocumentNotFound,
    Expectation,
    Guarantees,
    HeldLock,
    Location,
    LockOwner,
    NotSupported,
    Snapshot,
    Version,
    hookimpl,
    version_of,
)


class ToyBackend:
    guarantees = Guarantees(atomic_replace=True)

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    def close(self) -> None:
        self.documents.clear()

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        try:
            return Snapshot(self.documents[key])
        except KeyError:
            raise DocumentNotFound("there is no such toy") from None

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.documents[key] = data
        return version_of(data)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        raise NotSupported("toys are shared without locks")


def open_backend(location: Location, options: Mapping[str, object]) -> ToyBackend:
    return ToyBackend()
