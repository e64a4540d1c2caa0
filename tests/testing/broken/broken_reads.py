"""Backends whose reads or versions are each wrong in one way, and the test of the kit that must notice."""

from __future__ import annotations

import os
import zlib
from typing import ClassVar

import msgspec
from flaws import flaw
from reference_files import FileBackend

from exlab_store import (
    DocumentNotFound,
    Expectation,
    HeldLock,
    Snapshot,
    Version,
    hookimpl,
    version_of,
)


@flaw("stale-read", caught_by="test_a_second_client_sees_a_write_at_once")
class CachesReads(FileBackend):
    """What was read once is served again, whatever others have written since."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.cache: dict[str, Snapshot] = {}

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return self.cache.setdefault(key, Snapshot(self.bytes_of(key)))

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.cache.pop(key, None)
        return super().atomic_write(key, data, expect, lock)


@flaw("stale-read-at-times", caught_by="test_the_history_of_threads_has_an_order")
class ReadsAnOldReplica(FileBackend):
    """Now and then a reader is served by a replica that has not heard of the last write."""

    def __init__(self, root: str, password: str | None = None) -> None:
        super().__init__(root, password)
        self.before: dict[str, Snapshot] = {}
        self.reads = 0

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        self.reads += 1
        if self.reads % 7 == 0 and key in self.before:
            return self.before[key]
        self.before[key] = Snapshot(self.bytes_of(key))
        return self.before[key]


@flaw("stale-read-of-a-process", caught_by="test_another_process_sees_a_write_at_once_and_is_seen")
class CachesReadsOfAProcess(FileBackend):
    """The clients of one process have one cache, which is told of their own writes and of nobody else's."""

    cache: ClassVar[dict[str, Snapshot]] = {}

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        path = self.path(key)
        if path not in self.cache:
            self.cache[path] = Snapshot(self.bytes_of(key))
        return self.cache[path]

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.cache.pop(self.path(key), None)
        version = super().atomic_write(key, data, expect, lock)
        self.cache.pop(self.path(key), None)
        return version


@flaw("stale-read-under-the-lock", caught_by="test_a_second_client_sees_a_write_at_once")
class CachesReadsUnderTheLock(CachesReads):
    """It claims the last write for reads under the lock alone, and does not look there either."""

    guarantees = msgspec.structs.replace(FileBackend.guarantees, fresh="locked")


@flaw("version-from-mtime", caught_by="test_equal_bytes_have_equal_versions")
class VersionsByTime(FileBackend):
    """Equal documents have different versions, and two writes in one tick have the same."""

    def version(self, key: str, data: bytes) -> Version:
        try:
            return Version(str(os.stat(self.path(key)).st_mtime_ns))
        except FileNotFoundError:
            raise DocumentNotFound("there is no such document") from None

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return Snapshot(self.bytes_of(key), self.version(key, b""))


@flaw("version-of-what-is-there", caught_by="test_a_write_returns_the_version_of_its_own_bytes")
class ReadsTheVersionBack(FileBackend):
    """What it finds after the write may be the next writer's."""

    def version(self, key: str, data: bytes) -> Version:
        return version_of(self.bytes_of(key))


@flaw("version-from-a-checksum", caught_by="test_bytes_with_one_checksum_have_versions_of_their_own")
class VersionsByChecksum(FileBackend):
    """Two documents with one CRC-32 are the same to it."""

    def version(self, key: str, data: bytes) -> Version:
        return Version(f"{zlib.crc32(data):08x}")

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        data = self.bytes_of(key)
        return Snapshot(data, self.version(key, data))
