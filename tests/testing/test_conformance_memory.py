"""The conformance kit over the backend in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

from exlab_store import is_key
from exlab_store.testing import BackendConformance, Harness

P = ParamSpec("P")
R = TypeVar("R")


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


def _watched(call: Callable[P, R]) -> Callable[P, R]:
    """The call, which fails in the thread of pytest: one that hangs there would stop every other test."""

    @wraps(call)
    def in_another_thread(*args: P.args, **kwargs: P.kwargs) -> R:
        assert threading.current_thread() is not threading.main_thread(), f"{call.__name__} is called unwatched"
        return call(*args, **kwargs)

    return in_another_thread


class WatchedMemory(MemoryBackend):
    """Every call of it must come from a part of the kit that its watch runs."""


for _name, _call in vars(MemoryBackend).items():
    if callable(_call) and not _name.startswith("_"):
        setattr(WatchedMemory, _name, _watched(_call))


class FolderHarness(Harness):
    """A folder of a shared memory, which only other clients can look into, and only where the kit cannot hang."""

    def __init__(self) -> None:
        self._memory = Memory()

    @_watched
    def open(self) -> MemoryBackend:
        return WatchedMemory(self._memory, "a/folder/")


class TestMemoryFolder(BackendConformance):
    @pytest.fixture
    def harness(self) -> FolderHarness:
        return FolderHarness()
