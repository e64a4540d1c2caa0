"""A document that another program has open: run by `test_on_windows`, in Windows."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from exlab_store_posix.windows import calls, kernel32
from waiting import eventually

from exlab_store import AccessDenied, BackendUnavailable, InvalidKey, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exlab_store import Store

OPEN_EXISTING = 3
NOBODY, READERS_AND_WRITERS, ALL = 0, 3, 7
SHARES = [pytest.param(NOBODY, id="as_Excel"), pytest.param(READERS_AND_WRITERS, id="as_most_programs")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        opened.atomic_write("a.json", b"old")
        yield opened


@contextmanager
def held_open(path: Path, share: int) -> Iterator[Callable[[], None]]:
    """The file is open, and shared so; what is given closes it."""
    handles = [kernel32.create_file(str(path), kernel32.GENERIC_READ, share, OPEN_EXISTING, 0)]

    def close() -> None:
        while handles:
            kernel32.close_handle(handles.pop())

    try:
        yield close
    finally:
        close()


@contextmanager
def begun(call: Callable[[], object]) -> Iterator[list[object]]:
    """A call in a thread; the list gets its result."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield results
    thread.join(60)
    assert not thread.is_alive()


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("share", SHARES)
def test_a_write_waits_for_a_program_that_has_the_document_open(store: Store, tmp_path: Path, share: int) -> None:
    with (
        held_open(tmp_path / "a.json", share) as close,
        begun(lambda: store.atomic_write("a.json", b"new")) as results,
    ):
        eventually(lambda: len(names(tmp_path)) == 2)  # the temporary file is there
        assert results == []
        close()
    assert not isinstance(results[0], Exception), results
    assert store.read_snapshot("a.json").data == b"new"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("share", SHARES)
def test_a_write_that_waits_too_long_says_why_and_has_done_nothing(
    store: Store, tmp_path: Path, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PATIENCE", 0.5)
    with (
        held_open(tmp_path / "a.json", share),
        pytest.raises(BackendUnavailable, match="another program has it open") as caught,
    ):
        store.atomic_write("a.json", b"new")
    assert "Close it there" in str(caught.value.hint)
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


def test_a_read_waits_for_a_program_that_lets_nobody_in(store: Store, tmp_path: Path) -> None:
    with (
        held_open(tmp_path / "a.json", NOBODY) as close,
        begun(lambda: store.read_snapshot("a.json").data) as results,
    ):
        threading.Event().wait(0.3)  # nothing shows from outside that it waits
        assert results == []
        close()
    assert results == [b"old"]


def test_a_read_that_waits_too_long_says_why(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PATIENCE", 0.3)
    with (
        held_open(tmp_path / "a.json", NOBODY),
        pytest.raises(BackendUnavailable, match="another program has it open"),
    ):
        store.read_snapshot("a.json")


@pytest.mark.parametrize("share", SHARES)
def test_a_deletion_waits_too_and_the_name_is_free_at_once(store: Store, tmp_path: Path, share: int) -> None:
    with held_open(tmp_path / "a.json", share) as close, begun(lambda: store.delete("a.json")) as results:
        threading.Event().wait(0.3)
        assert results == []
        close()
    assert results == [None]
    assert names(tmp_path) == []


def test_a_document_that_a_reader_of_ours_has_open_is_deleted_and_made_anew(store: Store, tmp_path: Path) -> None:
    with held_open(tmp_path / "a.json", ALL):
        store.delete("a.json")
        assert not store.exists("a.json")
        store.atomic_write("a.json", b"new")
        assert store.read_snapshot("a.json").data == b"new"


def test_a_reader_of_ours_holds_no_writer_up(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PATIENCE", 0.5)
    descriptor = calls.open(str(tmp_path / "a.json"), os.O_RDONLY)
    try:
        store.atomic_write("a.json", b"new")
        assert os.read(descriptor, 10) == b"old"
    finally:
        os.close(descriptor)


def test_the_rename_by_handle_replaces_a_document(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As FileRenameInfo (3), whose structure is the same; wine knows no FileRenameInfoEx.
    monkeypatch.setattr(kernel32, "_FILE_RENAME_INFO_EX", 3)
    monkeypatch.setattr(calls, "_without_posix_rename", set())
    monkeypatch.setattr(kernel32, "move_file", None)
    store.atomic_write("a.json", b"new")
    store.atomic_write("b.json", b"1")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert names(tmp_path) == ["a.json", "b.json"]


def test_a_document_that_is_marked_read_only_is_neither_replaced_nor_deleted(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.json").chmod(0o444)
    try:
        for change in (lambda: store.atomic_write("a.json", b"new"), lambda: store.delete("a.json")):
            with pytest.raises(AccessDenied, match=r"'a\.json' is marked read-only") as caught:
                change()
            assert "attrib -r a.json" in str(caught.value.hint)
        assert store.read_snapshot("a.json").data == b"old"
        assert names(tmp_path) == ["a.json"]
    finally:
        (tmp_path / "a.json").chmod(0o666)


def test_a_folder_is_no_document(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InvalidKey, match=r"folder|directory"):
        store.atomic_write("run", b"1")
    with pytest.raises(InvalidKey, match=r"folder|directory"):
        store.read_snapshot("run")
