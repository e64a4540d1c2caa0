"""The version of a large document, which another thread computes while the disk works."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

import exlab_store_posix.versioning as posix_versioning
import pytest
from exlab_store_posix.versioning import LARGE

from exlab_store import StorageFull, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exlab_store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 7])
def test_the_version_is_that_of_the_document_whatever_its_size(store: Store, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert store.atomic_write("a.json", data) == sha256(data).hexdigest()
    assert (tmp_path / "a.json").read_bytes() == data


def test_writers_at_the_same_time_are_told_their_own_versions(store: Store) -> None:
    documents = [os.urandom(LARGE) for _ in range(32)]
    with ThreadPoolExecutor(8) as writers:
        versions = list(writers.map(lambda number: store.atomic_write(f"{number}.json", documents[number]), range(32)))
    assert versions == [sha256(data).hexdigest() for data in documents]


def test_all_writers_share_one_thread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix_versioning, "_assistant", None)
    before = threading.active_count()
    for number in range(5):
        store.atomic_write("a.json", bytes([number]) * LARGE)
    assert threading.active_count() == before + 1


def test_a_write_does_without_the_thread_where_none_can_be_started(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(posix_versioning, "_assistant", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert store.atomic_write("a.json", bytes(LARGE)) == sha256(bytes(LARGE)).hexdigest()


def test_a_write_that_fails_does_not_keep_the_thread(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageFull):
            store.atomic_write("a.json", bytes(LARGE))
    assert list(tmp_path.iterdir()) == []
    assert store.atomic_write("a.json", b"x" * LARGE) == sha256(b"x" * LARGE).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_thread_of_its_own(tmp_path: Path) -> None:
    program = (
        "import os, sys; from exlab_store import open_store\n"
        "def write():\n"
        "    with open_store(sys.argv[1]) as store: store.atomic_write('a.json', b'x' * 1_000_000)\n"
        "write()\n"
        "if os.fork() == 0:\n"
        "    write(); os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "7\n"


def test_a_program_that_ends_can_still_write(tmp_path: Path) -> None:
    program = (
        "import atexit, sys; from exlab_store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "atexit.register(lambda: print(len(store.atomic_write('a.json', b'x' * 1_000_000))))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "64\n"
