"""The most bytes of one request and one answer, and the least that this backend works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exlab_store import NotSupported
from exlab_store_smb.wire.sender import CREDIT_SIZE

if TYPE_CHECKING:
    from exlab_store_smb.wire.connection import SmbConnection

__all__ = ["Limits", "limits_of"]

# [MS-SMB2 3.3.5.4]: each of the three should be 65,536 or more. A READ or WRITE of a few bytes at a time would take a
# document hours. Samba offers 8 KiB for the third where "smb2 max trans" says so; what has to fit is a rename to the
# longest key, or one entry of a folder.
_LEAST_DATA: Final = 65536
_LEAST_TRANSACTION: Final = 4096


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may carry, in bytes.

    Attributes:
        read: Data of a READ.
        written: Data of a WRITE.
        listed: Entries of a folder.
    """

    read: int
    written: int
    listed: int


def limits_of(connection: SmbConnection) -> Limits:
    """What one request may carry over a connection that has been granted its credits.

    Args:
        connection: The connection.

    Raises:
        NotSupported: The server offers too little.
    """
    offered = {
        "MaxReadSize": (connection.max_read_size or 0, _LEAST_DATA),
        "MaxWriteSize": (connection.max_write_size or 0, _LEAST_DATA),
        "MaxTransactSize": (connection.max_transact_size or 0, _LEAST_TRANSACTION),
    }
    for name, (size, least) in offered.items():
        if size < least:
            raise NotSupported(
                f"the server offers {name} {size}, and a store needs {least} bytes",
                hint="Raise the limit on the server, or use another one.",
            )
    # A request that needs more credits than there are would never be sent; a quarter, so that threads do not wait for
    # each other either. Without multi-credit requests (SMB 2.0.2) one credit is all that a request can spend.
    most = max(1, connection.sender.most_credits // 4) if connection.supports_multi_credit else 1
    read, written, listed = (min(size, most * CREDIT_SIZE) for size, _ in offered.values())
    return Limits(read, written, listed)
