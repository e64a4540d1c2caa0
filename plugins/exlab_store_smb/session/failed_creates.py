"""Compounds whose first CREATE has failed: Samba 4.17 carries the rest out, Samba 4.22 does not.

A server that does so needs a question before each write: it replaces a document that somebody has deleted and another
program still has open, and takes the new one away later. Samba 4.22 refuses to replace it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store_smb.wire import messages

if TYPE_CHECKING:
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["find_out", "goes_on"]

_known: dict[tuple[object, ...], bool] = {}  # by server and share, for the life of this process


def find_out(link: Link, missing: str, deadline: Deadline) -> None:
    """Finds it out, once for each server and share in a process.

    Args:
        link: The connection.
        missing: A name on the share that no file has.
        deadline: Until when.

    Raises:
        LinkLost: The connection has ended.
    """
    if link.identity not in _known:
        asking = [messages.open_to_ask(missing), messages.close(), messages.open_to_ask(link.path()), messages.close()]
        first, _, second, _ = link.run(asking, deadline)
        _known[link.identity] = not first.ok and second.ok


def goes_on(link: Link) -> bool:
    """Whether the server goes on after a CREATE that has failed.

    Args:
        link: A connection to it.
    """
    return _known.get(link.identity, False)
