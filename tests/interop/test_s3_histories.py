"""Six processes on one document in a bucket: their operations have an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from histories import PROCESSES, USUAL, history_of_processes

from exlab_store.testing.history import check

if TYPE_CHECKING:
    from seaweed_server import SeaweedServer

pytestmark = pytest.mark.one_interpreter


@pytest.mark.parametrize("count", [300, pytest.param(20_004, marks=pytest.mark.slow)])
def test_the_operations_of_six_processes_on_s3_have_an_order(seaweed: SeaweedServer, count: int) -> None:
    operations = history_of_processes([(seaweed.folder(), seaweed.options)] * PROCESSES, count, [*USUAL, "write"])
    assert check(operations) is None
    assert len(operations) == count
