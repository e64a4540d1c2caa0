"""What wine 8 lacks: the tests that it keeps from passing, each with its reason. Nothing else is left out."""

from __future__ import annotations

__all__ = ["LACKING", "TASKS"]

LACKING = {
    "test_every_valid_key_can_be_written_read_locked_listed_and_deleted[key_of_512_segments]": (
        "GetFinalPathNameByHandleW gives no path of more than a thousand characters (ERROR_MORE_DATA), so each of the "
        "512 folders is looked for in the one above it, for each call: 25 s, and a call of the kit has 10"
    ),
    "test_a_reader_of_ours_holds_no_writer_up": (
        "wine has no rename with POSIX semantics (FileRenameInfoEx: ERROR_INVALID_PARAMETER), and renames over no file "
        "that anybody has open, however it is shared"
    ),
}
"""Tests by name, without their class and their file."""

TASKS = "trio"
"""In the names of tests under this event loop: it asks for what is below a socket, which wine does not tell (10045)."""
