"""How much time an operation over SMB has left."""

from __future__ import annotations

import pytest
from exlab_store_smb.wire.deadline import Deadline


def test_a_deadline_of_no_seconds_is_over() -> None:
    assert Deadline(0).over


def test_a_deadline_that_is_over_has_nothing_left() -> None:
    assert Deadline(-5).remaining() == 0


def test_a_deadline_to_come_is_not_over() -> None:
    assert not Deadline(60).over


def test_half_a_deadline_comes_before_theunchanged() -> None:
    assert 29 < Deadline(60).half().remaining() <= 30


@pytest.mark.parametrize(("seconds", "expected"), [(10, 10), (100, 60)])
def test_a_part_of_a_deadline_is_never_later_than_theunchanged(seconds: float, expected: float) -> None:
    assert expected - 1 < Deadline(60).within(seconds).remaining() <= expected
