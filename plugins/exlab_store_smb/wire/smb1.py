"""A question to a server that ends each connection at once: does it speak SMB 1 alone?"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from exlab_store_smb.wire.transport import DeadlineTcp

if TYPE_CHECKING:
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["speaks_only_smb1"]

_NEGOTIATE = 0x72
_DIALECTS = b"".join(b"\x02" + name + b"\x00" for name in (b"NT LM 0.12", b"SMB 2.002", b"SMB 2.???"))
# [MS-SMB 2.2.3.1] and [MS-CIFS 2.2.4.52.1]: flags and identifiers as a client of Windows 7 has them.
_REQUEST = (
    struct.pack("<4sBIBH", b"\xffSMB", _NEGOTIATE, 0, 0x18, 0xC853)
    + bytes(12)
    + struct.pack("<HHHH", 0xFFFF, 0, 0, 0)
    + struct.pack("<BH", 0, len(_DIALECTS))
    + _DIALECTS
)
_CHOSEN = 33  # where the number of the chosen dialect is in the answer, behind the header and the count of words


def speaks_only_smb1(host: str, port: int, deadline: Deadline) -> bool:
    """Offers SMB 1 and 2, and looks which the server chooses.

    Args:
        host: The server's name or address.
        port: Its port.
        deadline: Until when.

    Returns:
        False also where nothing can be found out.
    """
    wire = DeadlineTcp(host, port, max(0.001, deadline.remaining()))
    answer = b""
    with suppress(OSError):
        wire.connect()
        wire.send(_REQUEST)
        answer = wire.recv(max(0.001, deadline.remaining()))
    wire.close()
    return answer[:5] == b"\xffSMB\x72" and answer[_CHOSEN : _CHOSEN + 2] == b"\x00\x00"
