"""The sound backend, but one of its calls never returns: the kit over each of them ends, and names the call."""

from __future__ import annotations

import os
import threading
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kit_over_broken import FlawedHarness, class_name
from reference_files import FileBackend, FlockLock, LookingSource

from exlab_store.testing import BackendConformance

if TYPE_CHECKING:
    from exlab_store import Backend

HUNG_IN = {
    "open": "test_leftovers_that_are_not_shown_are_not_supported",
    "read_snapshot": "test_what_is_read_is_bytes",
    "atomic_write": "test_a_folder_goes_with_all_that_is_below_it",
    "lock": "test_a_released_lock_is_free_at_once",
    "lock_and_read": "test_a_lock_with_a_read_gives_the_document_or_none",
    "write_and_release": "test_a_lock_that_was_given_back_with_a_write_is_held_no_more",
    "list_keys": "test_an_empty_store_has_no_keys",
    "stat_document": "test_what_is_known_of_a_document_is_of_its_last_version",
    "list_folder": "test_a_folder_that_does_not_exist_has_nothing_in_it",
    "list_matching": "test_a_pattern_finds_folders_too",
    "delete": "test_a_missing_document_cannot_be_deleted",
    "remove_folder": "test_a_folder_that_is_to_be_empty_is_left_with_its_documents",
    "list_leftovers": "test_leftovers_that_are_not_shown_are_not_supported",
    "remove_leftover": "test_nothing_but_a_temporary_file_is_removed",
    "watch_changes": "test_the_source_names_documents_that_can_be_read_and_nothing_else",
    "wait": "test_the_source_names_documents_that_can_be_read_and_nothing_else",
    "close": "test_what_is_read_is_bytes",
    "release": "test_a_released_lock_is_free_at_once",
    "ensure_held": "test_a_released_lock_says_that_it_is_lost",
}
"""Each call that may hang, with a test of the kit that makes it: itself, in a fixture, or when it is over."""

PATIENCE = "EXLAB_STORE_PATIENCE_WITH_HANGS"
"""The environment variable that says how many seconds a call has; half a second without it."""


class HangingHarness(FlawedHarness):
    lease = 0.5

    def __init__(self, root: Path, hangs_in_open: bool) -> None:
        super().__init__("sound", root)
        self.patience = float(os.environ.get(PATIENCE, "0.5"))
        self.hangs_in_open = hangs_in_open
        self.opened = 0

    def open(self) -> Backend:
        self.opened += 1
        if self.hangs_in_open and self.opened > 1:  # the first client still gets in
            threading.Event().wait()
        return super().open()


def _without_end(call: Any) -> Any:
    @wraps(call)
    def hangs(*_: object, **__: object) -> None:
        threading.Event().wait()

    return hangs


def _over(call: str) -> type[BackendConformance]:
    class Over(BackendConformance):
        @pytest.fixture
        def harness(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HangingHarness:
            for owner in (FileBackend, FlockLock, LookingSource):
                if hasattr(owner, call):
                    monkeypatch.setattr(owner, call, _without_end(getattr(owner, call)))
                    break
            root = tmp_path / "store"
            root.mkdir()
            return HangingHarness(root, call == "open")

    return Over


def hanging_class_name(call: str) -> str:
    return class_name(f"hangs-in-{call.replace('_', '-')}")


globals().update({hanging_class_name(call): _over(call) for call in HUNG_IN})
