"""A store belongs to its process, whatever it was used for: it refuses to be pickled and copied in the same words."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from exlab_store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAYS = {"pickled": pickle.dumps, "copied": copy.copy, "copied deeply": copy.deepcopy}
if sys.version_info >= (3, 13):
    WAYS["copied with changes"] = copy.replace


def used(store: Store) -> Store:
    async def main() -> None:
        await store.aio.atomic_write("a", b"1")

    anyio.run(main)
    return store


@pytest.fixture(params=["plain", "coroutines", "observers", "both"])
def a_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    observers = ["log"] if request.param in {"observers", "both"} else []
    with open_store(tmp_path, observers=observers) as store:
        yield used(store) if request.param in {"coroutines", "both"} else store


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_store_refuses_whatever_it_was_used_for(way: Callable[[object], object], a_store: Store) -> None:
    with pytest.raises(TypeError, match="a Store cannot be pickled or copied: it belongs to the process"):
        way(a_store)


@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy])
def test_so_does_what_refers_to_one(way: Callable[[object], object], a_store: Store) -> None:
    for path in (a_store / "a", a_store.aio, a_store.aio / "a"):
        with pytest.raises(TypeError, match="a Store cannot be pickled or copied"):
            way(path)
