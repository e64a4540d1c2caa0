"""Whether a share is known to have room, without asking it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exlab_store_smb.steps.room import Room

if TYPE_CHECKING:
    import pytest

_MIB = 1 << 20


def test_a_share_of_which_nothing_is_known_is_taken_for_full() -> None:
    assert not Room().suffices_for(1)


def test_a_share_with_a_gibibyte_to_spare_has_room_for_a_document() -> None:
    room = Room()
    room.note(1 << 30)
    assert room.suffices_for(_MIB)


def test_room_that_others_may_have_taken_meanwhile_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    room, now = Room(), time.monotonic()
    room.note(1 << 30)
    monkeypatch.setattr(time, "monotonic", lambda: now + 10)
    assert not room.suffices_for(1)


def test_a_share_that_had_no_room_where_it_said_there_was_is_taken_for_full_from_then_on() -> None:
    room = Room()
    room.distrust()
    room.note(1 << 40)
    assert not room.suffices_for(1)
