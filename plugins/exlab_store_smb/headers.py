"""The headers of requests and of answers on the wire [MS-SMB2 2.2.1], and how smbprotocol wants to see them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from exlab_store_smb.messages import Message

__all__ = ["SIGNATURE", "UNHEARD", "Answer", "SentHeader", "answers_in", "packed", "received_header", "sent_header"]

T = TypeVar("T")

SIGNATURE: Final = slice(48, 64)
"""Where the signature is."""

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
        charge: What it costs in credits, and asks for; 0 for SMB 2.0.2, where each request costs one and says so
            nowhere.
        flags: [MS-SMB2 2.2.1.2 Flags].
        tree_id: The share.
        session_id: The session.
        last: Whether no other request follows in the compound.
    """
    body = message.pack()
    length = _HEADER.size + len(body)
    padding = b"" if last else bytes(-length % 8)
    following = 0 if last else length + len(padding)
    asked = max(1, charge)
    header = _HEADER.pack(
        b"\xfeSMB", _HEADER.size, charge, message.command, asked, flags, following, number, tree_id, session_id
    )
    return header + body + padding


class Answer(NamedTuple):
    """An answer with its header, as it was received.

    Attributes:
        status: NTSTATUS [MS-ERREF 2.3].
        command: [MS-SMB2 2.2.1.2 Command].
        credits: How many are granted.
        flags: [MS-SMB2 2.2.1.2 Flags].
        number: The MessageId.
        packet: All of it.
    """

    status: int
    command: int
    credits: int
    flags: int
    number: int
    packet: bytes


# As above up to MessageId, with Status in the place of ChannelSequence.
_ANSWER: Final = struct.Struct("<8xIHHIIQ")


def answers_in(packet: bytes) -> list[Answer]:
    """The answers that a packet consists of.

    Args:
        packet: What was received, not encrypted.

    Returns:
        Them, in order; none where the packet is not as it should be.
    """
    found: list[Answer] = []
    at = 0
    while True:
        if len(packet) - at < _HEADER.size or packet[at : at + 4] != b"\xfeSMB":
            return []
        status, command, credit, flags, following, number = _ANSWER.unpack_from(packet, at)
        end = at + following if following else len(packet)
        if following and not _HEADER.size <= following <= len(packet) - at:
            return []
        found.append(Answer(status, command, credit, flags, number, packet[at:end]))
        if not following:
            return found
        at = end


class _Field(Generic[T]):
    """A value as smbprotocol's structures have them."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def get_value(self) -> T:
        """The value."""
        return self._value


_HEARD: Final = _Field(0)
UNHEARD: Final = _Field(1)
"""How smbprotocol marks a request whose answer is dropped when it comes."""


class SentHeader(dict[str, _Field[int]]):
    """What is asked of the header of a request that was sent as bytes."""


def received_header(answer: Answer) -> dict[str, _Field[int] | _Field[bytes]]:
    """What is asked of the header of an answer.

    Args:
        answer: The answer.
    """
    return {"status": _Field(answer.status), "data": _Field(answer.packet[_HEADER.size :])}


def sent_header(message: Message, number: int) -> SentHeader:
    """What is asked of the header of a request, by smbprotocol's thread that receives too.

    Args:
        message: The request.
        number: Its MessageId.
    """
    return SentHeader(command=_Field(message.command), message_id=_Field(number), reserved=_HEARD)
