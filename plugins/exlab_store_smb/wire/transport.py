"""TCP with deadlines, in the place of smbprotocol's own.

What that does otherwise (1.17): a send into a black hole holds a lock for ever that closing needs too; a descriptor
above 1,023 cannot be used (select); Nagle's algorithm holds a small request back while another is on its way.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from exlab_store import came_from_signal_handler, suppress_unless_signalled
from exlab_store.backend import in_forked_child
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.names import addresses_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DeadlineTcp"]

# A server that has vanished is noticed after about 25 s even when nothing is sent, as while waiting for a lock.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPALIVE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


_LARGEST = (1 << 24) - 1  # bytes of a message [MS-SMB2 2.1]


_open: weakref.WeakSet[DeadlineTcp] = weakref.WeakSet()


def _abandon_in_child() -> None:
    # A forked child's copy of a socket would keep the connection, and its locks, alive when the parent is killed.
    for transport in list(_open):
        transport.abandon()


in_forked_child(_abandon_in_child)


class DeadlineTcp:
    """Direct TCP transport [MS-SMB2 2.1]: each message behind 4 bytes with its length.

    Args:
        server: The server's name or address.
        port: Its port.
        timeout: Seconds that connecting may take, and then seconds for each message to be handed to the network.
    """

    def __init__(self, server: str, port: int, timeout: float) -> None:
        self.server = server
        self.port = port
        self.timeout = timeout
        self.connected = False
        self.receiver = 0
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()

    def connect(self) -> None:
        """Connects to the first of the server's addresses that answers.

        Raises:
            OSError: None does, within the time, or the name is not known.
        """
        deadline = Deadline(self.timeout)
        failure: OSError = OSError("the server's name has no address")
        found = addresses_of(self.server, self.port, deadline)
        for number, (family, kind, protocol, _, address) in enumerate(found):
            candidate = socket.socket(family, kind, protocol)
            try:
                # One that swallows everything, as IPv6 behind some firewalls, leaves time for those after it.
                candidate.settimeout(max(0.001, deadline.remaining() / (len(found) - number)))
                candidate.connect(address)
                self._configure(candidate)
            except OSError as error:
                candidate.close()
                if came_from_signal_handler(error):
                    raise
                failure = error
                continue
            except BaseException:
                candidate.close()
                raise
            self._socket = candidate
            self.connected = True
            _open.add(self)
            return
        raise failure

    def _configure(self, connected: socket.socket) -> None:
        connected.settimeout(self.timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            option = getattr(socket, name, None)  # TCP_KEEPALIVE is macOS's name for TCP_KEEPIDLE
            if option is not None:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)

    def send(self, message: bytes) -> None:
        """Hands a whole message to the network. After a failure the connection is closed: half a message is none.

        Args:
            message: One SMB2 message, a compound, or either of them encrypted.

        Raises:
            ConnectionError: It could not be handed over whole, so that the server cannot carry it out.
        """
        # Not for ever: a lock that nobody refers to is released by the collector, perhaps in the middle of a send.
        (alone,) = map(self._sending.acquire, (True,), (self.timeout,))  # in one step: a signal may interrupt
        if not alone:
            self.close()
            raise ConnectionAbortedError("the connection was busy for too long")
        try:
            used = self._socket
            if used is None or not self.connected:
                raise ConnectionAbortedError("the connection is closed")
            if _ended_by_peer(used):
                # As after a long sleep of this process. The server would not carry it out, but who sends it cannot
                # know that any more.
                self.close()
                raise ConnectionAbortedError("the server has ended the connection")
            try:
                used.sendall(struct.pack(">I", len(message)) + message)
            except OSError as error:
                self.close()
                if came_from_signal_handler(error):
                    raise
                raise ConnectionAbortedError(f"the connection broke while sending: {error}") from error
            except BaseException:
                self.close()  # perhaps half of it is on its way, and what is sent next would be taken for the rest
                raise
        finally:
            self._sending.release()

    def recv(self, timeout: float) -> bytes:
        """Waits for a message.

        Args:
            timeout: Seconds to wait.

        Returns:
            The message; empty when the connection has ended, however it did.

        Raises:
            TimeoutError: There was none.
        """
        self.receiver = threading.get_ident()
        deadline = time.monotonic() + timeout
        length = self._exactly(4, lambda: time.monotonic() > deadline)
        if not length:
            return b""
        size = int(struct.unpack(">I", length)[0])
        if size > _LARGEST:  # no SMB server; as text, "HTTP" asks for 1.2 GB of memory
            self.close()
            return b""
        return self._exactly(size, lambda: False)

    def _exactly(self, count: int, gives_up: Callable[[], bool]) -> bytes:
        buffer = bytearray(count)
        view, filled = memoryview(buffer), 0
        while filled < count:
            used = self._socket
            if used is None:
                return b""
            try:
                received = used.recv_into(view[filled:])
            except TimeoutError:
                if not self.connected:
                    received = 0
                elif not filled and gives_up():
                    raise
                else:
                    continue
            except OSError:
                received = 0
            if not received:
                self.close()
                return b""
            filled += received
        return bytes(buffer)

    def close(self) -> None:
        """Ends the connection at once, and with it each wait for it. A second call does nothing."""
        self.connected = False
        used = self._socket
        if used is None:
            return
        with suppress_unless_signalled(OSError):
            used.shutdown(socket.SHUT_RDWR)
        # The receiving thread closes the descriptor: closed by another thread, its number might be another
        # file or connection by the time of the next call.
        if self.receiver in {0, threading.get_ident()}:
            self._socket = None
            used.close()

    def abandon(self) -> None:
        """Closes a forked child's copy of the socket, and leaves the connection to the parent."""
        self.connected = False
        used, self._socket = self._socket, None
        if used is not None:
            used.close()


def _ended_by_peer(used: socket.socket) -> bool:
    """Whether the server has sent all that it ever will, which the receiving thread may not have seen yet."""
    if sys.platform != "linux":
        return False  # only Linux has POLLRDHUP
    poll = select.poll()
    poll.register(used, select.POLLRDHUP)
    return bool(poll.poll(0))
