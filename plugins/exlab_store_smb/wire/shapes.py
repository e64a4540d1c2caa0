"""A request and its answer without their headers, and the shape that the answer must have.

Every length in an answer is bounded by the answer itself. An answer is looked at once, as it arrives. One that does not
fit ends the connection before anybody reads a part of it: what became of the request is then found out as after any
lost answer.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from smbprotocol.header import Commands

__all__ = ["HEADER", "RELATED", "MalformedAnswer", "Reply", "SmbRequest", "ensure_well_formed", "variable_part"]

HEADER: Final = 64
"""Bytes of a header; offsets are counted from its beginning."""

RELATED: Final = b"\xff" * 16
"""Stands for the file of the CREATE before it [MS-SMB2 3.2.4.1.4]."""

# StructureSize and the bytes that there are at least [MS-SMB2 2.2.14 to 2.2.40]. One more byte than there is counts
# for a variable part.
_FIXED: Final = {
    Commands.SMB2_CREATE: (89, 88),
    Commands.SMB2_CLOSE: (60, 60),
    Commands.SMB2_FLUSH: (4, 4),
    Commands.SMB2_READ: (17, 16),
    Commands.SMB2_WRITE: (17, 16),
    Commands.SMB2_LOCK: (4, 4),
    Commands.SMB2_QUERY_DIRECTORY: (9, 8),
    Commands.SMB2_QUERY_INFO: (9, 8),
    Commands.SMB2_CHANGE_NOTIFY: (9, 8),
    Commands.SMB2_SET_INFO: (2, 2),
}


_WITH_OUTPUT: Final = frozenset({Commands.SMB2_QUERY_DIRECTORY, Commands.SMB2_QUERY_INFO, Commands.SMB2_CHANGE_NOTIFY})


@dataclass(frozen=True, slots=True)
class SmbRequest:
    """A request, without its header. It is bytes from the start: smbprotocol's structures take ten times as long.

    Attributes:
        command: [MS-SMB2 2.2.1.2 Command].
        before: What comes before the FileId.
        file_id: `RELATED`, or the file that it works on; empty for a CREATE, which has none yet.
        after: What follows the FileId.
        payload: How many bytes it writes, or its answer may have at most; they have to be paid for with credits.
        least: How many bytes of information its answer must have.
        within_share: The names in it begin at the share, also where those of other requests begin with the server.
        anew: Begins a chain of its own within a compound; see `exlab_store_smb.session.chains`.
    """

    command: int
    before: bytes
    file_id: bytes
    after: bytes = b""
    payload: int = 0
    least: int = 0
    within_share: bool = False
    anew: bool = False

    def pack(self) -> bytes:
        """The bytes on the wire."""
        return self.before + self.file_id + self.after


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server.

    Attributes:
        status: NTSTATUS [MS-ERREF 2.3]; 0 is success.
        body: What follows the header.
    """

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return self.status == 0


class MalformedAnswer(ValueError):
    """An answer that no server gives that keeps to the protocol."""


def variable_part(body: bytes, offset: int, length: int, fixed: int) -> bytes:
    """What an answer carries behind its fixed part.

    Args:
        body: What follows the header.
        offset: Where it begins, counted from the header's beginning, as the answer says.
        length: Of it in bytes, as the answer says.
        fixed: Bytes of the fixed part.

    Raises:
        MalformedAnswer: It begins inside the fixed part, or ends behind the answer.
    """
    start = offset - HEADER
    if length and not fixed <= start <= len(body) - length:
        raise MalformedAnswer("the server's answer has its data where there is none")
    return body[start : start + length] if length else b""


def ensure_well_formed(asked: SmbRequest, body: bytes) -> None:
    """Raises for the answer to a request that succeeded and does not look like one.

    Args:
        asked: The request.
        body: What follows the answer's header.

    Raises:
        MalformedAnswer: It is too short, or says what no answer to this request can.
    """
    size, least = _FIXED[asked.command]
    if len(body) < least or int.from_bytes(body[:2], "little") != size:
        raise MalformedAnswer("the server's answer is not as long as it should be")
    if asked.command == Commands.SMB2_CREATE:
        if body[64:80] == RELATED:  # what follows would work on another file
            raise MalformedAnswer("the server's answer names no file")
    elif asked.command == Commands.SMB2_READ:
        offset, length = struct.unpack_from("<xxBxI", body)
        _ensure_at_most(length, asked.payload)
        variable_part(body, offset, length, least)
    elif asked.command == Commands.SMB2_WRITE:
        _ensure_at_most(struct.unpack_from("<xxxxI", body)[0], asked.payload)
    elif asked.command in _WITH_OUTPUT:
        offset, length = struct.unpack_from("<xxHI", body)
        _ensure_at_most(length, asked.payload)
        if length < asked.least:
            raise MalformedAnswer("the server's answer says less than was asked for")
        variable_part(body, offset, length, least)


def _ensure_at_most(length: int, wanted: int) -> None:
    if length > wanted:
        raise MalformedAnswer("the server's answer says more than was asked for")
