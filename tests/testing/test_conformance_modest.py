"""The conformance kit over backends that claim little: what they do not claim is refused, and nothing is skipped."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

from exlab_store import (
    DocumentNotFound,
    Expectation,
    Guarantees,
    HeldLock,
    LockOwner,
    NotSupported,
    Snapshot,
    Version,
    hookimpl,
    version_of,
)
from exlab_store.testing import BackendConformance, Harness


class Shelf:
    """Whole documents, and nothing else."""

    guarantees = Guarantees(atomic_replace=True)

    def __init__(self, documents: dict[str, bytes]) -> None:
        self.documents = documents

    def close(self) -> None:
        pass

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        try:
            return Snapshot(self.documents[key])
        except KeyError:
            raise DocumentNotFound("there is no such document") from None

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.documents[key] = data
        return version_of(data)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        raise NotSupported("documents on the shelf are shared without locks")


class ShelfHarness(Harness):
    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    def open(self) -> Shelf:
        return Shelf(self.documents)


class TestShelf(BackendConformance):
    @pytest.fixture
    def harness(self) -> ShelfHarness:
        return ShelfHarness()


class LockedMemory(MemoryBackend):
    """Locks, and with them conditions that the core keeps; neither fenced nor listed nor deleted."""

    guarantees = msgspec.structs.replace(
        MemoryBackend.guarantees,
        conditional_write="locked",
        fenced=False,
        lists=False,
        watch="none",
        deletes=False,
        lock_release="explicit",
    )

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        raise NotSupported("the documents are not listed")

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        raise NotSupported("documents stay")


class LockedHarness(Harness):
    def __init__(self) -> None:
        self._memory = Memory()

    def open(self) -> LockedMemory:
        return LockedMemory(self._memory)


class TestLockedMemory(BackendConformance):
    @pytest.fixture
    def harness(self) -> LockedHarness:
        return LockedHarness()
