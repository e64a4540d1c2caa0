"""Every document function works on a store in memory while the file system is out of reach."""

from __future__ import annotations

import builtins
import io
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import pytest
from lab_documents import CATALOGUE, CONFOCAL, ENDPOINT, RUNS, TEST_RUNS

from exlab_store import open_store
from exlab_store.documents import (
    ConfigError,
    DocumentKind,
    EquipmentCacheWriter,
    EquipmentJson,
    RunsJson,
    projects_from_lims,
    read_catalogue,
    write_catalogue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store import Store

WRITER = EquipmentCacheWriter(lock_timeout=5)
KIND = DocumentKind(EquipmentJson, "1.0")

OS = ["open", "replace", "rename", "link", "symlink", "unlink", "remove", "mkdir", "makedirs", "rmdir", "listdir"]
OS += ["scandir", "fsync", "truncate", "chmod", "utime"]
PATH = ["open", "read_bytes", "read_text", "write_bytes", "write_text", "mkdir", "touch", "unlink", "rename", "replace"]
PATH += ["iterdir", "glob", "exists", "is_file", "is_dir", "stat"]
TEMPFILE = ["mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory"]


class Touched(AssertionError):
    """Something reached for the file system."""


def refuse(*args: object, **kwargs: object) -> NoReturn:
    raise Touched(f"the file system was touched: {args}")


@pytest.fixture
def no_files() -> Callable[[Callable[[], Any]], Any]:
    """Runs a call with every way to a file patched to raise."""

    def run(call: Callable[[], Any]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builtins, "open", refuse)
            patch.setattr(io, "open", refuse)
            for module, names in ((os, OS), (pathlib.Path, PATH), (tempfile, TEMPFILE)):
                for name in names:
                    patch.setattr(module, name, refuse)
            return call()

    return run


def write_and_read_a_catalogue(store: Store) -> None:
    write_catalogue(store / "a" / "c.json", CATALOGUE)
    assert read_catalogue(store / "a" / "c.json", expected_endpoint=ENDPOINT) == CATALOGUE


def refuse_a_catalogue(store: Store) -> None:
    store.atomic_write("c.json", b"[")
    with pytest.raises(ConfigError):
        read_catalogue(store / "c.json", expected_endpoint=ENDPOINT)


def write_and_read_equipment(store: Store) -> None:
    for _ in range(2):
        anyio.run(WRITER.write_equipment, store / "E" / "equipment.json", CONFOCAL)
    assert anyio.run(WRITER.read_equipment, store / "E" / "equipment.json").id == CONFOCAL.id


def keep_a_corrupt_document(store: Store) -> None:
    store.atomic_write("equipment.json", b"{")
    anyio.run(WRITER.write_equipment, store / "equipment.json", CONFOCAL)
    assert len(store.list_keys()) == 2


def write_and_read_test_runs(store: Store) -> None:
    for _ in range(2):
        anyio.run(WRITER.write_test_runs_marker, store / "test_runs.json", TEST_RUNS)
    assert anyio.run(WRITER.read_test_runs_marker, store / "test_runs.json") == TEST_RUNS


def write_and_read_runs(store: Store) -> None:
    for _ in range(2):
        anyio.run(WRITER.write_runs_marker, store / "runs.json", RUNS)
    assert anyio.run(WRITER.read_runs_marker, store / "runs.json") == RUNS


def update_a_kind(store: Store) -> None:
    KIND.update(store / "equipment.json", lambda _: CONFOCAL)
    assert KIND.update(store / "equipment.json", lambda found: found or CONFOCAL) == CONFOCAL


def read_an_answer(store: Store) -> None:
    assert projects_from_lims(b'{"data":[],"count":0}') == []


def work_by_url(store: Store) -> None:
    anyio.run(WRITER.write_runs_marker, "memory://no-files/P/runs.json", RUNS)
    assert isinstance(anyio.run(WRITER.read_runs_marker, "memory://no-files/P/runs.json"), RunsJson)


WORK = [
    write_and_read_a_catalogue,
    refuse_a_catalogue,
    write_and_read_equipment,
    keep_a_corrupt_document,
    write_and_read_test_runs,
    write_and_read_runs,
    update_a_kind,
    read_an_answer,
    work_by_url,
]


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
def test_works_in_memory_with_every_way_to_a_file_out_of_reach(
    work: Callable[[Store], None], no_files: Callable[[Callable[[], Any]], Any]
) -> None:
    with open_store("memory://") as store:
        work(store)  # imports what is imported on first use
    with open_store("memory://") as store:
        no_files(lambda: work(store))


def test_the_patches_do_catch_a_store_on_a_disk(posix: Store, no_files: Callable[[Callable[[], Any]], Any]) -> None:
    with pytest.raises(Exception, match="the file system was touched"):
        no_files(lambda: write_catalogue(posix / "c.json", CATALOGUE))
