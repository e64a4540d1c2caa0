"""The first questions about a store's folder, and the guarantees that follow from the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from exlab_store import LocationError
from exlab_store_smb.session.claims import Claims, guarantees_of, remember, remembered, show, warn
from exlab_store_smb.session.dfs import leads_elsewhere
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import MISSING, PATH_NOT_COVERED, REFUSED_REQUEST, translated

if TYPE_CHECKING:
    from exlab_store import Guarantees
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["OpenedShare", "open_root"]


class OpenedShare(NamedTuple):
    """The facts about a store that has been opened.

    Attributes:
        guarantees: What it claims.
        claims: Sees to it that the server shows it, where it could not yet.
        compounds: The server takes compounds.
        free: The room on the share in bytes, where the server says.
    """

    guarantees: Guarantees
    claims: Claims
    compounds: bool
    free: int | None


def open_root(link: Link, root: str, deadline: Deadline, *, create: bool) -> OpenedShare:
    """Asks for the folder, in one round trip where the server is known to this process.

    A new server shows its abilities in two more round trips. Where this account may not write, and in a folder that is
    still missing, the server shows them at the first write or lock.

    Args:
        link: The connection.
        root: The store's folder, a name on the share.
        deadline: Until when.
        create: The folder may be missing.

    Raises:
        LocationError: There is no such folder.
        AccessDenied: This user may not open it.
        LinkLost: The connection has ended.
    """
    shown = remembered(link)
    link.compounds = link.compounds and shown.compounds
    flushing = [messages.open_directory(root), messages.flush(), messages.query_room(), messages.close()]
    asking = [messages.open_to_ask(root), messages.close()]
    (opened, flushed, room, closed), (asked, _) = link.run_all([flushing, asking], deadline)
    if asked.status in MISSING and create:
        return _opened(link, None)
    if asked.status in MISSING:
        raise LocationError("there is no such folder on the share", hint="Create it, or check how it is spelt.")
    if asked.status == PATH_NOT_COVERED:
        raise leads_elsewhere()
    if not asked.ok:
        raise translated(asked.status, "open the folder")
    if not messages.is_directory(asked):
        raise LocationError("the location is not a folder", hint="Give the folder that holds the documents.")
    takes_apart = opened.ok and link.compounds and not closed.ok and closed.status in REFUSED_REQUEST
    if takes_apart:
        # A server without compounds answers the first request of each, and no other. `show` finds that out as well,
        # and is asked to even of a server that is known: another one may have come in its place.
        link.run([messages.close(messages.file_id_of(opened))], deadline.half())
    elif opened.ok:
        shown = replace(shown, flushes_folders=flushed.ok)
        remember(link, shown)
    if takes_apart or not (shown.enough and shown.replaces and shown.locks):  # what it could not do, it may do by now
        show(link, root, deadline)
    return _opened(link, messages.room_of(room) if room.ok else None)


def _opened(link: Link, free: int | None) -> OpenedShare:
    shown = remembered(link)
    warn(link.connection.server_name, shown)
    guarantees = guarantees_of(shown)
    return OpenedShare(guarantees, Claims(guarantees, shown=shown.enough), shown.compounds, free)
