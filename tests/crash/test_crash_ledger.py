"""What counts as a broken promise after a power cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exlab_store.testing.crash import Ledger, Loss, Notes, stamp_of, stamped
from exlab_store.testing.crash.block_log import BlockLog, flush_entry, write_entry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Write 1 begins before entry 1 and is acknowledged after entry 2; so does deletion 2 around entries 3 and 4."""
    log, path = tmp_path / "log", tmp_path / "notes"
    log.touch()
    ledger = Ledger(path, log)
    with log.open("ab", buffering=0) as file:
        for number, present in ((1, True), (2, False)):
            ledger.begin("a.json", number, present=present)
            file.write(write_entry(4096, b"x" * 4096))
            file.write(flush_entry())
            ledger.acknowledge("a.json", number)
    ledger.close()
    return Notes(path, BlockLog(log))


@pytest.mark.parametrize(
    ("seen", "found", "kind"),
    [
        (1, None, None),
        (1, stamped("a.json", 1), None),
        (2, None, "lost"),
        (2, stamped("a.json", 1), None),
        (3, None, None),
        (3, stamped("a.json", 1), None),
        (4, None, None),
        (4, stamped("a.json", 1), "lost"),
        (4, stamped("a.json", 3), "early"),
        (4, stamped("a.json", 1)[:5000], "torn"),
        (0, b"", "torn"),
        (0, stamped("b.json", 1), "torn"),
    ],
)
def test_a_state_between_the_last_acknowledged_and_the_last_begun_is_right(
    notes: Notes, seen: int, found: bytes | None, kind: str | None
) -> None:
    assert [loss.kind for loss in notes.losses(seen, {"a.json": found})] == ([kind] if kind else [])


def test_a_loss_says_what_was_expected_and_what_was_found(notes: Notes) -> None:
    assert notes.losses(4, {"a.json": stamped("a.json", 1)}) == [Loss("a.json", "lost", expected=2, found=1)]


@pytest.mark.parametrize("wrong", [b"", b"\0" * 10_000, stamped("a.json", 7)[:-1], stamped("b.json", 7)])
def test_a_stamp_shows_what_is_not_whole(wrong: bytes) -> None:
    assert stamp_of("a.json", stamped("a.json", 7)) == 7
    assert stamp_of("a.json", wrong) is None


def test_a_log_that_ends_in_the_middle_of_an_entry_ends_before_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(write_entry(0, b"x" * 512) + flush_entry() + write_entry(512, b"x" * 512)[:-1])
    assert [entry.data for entry in BlockLog(log).entries] == [b"x" * 512, None]
