"""The conformance kit over the backend of local file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from exlab_store_posix import PosixBackend

from exlab_store import lock_key
from exlab_store.testing import BackendConformance, Harness


class PosixHarness(Harness):
    def __init__(self, root: Path) -> None:
        self.location = root.as_uri()
        self.local_root = root

    @property
    def root(self) -> Path:
        assert self.local_root is not None
        return self.local_root

    def open(self) -> PosixBackend:
        return PosixBackend(str(self.root))

    def raw_read(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError:
            return None

    def raw_write(self, key: str, data: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(data)

    def raw_list(self) -> list[str]:
        return [
            os.path.relpath(os.path.join(folder, name), self.root)
            for folder, _, names in os.walk(self.root)
            for name in names
        ]

    def break_lock(self, key: str) -> None:
        (self.root / lock_key(key)).unlink()


class TestPosix(BackendConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> PosixHarness:
        root = tmp_path / "store"
        root.mkdir()
        return PosixHarness(root)
