"""Contenders take turns in an order that changes: none of them always follows the same one."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

from exlab_store.benching.taking_turns import timed

if TYPE_CHECKING:
    from collections.abc import Callable


def test_each_contender_follows_each_other_one_and_all_are_called_alike() -> None:
    called: list[str] = []

    def contender(name: str) -> Callable[[bytes], None]:
        return lambda _: called.append(name)

    names = ("store", "raw", "peer", "slow peer")
    timed({name: contender(name) for name in names}, 8, 0.05)
    assert set(pairwise(called)) >= {(before, after) for before, after in product(names, names) if before != after}
    assert len({called.count(name) for name in names}) == 1


def test_each_is_given_other_bytes_every_time_and_all_of_a_round_the_same() -> None:
    given: dict[str, list[bytes]] = {"store": [], "raw": []}
    timings = timed({name: seen.append for name, seen in given.items()}, 2048, 0.01)
    assert given["store"] == given["raw"]
    assert len(set(given["store"])) == len(given["store"]) == timings["store"].count + 1
    assert {len(data) for data in given["store"]} == {2048}
