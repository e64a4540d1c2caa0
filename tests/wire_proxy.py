"""A TCP proxy before an SMB server that counts round trips, adds delay, and fails at the message it is told to.

It forwards whole SMB messages (each a compound of one or more commands), for it understands the four bytes of length
that frame them. What is not encrypted it can also name.

One thread does everything, so that all messages and all faults have one order.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import struct
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

When = Literal["before_request", "after_request", "reply_lost"]
Direction = Literal["request", "reply"]

_COMMANDS = (
    "NEGOTIATE SESSION_SETUP LOGOFF TREE_CONNECT TREE_DISCONNECT CREATE CLOSE FLUSH READ WRITE LOCK IOCTL CANCEL "
    "ECHO QUERY_DIRECTORY CHANGE_NOTIFY QUERY_INFO SET_INFO OPLOCK_BREAK"
).split()
_CANCEL = _COMMANDS.index("CANCEL")
_PENDING = 0x00000103
_UNSOLICITED = 0xFFFFFFFFFFFFFFFF  # the message id of what the server says unasked: an oplock or lease break

_HEADER = struct.Struct("<4sHHIHHIIQ")  # up to the message id
_PATIENCE = 10.0  # seconds for the proxy's own thread, and for a server to accept a connection


class Message(NamedTuple):
    """One framed message, as seen on the wire.

    Attributes:
        data: With its frame.
        names: Its commands; a reply's with the status where that is not success.
        asks: Message ids that a request wants answered, or that a reply answers. Interim replies, breaks and
            CANCEL have none.
    """

    data: bytes
    names: tuple[str, ...]
    asks: frozenset[int]


def parse(data: bytes, direction: Direction, sealed: int) -> Message:
    """Reads the headers of a framed message.

    Args:
        data: The message with its frame.
        direction: Which way it goes.
        sealed: The number of the message among the encrypted ones of its connection and direction. Their ids are
            hidden, so they are taken to be answered one by one, in order.
    """
    if data[4:8] != b"\xfeSMB":
        kind = {b"\xfdSMB": "encrypted", b"\xfcSMB": "compressed", b"\xffSMB": "SMB1"}.get(data[4:8], "unknown")
        return Message(data, (f"({kind}, {len(data) - 4} bytes)",), frozenset({-1 - sealed}))
    names: list[str] = []
    asks: set[int] = set()
    start = 4
    while len(data) >= start + _HEADER.size:
        _, _, _, status, command, _, _, following, number = _HEADER.unpack_from(data, start)
        name = _COMMANDS[command] if command < len(_COMMANDS) else f"command {command}"
        if direction == "reply" and status:
            name += "(pending)" if status == _PENDING else f"({status:#x})"
        names.append(name)
        interim = direction == "reply" and status == _PENDING
        if not interim and number != _UNSOLICITED and not (direction == "request" and command == _CANCEL):
            asks.add(number)
        if not following:
            break
        start += following
    return Message(data, tuple(names), frozenset(asks))


class Framing(Protocol):
    """How one end of a connection is read: messages of which protocol."""

    def length(self, incoming: bytearray) -> int:
        """How many bytes the next message has; more than there are, while that is not known."""
        ...

    def parse(self, data: bytes) -> Message:
        """Reads a whole message."""
        ...


class SmbFraming:
    """Four bytes of length before each message."""

    def __init__(self, direction: Direction) -> None:
        self._direction: Direction = direction
        self._sealed = 0

    def length(self, incoming: bytearray) -> int:
        return 4 + (int.from_bytes(incoming[:4], "big") if len(incoming) >= 4 else 0)

    def parse(self, data: bytes) -> Message:
        message = parse(data, self._direction, self._sealed)
        self._sealed += data[4:8] != b"\xfeSMB"
        return message


@dataclass(eq=False)
class Count:
    """What passed while it was counting.

    A round trip begins when the client sends a request while it has the complete replies to all that it sent
    since counting began. What it sends before that, on whichever connection, overlaps, and counts no further: the
    number is how often a client with no delay of its own would have waited for the network. An interim
    reply (STATUS_PENDING) completes nothing, CANCEL starts nothing, and making a TCP connection is not counted. On
    encrypted connections an interim reply cannot be told from a complete one.

    Attributes:
        requests: Messages from the client; a compound is one.
        responses: Messages from the server that answered one or more commands sent since counting began.
        round_trips: See above.
        log: Direction and commands of each message, in the order in which the client sent and received them.
    """

    requests: int = 0
    responses: int = 0
    round_trips: int = 0
    log: list[tuple[Direction, tuple[str, ...]]] = field(default_factory=list)
    _open: set[tuple[object, int]] = field(default_factory=set, repr=False)

    @property
    def all_answered(self) -> bool:
        """Whether everything that was counted as sent has been answered, or its connection is gone."""
        return not self._open

    def sent(self, connection: object, message: Message) -> None:
        """The client has sent a message."""
        self.log.append(("request", message.names))
        self.requests += 1
        if message.asks and not self._open:
            self.round_trips += 1
        self._open.update((connection, number) for number in message.asks)

    def received(self, connection: object, message: Message) -> None:
        """The client receives a message."""
        self.log.append(("reply", message.names))
        answered = {(connection, number) for number in message.asks} & self._open
        self.responses += bool(answered)
        self._open -= answered

    def forget(self, connection: object) -> None:
        """A connection is gone, and with it the replies that were to come."""
        self._open = {asked for asked in self._open if asked[0] is not connection}


@dataclass(eq=False)
class _Plan:
    """A fault that is to happen at a message of the client."""

    after: int  # messages that pass first
    action: Literal["cut", "black hole"]
    when: When
    everything: bool
    reset: bool
    lasting: bool = False


class WireProxy:
    """A proxy on 127.0.0.1 before ``host:port``.

    A cut ends the client's connection at once. The server's end is closed in order: it still executes what it has
    been sent, finds the end of the stream behind it, and frees what the connection held.

    A black hole closes nothing and forwards nothing, not even that a side has closed: the server keeps the locks of
    a client that has given up, until `cut` or `close`. The server's TCP keepalive is no help, for the proxy's kernel
    answers it; that the server finds out by itself cannot be shown here.

    Attributes:
        port: On 127.0.0.1.
        delay: Seconds for which each message is on its way, in either direction; twice that for a round trip. It
            may be set at any time, and applies to what is sent from then on. Messages overlap, so it bounds no
            throughput.
        fired: Set when a planned fault has happened; cleared when one is planned.
        accepted: How many connections clients have made.
    """

    def __init__(
        self, host: str, port: int, *, delay: float = 0.0, framing: Callable[[Direction], Framing] = SmbFraming
    ) -> None:
        self.delay = delay
        self.framing = framing
        self.fired = threading.Event()
        self.accepted = 0
        self._target = (host, port)
        self._reservation = _bound(0)  # never listens; keeps the port while connections are refused
        self.port: int = self._reservation.getsockname()[1]
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._waker, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._connections: list[_Connection] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_number = 0
        self._counts: list[Count] = []
        self._plan: _Plan | None = None
        self._silent = False
        self._closing = False
        self._listen()
        self._thread = threading.Thread(target=self._run, name=f"wire proxy on port {self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections and ends the thread."""
        if self._thread.is_alive():

            def closing() -> None:
                self._closing = True

            self._call(closing)
            self._thread.join(_PATIENCE)
        # Only now: until it has ended, the thread may be woken.
        self._waker.close()
        self._wake.close()

    # Counting

    @contextmanager
    def counting(self) -> Iterator[Count]:
        """Counts what passes inside a ``with`` block."""
        count = Count()
        self._call(lambda: self._counts.append(count))
        try:
            yield count
        finally:
            self._call(lambda: self._counts.remove(count))

    def all_answered(self, count: Count) -> bool:
        """Whether nothing is on its way of what clients have sent until now, and since counting began.

        Args:
            count: From `counting`.
        """
        answered: list[bool] = []
        self._call(lambda: answered.append(count.all_answered))
        return answered[0]

    # Faults

    def cut(self, *, reset: bool = False) -> None:
        """Closes all connections, those in a black hole too; messages that are on their way are lost.

        Args:
            reset: The client gets a reset (RST) rather than an orderly end (FIN).
        """
        self._call(lambda: self._each(lambda connection: connection.cut(reset=reset)))

    def cut_at(self, n: int, when: When, *, everything: bool = False, reset: bool = False) -> None:
        """Plans a cut at a message of the client; it replaces a plan that has not happened yet.

        Args:
            n: Which of the messages that the client sends from now on, over all connections; the next one is 0.
            when: ``before_request``: the server never sees the message. ``after_request``: the client is cut off as
                soon as the message has been forwarded, and perhaps before the server has executed it.
                ``reply_lost``: when the server has executed it and answered all of it.
            everything: All connections are cut, and not only the one that has the message.
            reset: See `cut`.
        """
        self._planned(_Plan(n, "cut", when, everything, reset))

    def black_hole_at(self, n: int, which: Direction, *, everything: bool = False, lasting: bool = False) -> None:
        """Plans a connection's silence in both directions, from a message of the client on.

        Args:
            n: See `cut_at`.
            which: ``request``: the server never sees the message. ``reply``: the server executes it, and the client
                never sees the reply (or that part of it which completes it).
            everything: All present connections fall silent. New ones work unless it is lasting.
            lasting: Connections that are made until `heal` are silent too.
        """
        when: When = "before_request" if which == "request" else "reply_lost"
        self._planned(_Plan(n, "black hole", when, everything, reset=False, lasting=lasting))

    def black_hole(self) -> None:
        """Silences all present connections, and all that are made until `heal`: they are accepted, no more."""

        def silence() -> None:
            self._silent = True
            self._each(_Connection.silence)

        self._call(silence)

    def refuse(self, refused: bool = True) -> None:
        """Refuses new connections (ECONNREFUSED), or accepts them again; present ones go on."""

        def change() -> None:
            if not refused:
                self._listen()
            elif self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

        self._call(change)

    def heal(self) -> None:
        """New connections work again and no fault is planned. Connections in a black hole stay there."""

        def change() -> None:
            self._silent = False
            self._plan = None
            self._listen()

        self._call(change)

    def _planned(self, plan: _Plan) -> None:
        def change() -> None:
            self.fired.clear()
            self._plan = plan

        self._call(change)

    # The thread; all that follows runs in it, except _call

    def _call(self, function: Callable[[], None]) -> None:
        """Has the thread run a function, after all that has arrived at the proxy by now."""
        if not self._thread.is_alive():
            raise RuntimeError("the proxy is closed")
        done: Future[None] = Future()
        self._calls.append((function, done))
        self._waker.send(b".")
        done.result(_PATIENCE)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._handle(self._selector.select(self._until_next_timer()))
                self._run_timers()
                if self._calls:
                    self._handle(self._selector.select(0))
                while self._calls:
                    function, done = self._calls.popleft()
                    try:
                        done.set_result(function())
                    except Exception as failure:
                        done.set_exception(failure)
        finally:
            self._each(_Connection.drop)
            if self._listener is not None:
                self._listener.close()
            self._reservation.close()
            self._selector.close()

    def _handle(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, mask in events:
            # An event before this one may have closed the socket.
            if self._selector.get_map().get(key.fd) is key:
                key.data(mask)

    def _woken(self, _mask: int) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _until_next_timer(self) -> float | None:
        if not self._timers:
            return None
        left = self._timers[0][0] - time.monotonic()
        if left >= 0.001:
            return left // 0.001 * 0.001  # epoll would round up to the next millisecond
        if left > 0:
            time.sleep(min(left, 0.0001))
        return 0.0

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def at(self, due: float, function: Callable[[], None]) -> None:
        """Runs a function later; those of one time run in the order of their calls."""
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, function))

    def _each(self, function: Callable[[_Connection], None]) -> None:
        for connection in list(self._connections):
            function(connection)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.setblocking(False)
            self._listener.listen(128)
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _mask: int) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        self.accepted += 1
        server: socket.socket | None = None
        if not self._silent:
            try:
                server = socket.create_connection(self._target, timeout=_PATIENCE)
            except OSError:
                _reset(client)
                return
        self._connections.append(_Connection(self, self._selector, client, server))

    def ended(self, connection: _Connection) -> None:
        """A connection is of no use to the client any more."""
        for count in self._counts:
            count.forget(connection)

    def closed(self, connection: _Connection) -> None:
        """Both ends of a connection are closed."""
        self._connections.remove(connection)

    def client_sent(self, connection: _Connection, message: Message) -> _Plan | None:
        """Counts a message of the client, and says what is to happen to it."""
        for count in self._counts:
            count.sent(connection, message)
        plan = self._plan
        if plan is None:
            return None
        plan.after -= 1
        if plan.after >= 0:
            return None
        self._plan = None
        return plan

    def client_receives(self, connection: _Connection, message: Message) -> None:
        """Counts a message that the client is about to receive."""
        for count in self._counts:
            count.received(connection, message)

    def happens(self, plan: _Plan, connection: _Connection) -> None:
        """A planned fault happens."""
        self.fired.set()  # first, for who meets the fault may look
        self._silent = self._silent or plan.lasting
        for each in list(self._connections) if plan.everything else [connection]:
            if plan.action == "cut":
                each.cut(reset=plan.reset)
            else:
                each.silence()


