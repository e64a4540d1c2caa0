"""Code of a backend. A line that ends with "# refused" must not type-check; every other line must."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from exlab_store import Backend
from exlab_store.backend import Guarantees, Snapshot, Version, ensure_expected, hookimpl, version_of

if TYPE_CHECKING:
    from exlab_store.backend import Expectation, HeldLock


class InMemory:
    guarantees = Guarantees(atomic_replace=True)

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return Snapshot(self.documents[key])

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        found = self.documents.get(key)
        ensure_expected(expect, None if found is None else version_of(found))
        self.documents[key] = data
        return assert_type(version_of(data), Version)

    def close(self) -> None:
        self.documents.clear()


class WithoutClose:
    guarantees = Guarantees(atomic_replace=True)


def offers() -> None:
    complete: Backend = InMemory()
    del complete
    incomplete: Backend = WithoutClose()  # refused
    del incomplete
    Guarantees(atomic_replace="yes")  # refused
    Guarantees(conditional_write="sometimes")  # refused
    Snapshot("{}")  # refused
    version_of("{}")  # refused
    ensure_expected(None, None)  # refused
