"""The kit over every broken backend and over the sound one; ``test_conformance_broken.py`` runs what it needs of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from broken_watches import FLAWS_OF_WATCHES
from every_broken_backend import BACKENDS
from files_harness import FilesHarness
from reference_files import CUTS

from exlab_store.testing import BackendConformance

if TYPE_CHECKING:
    from exlab_store import Backend

_PASSWORD = "correct horse"


class FlawedHarness(FilesHarness):
    patience = 5.0

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        if name in FLAWS_OF_WATCHES:  # most are found out by waiting in vain
            self.patience = 2.0
        self.root = self.local_root = root
        self.location = f"flawed://somebody:correct%20horse@{name}{root}"

    def open(self) -> Backend:
        return BACKENDS[self.name](str(self.root), _PASSWORD)

    def cut(self) -> None:
        with open(self.root / CUTS, "ab") as file:
            file.write(b".")


def _over(flaw: str) -> type[BackendConformance]:
    class Over(BackendConformance):
        @pytest.fixture
        def harness(self, tmp_path: Path) -> FlawedHarness:
            root = tmp_path / "store"
            root.mkdir()
            return FlawedHarness(flaw, root)

    return Over


def class_name(flaw: str) -> str:
    return "Test" + flaw.title().replace("-", "")


globals().update({class_name(flaw): _over(flaw) for flaw in BACKENDS})