class _Connection:
    """A client's connection and the one to the server that was made for it."""

    def __init__(
        self, proxy: WireProxy, selector: selectors.BaseSelector, client: socket.socket, server: socket.socket | None
    ) -> None:
        self._proxy = proxy
        self._silent = server is None
        self._cut = False
        # The commands of a message that has met its plan, as far as the server has not answered them.
        self._awaited: set[int] = set()
        self._plan: _Plan | None = None
        self._client = _End(client, "request", selector, self._arrived, self._client_gone, proxy.framing("request"))
        self._server = None
        if server is not None:
            self._server = _End(server, "reply", selector, self._arrived, self._server_gone, proxy.framing("reply"))
        if self._silent:
            self._client.deafen()

    # Messages arrive, and are delivered after the delay

    def _arrived(self, message: Message, direction: Direction, end: _End) -> None:
        plan: _Plan | None = None
        if self._cut:
            return
        if direction == "request":
            plan = self._proxy.client_sent(self, message)
        elif self._plan is not None and message.asks:
            self._awaited -= message.asks
            if not self._awaited:
                plan, self._plan = self._plan, None
        self._later(end, lambda: self._deliver(message, direction, plan))

    def _later(self, end: _End, function: Callable[[], None]) -> None:
        def unless_over() -> None:
            if not self._cut and not self._silent:
                function()

        end.due = max(end.due, time.monotonic() + self._proxy.delay)
        self._proxy.at(end.due, unless_over)

    def _deliver(self, message: Message, direction: Direction, plan: _Plan | None) -> None:
        if direction == "reply":
            if plan is not None:
                self._proxy.happens(plan, self)
                return
            self._proxy.client_receives(self, message)
            self._client.send(message.data)
            return
        assert self._server is not None
        if plan is None:
            self._server.send(message.data)
        elif plan.when == "before_request":
            self._proxy.happens(plan, self)
        else:
            self._server.send(message.data)
            if plan.when == "after_request":
                self._proxy.happens(plan, self)
            else:
                self._plan, self._awaited = plan, set(message.asks)

    # Ends

    def _client_gone(self) -> None:
        self._later(self._client, lambda: self.cut(reset=False))

    def _server_gone(self) -> None:
        assert self._server is not None
        if self._cut:
            self._server.close()
            self._proxy.closed(self)
        else:
            self._later(self._server, lambda: self.cut(reset=False))

    def cut(self, *, reset: bool) -> None:
        """Ends the client's connection at once, and the server's when it has read what was forwarded."""
        if self._cut:
            return
        self._cut = True
        self._proxy.ended(self)
        self._client.close(reset=reset)
        if self._server is None or self._server.gone:
            self.drop()
        else:
            self._server.finish()

    def silence(self) -> None:
        """Forwards nothing any more and reads nothing any more."""
        if not self._cut and not self._silent:
            self._silent = True
            self._proxy.ended(self)
            self._client.deafen()
            if self._server is not None:
                self._server.deafen()

    def drop(self) -> None:
        """Closes both ends at once."""
        self._cut = True
        self._client.close()
        if self._server is not None:
            self._server.close()
        self._proxy.closed(self)


