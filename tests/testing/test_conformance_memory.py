"""The conformance kit over the backend in memory."""

from __future__ import annotations

import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

from exlab_store import is_key
from exlab_store.testing import BackendConformance, Harness


class MemoryHarness(Harness):
    def __init__(self) -> None:
        self._memory = Memory()

    def open(self) -> MemoryBackend:
        return MemoryBackend(self._memory)

    def raw_read(self, key: str) -> bytes | None:
        return self._memory.documents.get(key)

    def raw_write(self, key: str, data: bytes) -> None:
        if not is_key(key):
            raise NotImplementedError  # a memory holds what its clients wrote, and those write under keys
        with self._memory.guard:
            self._memory.documents[key] = data
            self._memory.note(key)

    def raw_list(self) -> list[str]:
        return [*self._memory.documents, *(f"{place}.lock" for place in self._memory.locks)]


class TestMemory(BackendConformance):
    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()


class FolderHarness(Harness):
    """A folder of a shared memory, which only other clients can look into."""

    def __init__(self) -> None:
        self._memory = Memory()

    def open(self) -> MemoryBackend:
        return MemoryBackend(self._memory, "a/folder/")


class TestMemoryFolder(BackendConformance):
    @pytest.fixture
    def harness(self) -> FolderHarness:
        return FolderHarness()
