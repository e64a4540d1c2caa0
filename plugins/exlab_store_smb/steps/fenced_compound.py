"""The compound that changes a document; under a lock, its last request asks whether the lock was held all the time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store import BackendUnavailable, LockLost, Version, WriteOutcomeUnknown, temporary_name
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.session.share import discard
from exlab_store_smb.steps.foreign_deletions import answered, question
from exlab_store_smb.steps.held_lock import lock_file_closed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.outcome import Attempt
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply, SmbRequest

__all__ = ["discard_quietly", "ensure_guarded", "open_for_too_long", "run_change", "take_back", "temporary_beside"]


def run_change(
    link: Link,
    compound: Sequence[SmbRequest],
    deadline: Deadline,
    attempt: Attempt,
    *,
    change: int,
    last: Sequence[SmbRequest] = (),
    sealed: bool = False,
) -> list[Reply]:
    """Sends what changes the document, and keeps the attempt true when it cannot be sent.

    Under a lock the compound ends with a question about the lock's handle: if that stands then, the lock was held all
    the time. (The question cannot come first: Samba 4.17 panics when a CREATE follows a request on another file that is
    still open.)

    Args:
        link: The connection.
        compound: The requests.
        deadline: Until when.
        attempt: Kept up to date.
        change: Which of the requests is the change itself.
        last: A chain of its own at the end of the compound.
        sealed: As for `Link.run`.

    Returns:
        The answers, without that to the question about the lock.

    Raises:
        LockLost: The lock is gone, and the change was not made.
        LinkLost: The connection has ended.
    """
    held, parting = attempt.held, last is attempt.parting
    compound = [*compound, *last]
    if held is not None:
        try:
            held.ensure_held()
        except LockLost:
            if attempt.stored:
                discard_quietly(link, attempt, deadline)
            raise
        if not parting:  # whose first request tells as well
            compound.append(held.question())
    asking = question(link, attempt, compound, deadline.half())
    compound = [*asking, *compound]
    before, attempt.asked = attempt.asked, True
    if not before:
        attempt.begun = time.monotonic()
    soon = deadline.half()
    try:
        # Not `run`, which does the same: each function between a write and the system costs.
        replies = link.answers(compound, link.start(compound, soon, sealed=sealed), soon)
    except LinkLost as lost:
        attempt.asked = before or lost.sent
        raise
    replies = answered(attempt, asking, replies)
    if held is not None and not held.stands(replies[-len(last)] if parting else replies.pop()):
        attempt.unguarded = replies[change].ok
        if not attempt.unguarded:
            attempt.asked = False  # and refused
            if attempt.temporary:
                discard_quietly(link, attempt, deadline)
            raise lock_file_closed()
    return replies


def ensure_guarded(attempt: Attempt, intended: Version | None) -> None:
    """Checks that the lock was held when a change was made.

    Args:
        attempt: The change.
        intended: The document's new version; None for a deletion.

    Raises:
        WriteOutcomeUnknown: It was perhaps free already.
    """
    if attempt.unguarded:
        raise WriteOutcomeUnknown(
            "the change was made, and at about the same time the server has closed the lock's file: somebody else may "
            "have had the lock already",
            intended=intended,
        ) from lock_file_closed()


def take_back(link: Link, attempt: Attempt, deadline: Deadline) -> bool | None:
    """Deletes the temporary file of an attempt.

    Args:
        link: The connection.
        attempt: Kept up to date. Once a deletion is asked for, a missing file proves nothing any more.
        deadline: Until when.

    Returns:
        As `discard`.

    Raises:
        LinkLost: The connection has ended.
    """
    attempt.stored = False
    there = discard(link, attempt.temporary, deadline)
    if there is not None:
        attempt.temporary = ""
    return there


def discard_quietly(link: Link, attempt: Attempt, deadline: Deadline) -> None:
    """Deletes the temporary file of an attempt on the way to an error that says more than a lost connection.

    Args:
        link: The connection; where it has ended, the next one clears up.
        attempt: Kept up to date.
        deadline: Until when.
    """
    with suppress(LinkLost):
        take_back(link, attempt, deadline)


def temporary_beside(document: DocumentPath) -> str:
    """A name beside the document that no other writer uses: ``<name>.tmp.<pid>.<16 hex digits>``.

    Args:
        document: Where the document is.
    """
    return document.beside(temporary_name(document.name))


def open_for_too_long() -> BackendUnavailable:
    """The error for a document that another program keeps open and that cannot be changed therefore."""
    return BackendUnavailable(
        "somebody has had the document open for too long",
        exhausted=True,
        hint="Find the program that keeps it open; readers of this package hold it for an instant only.",
    )
