"""Six processes on one document in a directory: their operations have an order, and planted faults are found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from histories import PROCESSES, history_of_processes

from exlab_store.testing.history import check

if TYPE_CHECKING:
    from pathlib import Path

    from exlab_store.testing.history import Operation

pytestmark = pytest.mark.one_interpreter


def _history(root: Path, count: int) -> list[Operation]:
    return history_of_processes([(str(root), {})] * PROCESSES, count)


@pytest.mark.parametrize("count", [3_000, pytest.param(50_004, marks=pytest.mark.slow)])
def test_the_operations_of_six_processes_have_an_order(tmp_path: Path, count: int) -> None:
    operations = _history(tmp_path, count)
    began = time.process_time()
    assert check(operations) is None
    print(f"{len(operations)} operations checked in {time.process_time() - began:.2f} s")
    assert len(operations) == count


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    operations = _history(tmp_path_factory.mktemp("honest"), 1_200)
    return sorted(operations, key=lambda operation: operation.called)


def test_a_planted_stale_read_is_found(honest: list[Operation]) -> None:
    written = [one.new for one in honest[:200] if one.kind == "cas" and one.succeeded]
    late = next(number for number, one in enumerate(honest) if number > 900 and one.kind == "read")
    planted = [*honest]
    planted[late] = msgspec.structs.replace(honest[late], found=written[0])
    assert check(planted) is not None


def test_a_planted_lost_update_is_found(honest: list[Operation]) -> None:
    """An update that was acknowledged, and that its successor did not see: it read what was there before."""
    by_value = {one.new: one for one in honest if one.kind == "cas" and one.succeeded}
    later = next(one for one in reversed(honest) if one.kind == "cas" and one.succeeded and one.expected in by_value)
    lost = by_value[later.expected]
    planted = [msgspec.structs.replace(one, expected=lost.expected) if one is later else one for one in honest]
    assert check(planted) is not None
