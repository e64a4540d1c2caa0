"""The messages between two machines, and the proof that a message is from the other.

A message is a document: 64 hex digits, a line end, and JSON. The digits are the HMAC-SHA256 of the sender's side and
the JSON, with the key that both have from the code. So whoever else may write into the folder can end an examination,
and cannot have a machine do anything.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

__all__ = [
    "LIMIT",
    "PROTOCOL",
    "Answer",
    "Ended",
    "Failed",
    "Invitation",
    "Joined",
    "Message",
    "Request",
    "Side",
    "opened",
    "sealed",
]

PROTOCOL: Final = 1
LIMIT: Final = 256 << 10
"""Bytes that a message may have."""

_MARK = 64  # hex digits of a SHA-256

Side: TypeAlias = Literal["inviting", "joined"]
_Name = Annotated[str, msgspec.Meta(max_length=255)]
_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 30)]


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True, kw_only=True):
    """One document.

    Attributes:
        number: Which request it is, answers, or follows; 0 before the first.
    """

    number: _Number


class Invitation(Message, frozen=True, kw_only=True):
    """The first document of the side that examines.

    Attributes:
        protocol: Which form of messages it writes.
        machine: Its name.
        kernel: The same text on two sides that run on one kernel; empty where that is not known.
        seconds: How long each kind of work goes on that is a matter of time.
    """

    protocol: int
    machine: _Name
    kernel: _Name
    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)]


class Joined(Message, frozen=True, kw_only=True):
    """The first document of the side that joins.

    Attributes:
        machine: Its name.
        kernel: As in `Invitation`.
    """

    machine: _Name
    kernel: _Name


class Request(Message, frozen=True, kw_only=True):
    """Something that the other machine's client is asked for.

    Attributes:
        name: What: one of `requests.TASKS`, or ``open`` and ``kill`` for the client itself.
        arguments: A JSON object.
        limit: Seconds that it may take.
    """

    name: Annotated[str, msgspec.Meta(max_length=40)]
    arguments: msgspec.Raw
    limit: Annotated[float, msgspec.Meta(ge=0, le=10_000)]


class Answer(Message, frozen=True, kw_only=True):
    """What came of a request.

    Attributes:
        result: JSON; of which type, the request says.
    """

    result: msgspec.Raw


class Failed(Message, frozen=True, kw_only=True):
    """Why nothing came of a request.

    Attributes:
        code: That of a `StoreError`; or the client's own ``NoAnswer`` or ``ClientGone``.
        message: What went wrong.
        hint: What to do.
    """

    code: Annotated[str, msgspec.Meta(max_length=40)]
    message: _Text
    hint: _Text = ""


class Ended(Message, frozen=True, kw_only=True):
    """The last document of a side.

    Attributes:
        reason: Empty where all is done; otherwise why it ends before that, as a clause.
    """

    reason: _Text = ""


_ANY_MESSAGE: TypeAlias = Invitation | Joined | Request | Answer | Failed | Ended
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(_ANY_MESSAGE)


def sealed(side: Side, message: Message, key: bytes) -> bytes:
    """The document of a message.

    Args:
        side: Who writes it.
        message: The message to write.
        key: That of the code.
    """
    body = msgspec.json.encode(message)
    return _mark(side, body, key) + b"\n" + body


def opened(side: Side, document: bytes, key: bytes) -> Message | None:
    """The message in a document.

    Args:
        side: Who should have written it.
        document: Anything.
        key: That of the code.

    Returns:
        The message; None if that side has not written it, or if it is too long or has another form.
    """
    if len(document) > LIMIT or document[_MARK : _MARK + 1] != b"\n":
        return None
    body = document[_MARK + 1 :]
    if not hmac.compare_digest(document[:_MARK], _mark(side, body, key)):
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _mark(side: Side, body: bytes, key: bytes) -> bytes:
    return hmac.new(key, side.encode() + b"\0" + body, hashlib.sha256).hexdigest().encode()
