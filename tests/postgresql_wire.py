"""The messages of PostgreSQL's protocol, for the proxy that counts and cuts [PostgreSQL, "Message Formats"]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wire_proxy import Message

if TYPE_CHECKING:
    from wire_proxy import Direction

_CLIENT = {"P": "Parse", "B": "Bind", "D": "Describe", "E": "Execute", "S": "Sync", "H": "Flush", "X": "Terminate"}
_SERVER = {"Z": "ReadyForQuery", "E": "ErrorResponse", "C": "CommandComplete", "A": "Notification"}


class PostgresqlFraming:
    """A letter and four bytes of length; the first message of a client has no letter.

    Each Sync asks for a ReadyForQuery; the first of those answers the client's first message.
    """

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._begun = direction == "reply"
        self._number = 0

    def length(self, incoming: bytearray) -> int:
        begin = 1 if self._begun else 0
        if len(incoming) < begin + 4:
            return begin + 4
        return begin + int.from_bytes(incoming[begin : begin + 4], "big")

    def parse(self, data: bytes) -> Message:
        if not self._begun:
            self._begun = True
            name, asks = "Startup", True
        else:
            letter = data[:1].decode("latin-1")
            names = _CLIENT if self._direction == "request" else _SERVER
            name = names.get(letter, letter)
            asks = letter == ("S" if self._direction == "request" else "Z")
        found: frozenset[int] = frozenset({self._number}) if asks else frozenset()
        self._number += asks
        return Message(data, (name,), found)
