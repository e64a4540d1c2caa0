"""The proof that a written document stands at its name.

In a DFS namespace the names of a CREATE begin with the server and the share, and that of a rename does not. A server
that sees this otherwise puts documents elsewhere, and acknowledges them: measured on Samba 4.22, with a rename that
began with both, where folders of these names exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exlab_store import WriteOutcomeUnknown, version_of
from exlab_store_smb.steps.outcome import untouched_since
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import MISSING

if TYPE_CHECKING:
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.outcome import Attempt
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["prove"]

_MOST = 64 << 10


def prove(link: Link, document: DocumentPath, data: bytes, attempt: Attempt, deadline: Deadline) -> bool:
    """Reads back a document that was acknowledged.

    Args:
        link: The connection.
        document: Where the document is.
        data: What was written; its first 64 KiB are compared.
        attempt: The write.
        deadline: Until when.

    Returns:
        True if the document is there. False if another client has written since: then nothing is known.

    Raises:
        WriteOutcomeUnknown: The server has acknowledged the write, and the document was not changed by it.
        LinkLost: The connection has ended.
    """
    opened, answered, _ = link.run(
        [messages.open_to_read(document.path), messages.read(0, _MOST), messages.close()], deadline.half()
    )
    if opened.ok and messages.size_of(opened) == len(data):
        found = messages.read_bytes(answered) if answered.ok else b""
        if found == data[:_MOST]:
            return True
    if opened.status in MISSING or (opened.ok and untouched_since(link, document, attempt.begun, deadline)):
        raise WriteOutcomeUnknown(
            "the server has acknowledged the write, and the document is not there by its name: give the server and the"
            " share that hold the folder, not a DFS namespace",
            intended=version_of(data),
        )
    return False
