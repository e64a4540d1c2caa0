"""Somebody on the way between an SMB client and its server, who reads everything and sends what they like.

An attack is a function: it is given each message and its direction, and says what is sent, and where, in its place.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    Direction = Literal["request", "reply"]
    Attack = Callable[[Direction, bytes], list[tuple[Direction, bytes]]]

SIGNED, FROM_SERVER, ASYNCHRONOUS = 0x8, 0x1, 0x2
NEGOTIATE, SESSION_SETUP, TREE_CONNECT, CREATE, CLOSE, FLUSH, READ, WRITE, LOCK, IOCTL = 0, 1, 3, 5, 6, 7, 8, 9, 10, 11
QUERY_DIRECTORY, QUERY_INFO, SET_INFO = 14, 16, 17

_HEADER = struct.Struct("<4sHHIHHIIQIIQ16s")


def header(
    *,
    command: int,
    number: int,
    status: int = 0,
    flags: int = FROM_SERVER,
    session_id: int = 0,
    tree_id: int = 0,
    grants: int = 1,
    signature: bytes = bytes(16),
) -> bytes:
    """The header of an answer [MS-SMB2 2.2.1]."""
    return _HEADER.pack(b"\xfeSMB", 64, 1, status, command, grants, flags, 0, number, 0, tree_id, session_id, signature)


def success(command: int, data: bytes) -> bytes:
    """What an attacker would like the client to believe: that it worked, and that this is what was asked for."""
    if command == CREATE:
        head = struct.pack("<HBBI32xQQII", 89, 0, 0, 1, 4096, len(data), 0x80, 0)
        return head + b"\x07" * 16 + bytes(8)
    if command == READ:
        return struct.pack("<HBBIII", 17, 80, 0, len(data), 0, 0) + data
    if command == WRITE:
        return struct.pack("<HHIIHH", 17, 0, len(data), 0, 0, 0)
    if command in {QUERY_DIRECTORY, QUERY_INFO}:
        return struct.pack("<HHI", 9, 72, 32) + struct.pack("<QQQII", 1 << 30, 1 << 30, 1 << 30, 8, 512)
    return {CLOSE: struct.pack("<H58x", 60), SET_INFO: struct.pack("<H", 2)}.get(command, struct.pack("<HH", 4, 0))


def parts(message: bytes | bytearray) -> list[tuple[int, int]]:
    """Where each message of a compound begins and ends."""
    found: list[tuple[int, int]] = []
    start = 0
    while len(message) - start >= 64:
        following = int(struct.unpack_from("<I", message, start + 20)[0])
        found.append((start, start + following if following else len(message)))
        if not following:
            break
        start += following
    return found


def command_of(message: bytes | bytearray, start: int = 0) -> int:
    """The Command of a message."""
    return int(struct.unpack_from("<H", message, start + 12)[0])


def is_sealed(message: bytes) -> bool:
    """Whether a message is encrypted."""
    return message[:4] == b"\xfdSMB"


class HostileWire:
    """A proxy on 127.0.0.1 before a server.

    Attributes:
        port: Its own.
        attack: What happens to each message; None lets all pass.
    """

    def __init__(self, port: int) -> None:
        self.attack: Attack | None = None
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for each in [self._listener, *self._sockets]:
            each.close()

    def once(self, attack: Attack) -> threading.Event:
        """Attacks until it has said something else than what it was given; the event is set then."""
        done = threading.Event()

        def attacking(direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
            if done.is_set():
                return [(direction, message)]
            said = attack(direction, message)
            if said != [(direction, message)]:
                done.set()
            return said

        self.attack = attacking
        return done

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            order = threading.Lock()
            ends: dict[Any, socket.socket] = {"request": server, "reply": client}
            for source, direction in ((client, "request"), (server, "reply")):
                thread = threading.Thread(target=self._pass_on, args=(source, direction, ends, order), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(
        self, source: socket.socket, direction: Direction, ends: dict[Direction, socket.socket], order: threading.Lock
    ) -> None:
        with suppress(OSError, ValueError), source.makefile("rb") as stream:
            while len(length := stream.read(4)) == 4:
                message = stream.read(int.from_bytes(length))
                attack = self.attack
                for where, what in attack(direction, message) if attack else [(direction, message)]:
                    with order:
                        ends[where].sendall(len(what).to_bytes(4) + what)
        for end in ends.values():
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def unchanged(_: bytearray) -> bool:
    """Lets an answer pass as it is."""
    return True


class EditedWire(HostileWire):
    """A proxy that passes each answer of the server through a function.

    Attributes:
        edit: Changes an answer in place; False cuts the connection instead of delivering it.
    """

    def __init__(self, port: int) -> None:
        self.edit: Callable[[bytearray], bool] = unchanged
        super().__init__(port)
        self.attack = self._edited

    def _edited(self, direction: Direction, message: bytes) -> list[tuple[Direction, bytes]]:
        if direction == "request":
            return [(direction, message)]
        answer = bytearray(message)
        if not self.edit(answer):
            raise ConnectionAbortedError
        return [(direction, bytes(answer))]
