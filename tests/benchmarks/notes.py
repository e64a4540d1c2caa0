"""What the figures of the page do not say by themselves: why some of what was wanted is not reached.

A note is about limits, by their names in judging.py, and stands on the page if the page's own run missed one of them;
a note on a limit that some runs keep and others miss (``wavers``) always does, and says which it was. So a note makes
no claim about the run. Its numbers explain, and say where they are from.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from judging import Verdict

__all__ = ["NOTES", "Note", "notes_on"]


@dataclass(frozen=True, slots=True)
class Note:
    """Why something is not reached.

    Attributes:
        about: The limits, by name.
        text: Why, in Markdown.
        wavers: Whether the limits are kept in some runs, on the machine that the page is made on.
    """

    about: tuple[str, ...]
    text: str
    wavers: bool = False


NOTES = (
    Note(
        ("durable write, 2 KiB",),
        """Over the raw system calls there are the version, which every write returns (SHA-256, 10 us for 2 KiB), a name
        that no other writer has, the look at the old document whose mode and owner are kept, and the look whether the
        directory is still the one that was made durable. The version is computed, and the directory opened, while the
        disk works; the rest runs with caches that are cold after the wait for the disk.""",
        wavers=True,
    ),
    Note(
        ("durable write, 1 MiB",),
        """The version of 1 MiB, which every write returns, takes 0.6 ms (SHA-256, measured by itself on 2026-11-21). It
        is computed while the disk works, which hides most of it: the disk is done earlier. A second processor was
        tried: with other bytes each time, it took 1.13 x in the mean of ten runs, and 1.11 x without, as to wake it,
        and to wait for Python's global lock, costs what it saves. On a disk that is done within a millisecond, less of
        it is hidden: 1.06 x on 2026-11-21 (1.9 ms for the raw calls), 1.31 x on 2026-11-28 (1.2 ms).""",
        wavers=True,
    ),
    Note(
        ("lock and release, times as fast",),
        """Measured on 2026-11-21: a sixth of less than 72 us, which `FileLock` takes, is 12 us. The nine bare system
        calls of a lock with its owner's record and the lock that clients of a Samba server see (open, fstat, flock, OFD
        lock, the record, the void record, two unlocks, close) take 9.7 us of them, and what is left would have to be
        less than 2.3 us of Python. 15 to 16 us were reached.""",
    ),
    Note(
        ("lock and release",),
        """Of nine system calls, where the reference makes three, and the owner's record is Python's work. The look
        whether the lock file is a hard link to something else costs 2 us more than it seems: after it, the kernel has
        to give the next write a time stamp of its own. The faster a machine's system calls are, the more Python's part
        counts: 15.4 us were 3.7 x the reference on a machine of 2026-11-21, 10.6 us are 7.3 x on one of 2026-11-28.""",
        wavers=True,
    ),
    Note(
        ("update, 2 KiB",),
        """It is a lock, a read and a write, and what each takes more than the raw calls adds up; on a disk the caches
        are cold after each of the two waits. Whether the lock is still held, it looks once, before the rename.""",
        wavers=True,
    ),
    Note(
        ("8 processes, throughput", "8 processes, longest wait"),
        """A lock that can time out and be cancelled has to be asked for again and again. Waiters sleep for 0.02 to
        0.2 ms in between, for the first 50 ms, the shorter the longer they have waited; Linux adds 0.05 ms. Sleeping
        less gained nothing. Eight processes and whatever else runs there want a share of two processors, so runs
        differ; a longest wait is a single one among thousands.""",
        wavers=True,
    ),
    Note(
        ("catalogue of 10,000, read, times as fast",),
        """Where only the two take turns, each asks the system for memory anew, for 10,000 rows: 930 page faults, or
        2 ms, for this package, and twice as many for the other (measured on 2026-11-21). In the table of three, this
        package finds memory that the others have left to the process, and its ratio is better. The pair is what is
        judged.""",
        wavers=True,
    ),
    Note(
        ("catalogue of 10,000, write, times as fast",),
        """Before it writes, this package looks whether readers will accept every value of every row, as one row that
        they refuse hides all projects of a site. That takes as long as the encoding. The other checks nothing.""",
    ),
    Note(
        ("import exlab_store",),
        """Half of it is for `msgspec`, `typing` and `inspect`, which `pluggy` and `msgspec` load. What only some
        programs need (`anyio`, `hashlib`, `importlib.metadata`, the backends) is loaded when it is used.""",
        wavers=True,
    ),
    Note(
        ("event loop held up, SMB, asyncio", "event loop held up, SMB, trio"),
        """SMB's messages are made by Python, on threads that want Python's global lock as much as the loop does; where
        the machine has fewer free processors than threads that work, the loop waits for its turn.""",
        wavers=True,
    ),
)
"""In the order of the page; to be looked through after each run that changes a verdict."""


def notes_on(verdicts: Sequence[Verdict]) -> str:
    """The notes on what these verdicts missed, or might have; empty if nothing was missed and nothing wavers.

    Args:
        verdicts: Those of one run. What was not judged has no notes.
    """
    kept = {verdict.limit.what: verdict.kept for verdict in verdicts if verdict.kept is not None}
    lines: list[str] = []
    for note in NOTES:
        missed = [what for what in note.about if kept.get(what) is False]
        if missed:
            lines.append(f"- **{_first_upper(' and '.join(missed))}:** missed. {note.text}")
        elif note.wavers and any(what in kept for what in note.about):
            lines.append(f"- **{_first_upper(' and '.join(note.about))}:** kept here, not in every run. {note.text}")
    explained = {what for note in NOTES for what in note.about}
    lines += [
        f"- **{_first_upper(what)}:** missed; why is not known."
        for what, each in kept.items()
        if not each and what not in explained
    ]
    return "\n".join(
        textwrap.fill(
            " ".join(line.split()), 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in lines
    )


def _first_upper(words: str) -> str:
    return words[:1].upper() + words[1:]
