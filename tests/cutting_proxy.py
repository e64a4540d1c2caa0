"""A proxy between an HTTP client and its server that cuts the connection at a given request, or falls silent there."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Fault = Literal["before_request", "half_request", "after_request", "half_answer", "silent"]
FAULTS: Final[tuple[Fault, ...]] = ("before_request", "half_request", "after_request", "half_answer", "silent")
"""What happens to a request: the server never sees it, or a half of it; it carries it out, and the client sees nothing
of the answer, or a half of it; or it carries it out, and the client waits in vain."""

_PATIENCE = 60.0


class CuttingProxy:
    """Such a proxy; requests are counted from 0, over all connections.

    Args:
        port: The server's, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._mutex = threading.Lock()
        self._plan: tuple[int, Fault] | None = None
        self._refusing = False
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.count = 0
        self.fired = False
        threading.Thread(target=self._accept, daemon=True).start()

    def plan(self, number: int, fault: Fault) -> None:
        """Counts from 0 again, and has a fault happen at a request.

        Args:
            number: Of the request.
            fault: What happens.
        """
        with self._mutex:
            self.count, self.fired, self._plan = 0, False, (number, fault)

    def heal(self) -> int:
        """Counts from 0 again, and lets everything through.

        Returns:
            How many requests there were.
        """
        with self._mutex:
            count, self.count, self._plan, self._refusing = self.count, 0, None, False
            return count

    def refuse(self) -> None:
        """Cuts the connection at every request from now on, before the server sees it."""
        with self._mutex:
            self._refusing = True

    def close(self) -> None:
        """Takes no more connections."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _fault(self) -> Fault | None:
        with self._mutex:
            number, self.count = self.count, self.count + 1
            if self._refusing:
                return "before_request"
            if self._plan is None or self._plan[0] != number:
                return None
            self.fired = True
            return self._plan[1]

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server), timeout=_PATIENCE) as server:
            client.settimeout(_PATIENCE)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError, EOFError):
                while self._exchange(client, server):
                    pass

    def _exchange(self, client: socket.socket, server: socket.socket) -> bool:
        """One request and its answer; False where the connection is cut."""
        request = _message(client)
        fault = self._fault()
        if fault == "before_request":
            return False
        if fault == "half_request":
            server.sendall(request[: len(request) // 2])
            return False
        server.sendall(request)
        answer = _message(server, to_head=request.startswith(b"HEAD "))
        if fault == "after_request":
            return False
        if fault == "half_answer":
            client.sendall(answer[: len(answer) // 2])
            return False
        if fault == "silent":
            client.recv(1)  # until the client gives up
            return False
        client.sendall(answer)
        return True


def _message(peer: socket.socket, *, to_head: bool = False) -> bytes:
    """One message of HTTP/1.1, with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(peer)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    headers = dict(line.split(b":", 1) for line in lines[1:])
    if to_head or lines[0].split(b" ")[1] in {b"204", b"304"}:
        return data
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        while not (body.endswith(b"0\r\n\r\n")):
            body += _some(peer)
    else:
        while len(body) < int(headers.get(b"content-length", b"0")):
            body += _some(peer)
    return head + b"\r\n\r\n" + body


def _some(peer: socket.socket) -> bytes:
    data = peer.recv(1 << 16)
    if not data:
        raise EOFError
    return data


@contextmanager
def running_proxy(port: int) -> Iterator[CuttingProxy]:
    """Starts such a proxy, and ends it."""
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
