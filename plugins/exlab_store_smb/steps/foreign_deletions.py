"""A document that another client has deleted, and that stays until a program closes it [MS-FSA 2.1.5.4].

Windows, and Samba from 4.22 on, refuse to put another document in its place until then. Samba before that does so, and
takes the new one away, by its name, when the old one is closed. So the old one is asked about on the way to each write:
what was put over it counts for nothing before it is gone.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from smbprotocol.header import Commands

from exlab_store import WriteOutcomeUnknown, version_of
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import DELETE_PENDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.outcome import Attempt
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply, SmbRequest

__all__ = ["answered", "goes_too", "outlast", "question"]


def question(link: Link, attempt: Attempt, compound: Sequence[SmbRequest], deadline: Deadline) -> list[SmbRequest]:
    """What asks about the document that a compound replaces, in the same round trip, where this has to be asked.

    Args:
        link: The connection.
        attempt: Kept up to date where the question has to be a compound of its own.
        compound: The requests behind the question.
        deadline: Until when.

    Returns:
        Two requests for the front of the compound, or none; `answered` takes their answers.

    Raises:
        LinkLost: The connection has ended.
    """
    # A request on a file that is open already would be given the one that is asked about.
    if not attempt.replaced or compound[0].command != Commands.SMB2_CREATE:
        return []
    asking = [messages.open_to_ask(attempt.replaced), messages.close()]
    if link.fits([*asking, *compound]):
        return asking
    # With few credits, a document that is not there yet would keep the compound from being sent.
    answered(attempt, asking, link.run(asking, deadline))
    return []


def answered(attempt: Attempt, asking: Sequence[SmbRequest], replies: list[Reply]) -> list[Reply]:
    """Takes note of the answer to a question.

    Args:
        attempt: Kept up to date.
        asking: From `question`.
        replies: The answers to the question and to the compound behind it.

    Returns:
        The answers to the compound.
    """
    if asking:
        attempt.going = replies[0].status == DELETE_PENDING
    return replies[len(asking) :]


def goes_too(data: bytes) -> WriteOutcomeUnknown:
    """The error for a document that is there, and goes with the one before it.

    Args:
        data: The document.
    """
    return WriteOutcomeUnknown(
        "somebody has deleted the document before it, and when the program that has that one open closes it, the "
        "server takes this one away too",
        intended=version_of(data),
    )


def outlast(link: Link, document: DocumentPath, data: bytes, created: int, deadline: Deadline) -> bool:
    """Waits until the deletion of the document before it has taken a new document away.

    Args:
        link: The connection.
        document: Where the document is.
        data: The new document.
        created: Its creation time, by which it is known.
        deadline: Until when.

    Returns:
        Whether the new document has to be written again; not if somebody else has written one since.

    Raises:
        WriteOutcomeUnknown: The new document is there, and will go.
        LinkLost: The connection has ended.
    """
    patience = deadline.half()
    while True:
        asked, _ = link.run([messages.open_to_ask(document.path), messages.close()], deadline.half())
        if asked.ok and messages.created_at(asked) != created:
            return False
        if not asked.ok and asked.status != DELETE_PENDING:
            return True
        if patience.over:
            raise goes_too(data)
        time.sleep(min(patience.remaining(), random.uniform(0.002, 0.02)))  # noqa: S311  # no secret
