"""The sound backend, but one of its calls never returns: the kit over each of them ends, and names the call."""

from __future__ import annotations

import threading
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from kit_over_broken import FlawedHarness, class_name
from reference_files import FileBackend, FlockLock

from exlab_store.testing import BackendConformance

OF_THE_BACKEND = ["read_snapshot", "atomic_write", "lock", "lock_and_read", "list_keys", "delete", "close"]
OF_THE_LOCK = ["release", "ensure_held"]
CALLS = [*OF_THE_BACKEND, *OF_THE_LOCK]


class HangingHarness(FlawedHarness):
    patience = 0.5
    lease = 0.5


def _without_end(call: Any) -> Any:
    @wraps(call)
    def hangs(*_: object, **__: object) -> None:
        threading.Event().wait()

    return hangs


def _over(call: str) -> type[BackendConformance]:
    class Over(BackendConformance):
        @pytest.fixture
        def harness(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HangingHarness:
            owner = FileBackend if call in OF_THE_BACKEND else FlockLock
            monkeypatch.setattr(owner, call, _without_end(getattr(owner, call)))
            root = tmp_path / "store"
            root.mkdir()
            return HangingHarness("sound", root)

    return Over


def hanging_class_name(call: str) -> str:
    return class_name(f"hangs-in-{call.replace('_', '-')}")


globals().update({hanging_class_name(call): _over(call) for call in CALLS})
