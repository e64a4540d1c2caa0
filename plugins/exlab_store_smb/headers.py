"""The header of a request on the wire [MS-SMB2 2.2.1.2], and what smbprotocol wants to know of it afterwards."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exlab_store_smb.messages import Message

__all__ = ["SIGNATURE_AT", "packed", "sent_header"]

SIGNATURE_AT: Final = 48
"""Where the 16 bytes of the signature are."""

# ProtocolId, StructureSize, CreditCharge, ChannelSequence and Reserved, Command, CreditRequest, Flags, NextCommand,
# MessageId, Reserved, TreeId, SessionId, Signature.
_HEADER: Final = struct.Struct("<4sHH4xHHIIQ4xIQ16x")


def packed(
    message: Message, number: int, charge: int, flags: int, tree_id: int, session_id: int, *, last: bool
) -> bytes:
    """A request with its header, not signed yet; within a compound it ends at a multiple of 8 bytes.

    Args:
        message: The request.
        number: Its MessageId.
        charge: What it costs in credits, and asks for; 0 where the dialect knows no charges.
        flags: [MS-SMB2 2.2.1.2 Flags].
        tree_id: The share.
        session_id: The session.
        last: Whether no other request follows in the compound.
    """
    body = message.pack()
    length = _HEADER.size + len(body)
    padding = b"" if last else bytes(-length % 8)
    following = 0 if last else length + len(padding)
    header = _HEADER.pack(
        b"\xfeSMB", _HEADER.size, charge, message.command, charge, flags, following, number, tree_id, session_id
    )
    return header + body + padding


class _Field:
    """A value as smbprotocol's structures have them."""

    __slots__ = ("_value",)

    def __init__(self, value: int) -> None:
        self._value = value

    def get_value(self) -> int:
        """The value."""
        return self._value


_NOT_AN_ECHO: Final = _Field(0)


def sent_header(message: Message, number: int) -> dict[str, _Field]:
    """What smbprotocol's thread that receives asks of the header of a request that was sent.

    Args:
        message: The request.
        number: Its MessageId.
    """
    return {"command": _Field(message.command), "message_id": _Field(number), "reserved": _NOT_AN_ECHO}
