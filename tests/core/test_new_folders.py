"""An update makes the folder of a document once its change has returned, and not before."""

from __future__ import annotations

import shutil
import time
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio
import pytest

from exlab_store import DocumentNotFound, open_store
from exlab_store.hooks.new_folders import question_before_folder
from exlab_store.updating import Update

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store import Store


class NotNow(Exception):
    pass


def refuse(_: bytes | None) -> bytes:
    raise NotNow


def test_an_update_whose_change_raises_makes_no_folder(posix: Store, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotNow):
        posix.update("run-17/deep/run.json", refuse)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_deleted_meanwhile_is_not_made_again(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.update("run-17/run.json", lambda _: b"1")
        shutil.rmtree(tmp_path / "run-17")
        with pytest.raises(NotNow):
            store.update("run-17/run.json", refuse)
    assert list(tmp_path.iterdir()) == []


def test_coroutines_make_no_folder_either(tmp_path: Path) -> None:
    async def main() -> None:
        with open_store(tmp_path) as store:
            with pytest.raises(NotNow):
                await store.aio.update("run-17/run.json", refuse)
            await store.aio.update("run-18/run.json", lambda _: b"1")

    anyio.run(main)
    assert [path.name for path in tmp_path.iterdir()] == ["run-18"]


def test_the_lock_of_a_document_whose_update_was_refused_is_free(store: Store) -> None:
    with pytest.raises(NotNow):
        store.update("run-17/run.json", refuse)
    store.lock("run-17/run.json", timeout=0).release()


def test_an_error_of_the_change_that_is_a_store_s_comes_out_as_it_is(store: Store) -> None:
    error = DocumentNotFound("no such project", key="projects.json")

    def change(_: bytes | None) -> bytes:
        raise error

    with pytest.raises(DocumentNotFound) as caught:
        store.update("run-17/run.json", change)
    assert caught.value is error
    assert error.key == "projects.json"


def test_a_change_that_returns_no_bytes_makes_no_folder(posix: Store) -> None:
    with pytest.raises(TypeError, match="bytes"):
        posix.update("run-17/run.json", lambda _: "text")  # type: ignore[arg-type,return-value]
    assert posix.list_leftovers() == []


def test_the_change_is_called_once_where_nobody_is_faster(store: Store) -> None:
    calls: list[bytes | None] = []

    def change(current: bytes | None) -> bytes:
        calls.append(current)
        return b"1"

    store.update("run-17/run.json", change)
    assert calls == [None]
    assert store.read_snapshot("run-17/run.json").data == b"1"


def test_the_change_is_called_again_where_somebody_else_has_made_the_document_meanwhile(tmp_path: Path) -> None:
    with open_store(tmp_path) as store, open_store(tmp_path) as other:
        calls: list[bytes | None] = []

        def change(current: bytes | None) -> bytes:
            calls.append(current)
            if current is None:
                other.atomic_write("run-17/run.json", b"1")
            return (current or b"") + b"2"

        store.update("run-17/run.json", change)
        assert calls == [None, b"1"]
        assert store.read_snapshot("run-17/run.json").data == b"12"


def test_a_change_may_take_longer_than_the_lock_may(posix: Store) -> None:
    def change(_: bytes | None) -> bytes:
        time.sleep(0.01)
        return b"1"

    posix.update("run-17/run.json", change, timeout=0)
    assert posix.read_snapshot("run-17/run.json").data == b"1"


def test_a_change_may_make_documents_in_other_folders(store: Store) -> None:
    def change(current: bytes | None) -> bytes:
        store.update("index/runs.json", lambda runs: (runs or b"") + b"17")
        with store.lock("logs/log.json"):
            return (current or b"") + b"1"

    store.update("run-17/run.json", change)
    store.update("run-17/run.json", change)
    assert store.read_snapshot("run-17/run.json").data == b"11"
    assert store.read_snapshot("index/runs.json").data == b"1717"


def test_the_question_of_an_update_that_was_interrupted_is_about_no_other_lock(posix: Store) -> None:
    context = copy_context()
    interrupted = Update("a", refuse, 0.0, refuse, refuse, swaps=False, own_lock=True, location=None)  # type: ignore[arg-type]
    context.run(question_before_folder.set, interrupted.ask_before_folder)
    held = context.run(posix.lock, "run-19/run.json")
    held.release()
