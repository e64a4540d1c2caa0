"""The reason for a refused file, as the file shows it: its read-only mark, missing rights on it, or on its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store import AccessDenied
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import ACCESS_DENIED, MISSING, translated

if TYPE_CHECKING:
    from exlab_store import StoreError
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["lock_refused", "marked_read_only"]

_UNMARK = "Take the attribute away (attrib -r in Windows, chmod u+w on the server), or have the server's keeper do it."


def lock_refused(link: Link, lock_file: DocumentPath, deadline: Deadline) -> StoreError:
    """The error for a lock file that the server does not open (ACCESS_DENIED).

    Args:
        link: The connection.
        lock_file: Where the lock file is.
        deadline: Until when.

    Raises:
        LinkLost: The connection has ended.
    """
    asked, _ = link.run([messages.open_to_ask(lock_file.path), messages.close()], deadline.half())
    if asked.status in MISSING:
        return AccessDenied(
            f"cannot lock the document: this account may not add its lock file {lock_file.name!r}",
            hint="Give the account the right to add files to the folder, and see that the share is not read-only.",
        )
    if asked.ok and messages.is_read_only(asked):
        return AccessDenied(
            f"cannot lock the document: its lock file {lock_file.name!r} is marked read-only", hint=_UNMARK
        )
    if asked.ok:
        return AccessDenied(
            f"cannot lock the document: this account may not write its lock file {lock_file.name!r}",
            hint="Give the account the right to read and to write it, and see that the share is not read-only.",
        )
    return translated(ACCESS_DENIED, "lock the document")


def marked_read_only(action: str) -> AccessDenied:
    """The error for a document that is not changed because of its attribute [MS-FSCC 2.6 READONLY].

    Args:
        action: What was tried, a verb with its object: "write the document".
    """
    return AccessDenied(f"cannot {action}: it is marked read-only on the server", hint=_UNMARK)