class _End:
    """One of the two sockets of a connection: whole messages in, whole messages out.

    Attributes:
        due: When the last message that arrived here is delivered.
        gone: The peer has closed.
    """

    def __init__(
        self,
        peer: socket.socket,
        direction: Direction,
        selector: selectors.BaseSelector,
        arrived: Callable[[Message, Direction, _End], None],
        lost: Callable[[], None],
        framing: Framing,
    ) -> None:
        self._framing = framing
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.gone = False
        self._socket = peer
        self._direction: Direction = direction
        self._selector = selector
        self._arrived = arrived
        self._lost = lost
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._deaf = False
        self._finishing = False
        self._watched = 0
        self._watch()

    def _watch(self) -> None:
        wanted = 0 if self._deaf or self.gone else selectors.EVENT_READ
        if self._outgoing:
            wanted |= selectors.EVENT_WRITE
        if wanted == self._watched:
            return
        if not wanted:
            self._selector.unregister(self._socket)
        elif self._watched:
            self._selector.modify(self._socket, wanted, self._ready)
        else:
            self._selector.register(self._socket, wanted, self._ready)
        self._watched = wanted

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self.send(b"")
        if mask & selectors.EVENT_READ:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.gone = True
            self._watch()
            self._lost()
            return
        self._incoming += data
        while self._incoming and (length := self._framing.length(self._incoming)) <= len(self._incoming):
            whole = bytes(self._incoming[:length])
            del self._incoming[:length]
            self._arrived(self._framing.parse(whole), self._direction, self)

    def send(self, data: bytes) -> None:
        """Sends what the peer takes, and the rest as soon as it takes that."""
        self._outgoing += data
        try:
            while self._outgoing:
                sent = self._socket.send(self._outgoing)
                del self._outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing.clear()  # it has gone; reading finds out too
        if self._finishing and not self._outgoing:
            self._shut_down()
        self._watch()

    def finish(self) -> None:
        """Sends the end of the stream behind what was sent; what the peer says is read, to no effect, until it ends."""
        self._finishing = True
        self._deaf = False
        self.send(b"")

    def _shut_down(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has gone; reading finds out too

    def deafen(self) -> None:
        """Reads and sends nothing any more."""
        self._deaf = True
        self._outgoing.clear()
        self._watch()

    def close(self, *, reset: bool = False) -> None:
        """Closes the socket."""
        self._deaf = True
        self._outgoing.clear()
        self._watch()
        if reset:
            _reset(self._socket)
            return
        try:
            # The end of the stream is sent even while another process has a copy of the socket.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    return found


def _reset(peer: socket.socket) -> None:
    # Closing with a linger time of zero sends RST.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
