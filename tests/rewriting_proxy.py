"""A TCP proxy before an SMB server that rewrites its answers: a server that says what no good one would.

It works on sessions that are neither signed nor encrypted, as guests' are: those that are refuse what it sends.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

NEGOTIATE: Final = 0
CREATE: Final = 5
READ: Final = 8
WRITE: Final = 9
QUERY_DIRECTORY: Final = 14

_HEADER: Final = 64


@dataclass(slots=True)
class Answer:
    """An answer of the server, to be changed in place.

    Attributes:
        command: [MS-SMB2 2.2.1.2 Command].
        asked: The request without its header.
        status: NTSTATUS.
        body: What follows the header.
    """

    command: int
    asked: bytes
    status: int
    body: bytes


class RewritingProxy:
    """The proxy, while it is entered.

    Args:
        port: The server's, on 127.0.0.1.
        rewrite: Called with each answer, in a thread of the connection.
    """

    def __init__(self, port: int, rewrite: Callable[[Answer], None]) -> None:
        self._target = port
        self._rewrite = rewrite
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                asked: dict[int, bytes] = {}
                self._begin(lambda client=client, server=server, asked=asked: self._up(client, server, asked))  # type: ignore[misc]
                self._begin(lambda client=client, server=server, asked=asked: self._down(server, client, asked))  # type: ignore[misc]

    def _up(self, client: socket.socket, server: socket.socket, asked: dict[int, bytes]) -> None:
        with suppress(OSError):
            while packet := _received(client):
                for part in _parts(packet):
                    (number,) = struct.unpack_from("<Q", part, 24)
                    asked[number] = bytes(part[_HEADER:])
                server.sendall(struct.pack(">I", len(packet)) + packet)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, server: socket.socket, client: socket.socket, asked: dict[int, bytes]) -> None:
        with suppress(OSError):
            while packet := _received(server):
                parts = [self._rewritten(part, asked) for part in _parts(packet)]
                for part in parts[:-1]:
                    part += bytes(-len(part) % 8)
                    struct.pack_into("<I", part, 20, len(part))
                data = b"".join(parts)
                client.sendall(struct.pack(">I", len(data)) + data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _rewritten(self, part: bytearray, asked: dict[int, bytes]) -> bytearray:
        status, command, number = struct.unpack_from("<8xIH10xQ", part)
        answer = Answer(command, asked.get(number, b""), status, bytes(part[_HEADER:]))
        self._rewrite(answer)
        struct.pack_into("<I", part, 8, answer.status)
        return part[:_HEADER] + answer.body


def _received(peer: socket.socket) -> bytes:
    """A message without its length; empty at the end of the connection."""
    length = _exactly(peer, 4)
    return _exactly(peer, int.from_bytes(length, "big")) if length else b""


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        received = peer.recv(count - len(data))
        if not received:
            return b""
        data += received
    return bytes(data)


def _parts(packet: bytes) -> list[bytearray]:
    """The requests or answers of a compound."""
    found: list[bytearray] = []
    at = 0
    while True:
        (following,) = struct.unpack_from("<I", packet, at + 20)
        found.append(bytearray(packet[at : at + following] if following else packet[at:]))
        if not following:
            return found
        at += following
