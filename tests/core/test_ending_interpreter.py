"""Work on other threads while the interpreter ends: it is done, or says that it cannot be."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, sys, threading
import anyio, anyio._backends._asyncio
import exlab_store.documents.coroutines, exlab_store.migrating
from exlab_store import BackendUnavailable, StoreError, open_store
from exlab_store.documents import DocumentKind, EquipmentJson
from exlab_store.testing.faults import FaultPlan, before, delayed

place = sys.argv[1]
store = open_store(place)
keys = [f"{number}.json" for number in range(8)]
for key in keys:
    store.atomic_write(key, b"1")
slow = open_store(place, observers=[FaultPlan(delayed("read_snapshot", seconds=0.01))])
refused = open_store(place, observers=[FaultPlan(before("read_snapshot"))])
KIND = DocumentKind(EquipmentJson, "1.0")
document = EquipmentJson(id="A", label="b", configured_local_root="/x", configured_nas_root="/y")

WORK = {
    "update": lambda: store.update("a.json", lambda stored: b"2"),
    "read_many": lambda: len(list(slow.read_many(keys))),
    "a retry": lambda: refused.read_snapshot("0.json"),
    "a document": lambda: KIND.update(place + "/new/equipment.json", lambda stored: document),
    "a coroutine": lambda: anyio.run(store.aio.update, "a.json", lambda stored: b"3"),
    "migrate": lambda: exlab_store.migrating.migrate(store, open_store("memory://")),
}

def work():
    threading.main_thread().join()
    try:
        WORK[sys.argv[2]]()
    except StoreError as error:
        print(type(error).__name__, error)
    else:
        print("done")

threading.Thread(target=work).start()
"""


def ended(place: Path, work: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(place), work], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("work", ["update", "read_many", "a retry", "a document"])
def test_what_needs_no_other_thread_is_done(tmp_path: Path, work: str) -> None:
    assert ended(tmp_path, work) == "done"


@pytest.mark.parametrize("work", ["a coroutine", "migrate"])
def test_what_needs_one_says_that_the_program_ends(tmp_path: Path, work: str) -> None:
    said = ended(tmp_path, work)
    assert said.startswith("BackendUnavailable")
    assert "The program ends" in said
