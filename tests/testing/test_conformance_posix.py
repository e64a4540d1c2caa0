"""The conformance kit over the backend of local file systems."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from exlab_store_posix import PosixBackend
from files_harness import FilesHarness

from exlab_store.testing import BackendConformance


class PosixHarness(FilesHarness):
    def __init__(self, root: Path) -> None:
        self.location = root.as_uri()
        # The form in which Windows takes paths of any length.
        self.root = self.local_root = Path(f"\\\\?\\{root}") if sys.platform == "win32" else root

    def open(self) -> PosixBackend:
        return PosixBackend(str(self.root))


class TestPosix(BackendConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> PosixHarness:
        root = tmp_path / "store"
        root.mkdir()
        return PosixHarness(root)
