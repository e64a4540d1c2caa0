"""The evidence for a change whose answer was lost with the connection.

The next connection names the session of the one before it, and the server ends that first [MS-SMB2 3.3.5.5.3]: nothing
of it can happen any more. So the files can be asked, and they do not change under the question on our account.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exlab_store import temporary_name
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.filetimes import filetime
from exlab_store_smb.wire.statuses import MISSING

if TYPE_CHECKING:
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.held_lock import SmbLock
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Reply, SmbRequest

__all__ = ["Attempt", "bears_mark", "fresh_mark", "untouched_since"]

# Times of files are in units of 100 ns. The clock of a file system goes in steps: of 10 ms at most on Linux, of 1 or
# 2 s on some others, whose times are whole seconds then.
_SECOND = 10_000_000
_FINE_STEP = 0.05
_COARSE_STEP = 2.5


@dataclass(slots=True)
class Attempt:
    """How far an attempt to change a document has come.

    Attributes:
        begun: When the change itself may have been asked for first, by this machine's monotonic clock.
        temporary: The temporary file's name on the share, as long as there may be one.
        moved: The name that a document may have been given to be deleted, as long as it may be there under that.
        stored: The server has said that the temporary file is there.
        asked: The server may have been asked for the change itself: the rename, or the deletion.
        mark: The creation time that the document is given, by which it is known again; 0 for none.
        held: The lock under which the change is made, if any.
        unguarded: The change was made, and the lock's handle was gone after it.
        parting: What releases the lock under which the document is changed; nothing where the lock is kept.
        parted: The server has released the lock, whether it has changed the document or not.
        replaced: The document's name on the share, where the server is asked about what is replaced.
        going: Another client had deleted the document before, and a program kept it open; see `foreign_deletions`.
    """

    begun: float = field(default_factory=time.monotonic)
    temporary: str = ""
    moved: str = ""
    stored: bool = False
    asked: bool = False
    mark: int = 0
    held: SmbLock | None = None
    unguarded: bool = False
    parting: list[SmbRequest] = field(default_factory=list)
    parted: bool = False
    replaced: str = ""
    going: bool = False


def fresh_mark() -> int:
    """A creation time that no other document has: now, but for a random part of a second."""
    return filetime(time.time()) - random.randrange(_SECOND)  # noqa: S311  # no secret


def bears_mark(link: Link, document: DocumentPath, mark: int, deadline: Deadline) -> bool:
    """Whether a document is the very file that was given a mark.

    A server that does not keep creation times gives no evidence: then it is not.

    Args:
        link: A connection that was made after the mark was given.
        document: Where the document is.
        mark: From `fresh_mark`.
        deadline: Until when.

    Raises:
        LinkLost: The connection has ended.
    """
    found = _ask(link, document.path, deadline)
    return found.ok and messages.created_at(found) == mark


def untouched_since(link: Link, document: DocumentPath, begun: float, deadline: Deadline) -> bool:
    """Whether nobody has changed a document since a moment, by the clock of the file system that holds it.

    Of a document that is missing, the folder tells: any change of a name in it changes the folder's own time. What
    the clock is, a file that is made for an instant tells.

    Args:
        link: A connection that was made after the change.
        document: Where the document is.
        begun: The moment, by this machine's monotonic clock.
        deadline: Until when.

    Returns:
        True if that is certain.

    Raises:
        LinkLost: The connection has ended.
    """
    found, beside = _nearest(link, document, deadline)
    if not found.ok:
        return False
    probe, _ = link.run([messages.create_probe(beside), messages.close()], deadline.half())
    if not probe.ok:
        return False
    now = messages.changed_at(probe)
    step = _FINE_STEP if now % _SECOND else _COARSE_STEP
    return messages.changed_at(found) < now - int((time.monotonic() - begun + step) * _SECOND)


def _nearest(link: Link, document: DocumentPath, deadline: Deadline) -> tuple[Reply, str]:
    """The document, or else the first folder above it that is there; and the name of a new file beside it."""
    found, folder = _ask(link, document.path, deadline), document.directory
    if found.status in MISSING:
        found = _ask(link, folder, deadline)
        while found.status in MISSING and folder and not deadline.over:
            folder = folder.rpartition("\\")[0]
            found = _ask(link, folder, deadline)
    fresh = temporary_name(document.name)
    return found, f"{folder}\\{fresh}" if folder else fresh


def _ask(link: Link, name: str, deadline: Deadline) -> Reply:
    backoff = Backoff(deadline)
    while True:
        asked, _ = link.run([messages.open_to_ask(name), messages.close()], deadline.half())
        if asked.ok or not backoff.asks_again(asked.status):
            return asked
