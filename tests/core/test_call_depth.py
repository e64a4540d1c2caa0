"""How many functions of Python stand between a call of a store and the system: each costs, most of all when the
processor's caches are cold after a wait for the disk."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from exlab_store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

SYSTEM = os.__name__, "posix", "nt"


def depths(call: Callable[[], object]) -> dict[str, int]:
    """The most functions between a call and each system call that it makes."""
    found: dict[str, int] = {}
    depth = 0

    def watch(_: FrameType, event: str, called: object) -> None:
        nonlocal depth
        if event == "call":
            depth += 1
        elif event == "return":
            depth -= 1
        elif event == "c_call" and getattr(called, "__module__", "") in SYSTEM:
            name = getattr(called, "__name__", "")
            found[name] = max(found.get(name, 0), depth)

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.skipif(os.name == "nt", reason="Windows has other system calls")
@pytest.mark.parametrize("existing", [False, True], ids=["a new document", "another version"])
def test_a_write_is_at_most_five_functions_above_the_system(tmp_path: Path, existing: bool) -> None:
    with open_store(tmp_path) as store:
        store.atomic_write("other.json", b"{}")  # the first write makes the folder's own name durable
        if existing:
            store.atomic_write("a.json", b"{}")

        def write() -> None:
            store.atomic_write("a.json", b"[]")

        found = depths(write)
    assert {"write", "fsync", "replace"} <= set(found)
    deeper = {name: depth - 1 for name, depth in found.items() if depth - 1 > 5}  # without `write` above
    assert not deeper
