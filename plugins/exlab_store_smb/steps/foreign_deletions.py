"""A document that somebody else has deleted, and that stays until another program closes it [MS-FSA 2.1.5.4].

Windows, and Samba from 4.22 on, refuse to put another document in its place until then. Samba before that does so, and
takes the new one away, by its name, when the old one is closed. So the old one is asked about on the way to each write:
what was put over it counts for nothing before it is gone.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from exlab_store import WriteOutcomeUnknown, version_of
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import DELETE_PENDING

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.place import Place
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Message, Reply

__all__ = ["find_out", "goes_too", "is_asked", "outlast", "run_asking"]

_known: dict[tuple[object, ...], bool] = {}  # by server and share, for the life of this process


def find_out(link: Link, missing: str, deadline: Deadline) -> None:
    """Finds out whether a server carries out a compound whose first CREATE has failed; once for each in a process.

    Samba 4.17 does. Samba 4.22 does not, and needs not be asked: it refuses to replace what is going.

    Args:
        link: The connection.
        missing: A name on the share that nothing has.
        deadline: Until when.

    Raises:
        LinkLost: The connection has ended.
    """
    if link.identity not in _known:
        asking = [messages.open_to_ask(missing), messages.close(), messages.open_to_ask(link.path()), messages.close()]
        first, _, second, _ = link.run(asking, deadline)
        _known[link.identity] = not first.ok and second.ok


def is_asked(link: Link) -> bool:
    """Whether each write asks the server what it replaces.

    Args:
        link: The connection.
    """
    return _known.get(link.identity, False)


def run_asking(
    link: Link, path: str, compound: list[Message], run: Callable[[list[Message]], list[Reply]]
) -> tuple[bool, list[Reply]]:
    """Runs a compound that replaces a document, in the same round trip as a question about that.

    Args:
        link: The connection.
        path: The document's name on the share.
        compound: What replaces it, or makes what will; it begins with a CREATE.
        run: Runs it.

    Returns:
        Whether the document was going before it was replaced, and the answers to the compound.

    Raises:
        LinkLost: The connection has ended.
    """
    asking = [messages.open_to_ask(path), messages.close()]
    if link.fits([*asking, *compound]):
        asked, _, *replies = run([*asking, *compound])
    else:  # with few credits, a document that is not there yet would keep the compound from being sent
        (asked, _), replies = run(asking), run(compound)
    return asked.status == DELETE_PENDING, replies


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


def outlast(link: Link, place: Place, data: bytes, created: int, deadline: Deadline) -> bool:
    """Waits until the deletion of the document before it has taken a new document away.

    Args:
        link: The connection.
        place: Where the document is.
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
        asked, _ = link.run([messages.open_to_ask(place.path), messages.close()], deadline.half())
        if asked.ok and messages.created_at(asked) != created:
            return False
        if not asked.ok and asked.status != DELETE_PENDING:
            return True
        if patience.over:
            raise goes_too(data)
        time.sleep(min(patience.remaining(), random.uniform(0.002, 0.02)))  # noqa: S311  # no secret
