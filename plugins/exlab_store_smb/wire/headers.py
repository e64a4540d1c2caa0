"""The headers of requests and of answers on the wire [MS-SMB2 2.2.1]."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from exlab_store_smb.wire.shapes import SmbRequest

__all__ = ["SIGNATURE", "Response", "answers_in", "packed", "packed_cancel"]

SIGNATURE: Final = slice(48, 64)
"""Where the signature is."""

# ProtocolId, StructureSize, CreditCharge, ChannelSequence and Reserved, Command, CreditRequest, Flags, NextCommand,
# MessageId, Reserved, TreeId, SessionId, Signature.
_HEADER: Final = struct.Struct("<4sHH4xHHIIQ4xIQ16x")
_CANCEL: Final = 12
_ASYNC: Final = 0x2


def packed(
    message: SmbRequest,
    number: int,
    charge: int,
    flags: int,
    tree_id: int,
    session_id: int,
    *,
    last: bool,
    wanted: int | None = None,
) -> bytes:
    """A request with its header, not signed yet; within a compound it ends at a multiple of 8 bytes.

    Args:
        message: The request.
        number: Its MessageId.
        charge: What it costs in credits; 0 for SMB 2.0.2, where each request costs one and says so nowhere.
        flags: [MS-SMB2 2.2.1.2 Flags].
        tree_id: The share.
        session_id: The session.
        last: Whether no other request follows in the compound.
        wanted: How many credits it asks for, if not as many as it costs.
    """
    body = message.pack()
    length = _HEADER.size + len(body)
    padding = b"" if last else bytes(-length % 8)
    following = 0 if last else length + len(padding)
    header = _HEADER.pack(
        b"\xfeSMB",
        _HEADER.size,
        charge,
        message.command,
        max(1, charge) if wanted is None else wanted,
        flags,
        following,
        number,
        tree_id,
        session_id,
    )
    return header + body + padding


def packed_cancel(number: int, async_id: bytes | None, flags: int, session_id: int) -> bytes:
    """A request to give another one up [MS-SMB2 2.2.30], not signed yet.

    Args:
        number: The MessageId of the other one.
        async_id: Its AsyncId, if the server has given it one.
        flags: [MS-SMB2 2.2.1.2 Flags].
        session_id: The session.
    """
    if async_id is not None:
        flags |= _ASYNC
    header = _HEADER.pack(b"\xfeSMB", _HEADER.size, 0, _CANCEL, 0, flags, 0, number, 0, session_id)
    if async_id is not None:
        header = header[:32] + async_id + header[40:]
    return header + struct.pack("<Hxx", 4)


class Response(NamedTuple):
    """An answer with its header, as it was received.

    Attributes:
        status: NTSTATUS [MS-ERREF 2.3].
        command: [MS-SMB2 2.2.1.2 Command].
        credits: How many are granted.
        flags: [MS-SMB2 2.2.1.2 Flags].
        number: The MessageId.
        tree_id: Of the share; a part of the AsyncId where the flags say that it is asynchronous.
        session_id: Of the session.
        packet: All of it.
    """

    status: int
    command: int
    credits: int
    flags: int
    number: int
    tree_id: int
    session_id: int
    packet: bytes

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.packet[_HEADER.size :]

    @property
    def async_id(self) -> bytes:
        """The AsyncId, where the flags say that there is one [MS-SMB2 2.2.1.1]."""
        return self.packet[32:40]


# As above, with Status in the place of ChannelSequence.
_ANSWER: Final = struct.Struct("<4sHxxIHHIIQ4xIQ")


def answers_in(packet: bytes) -> list[Response]:
    """The answers that a packet consists of.

    Args:
        packet: What was received, decrypted.

    Returns:
        Them, in order; none where the packet is not as it should be.
    """
    found: list[Response] = []
    at = 0
    while True:
        if len(packet) - at < _HEADER.size:
            return []
        protocol, size, status, command, credit, flags, following, number, tree_id, session_id = _ANSWER.unpack_from(
            packet, at
        )
        if protocol != b"\xfeSMB" or size != _HEADER.size:
            return []
        if following and (following % 8 or not _HEADER.size <= following <= len(packet) - at):
            return []
        end = at + following if following else len(packet)
        found.append(Response(status, command, credit, flags, number, tree_id, session_id, packet[at:end]))
        if not following:
            return found
        at = end
