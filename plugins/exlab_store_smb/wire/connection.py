"""One SMB2 connection: every wait on it has a deadline, and it believes only proved answers.

smbprotocol negotiates, authenticates, and makes the keys. Sending and receiving are done here, for its messages and
for compounds alike: bytes from one end to the other, as its structures took four times as much of the processor in an
update; waits with exact deadlines; credits that are waited for instead of failing; and one rule for all answers
(`exlab_store_smb.wire.authenticity`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from smbprotocol.connection import Connection, SMB2Echo
from smbprotocol.exceptions import SMBConnectionClosed, SMBException, SMBResponseException
from smbprotocol.header import Commands, NtStatus, Smb2Flags, SMB2HeaderResponse
from smbprotocol.session import SMB2Logoff

from exlab_store.backend import under_mutex
from exlab_store_smb.wire.authenticity import Expected, Forged, Protection, ensure_authentic, is_interim
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.headers import Response, answers_in, packed, packed_cancel
from exlab_store_smb.wire.pending import Pending, PendingRequests
from exlab_store_smb.wire.sender import Sender
from exlab_store_smb.wire.session_keys import SessionKeys
from exlab_store_smb.wire.shapes import SmbRequest
from exlab_store_smb.wire.transport import DeadlineTcp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

__all__ = ["SmbConnection"]

_SLICE = 0.05  # how soon a wait notices that its caller has given up, or that the connection has ended
_CREDITS = 2000  # 64 threads of compounds fail with the 64 credits that a server grants at first
_UNASKED = 0xFFFFFFFFFFFFFFFF  # the MessageId of a break of an oplock; none is ever asked for


class SmbConnection(Connection):  # type: ignore[misc]
    """A connection to one server.

    Args:
        guid: The client's identifier [MS-SMB2 2.2.3 ClientGuid].
        server: The server's name or address.
        port: Its port.
        require_signing: Refuse a session that is not signed.
        timeout: Seconds that a reply may take where no deadline is given.
        previous_session: The session that a new one replaces, or 0 [MS-SMB2 2.2.5 PreviousSessionId]: the server
            ends it, with its locks and whatever it had not carried out yet, before it answers.
    """

    def __init__(
        self,
        guid: UUID,
        server: str,
        port: int,
        *,
        require_signing: bool,
        timeout: float,
        previous_session: int = 0,
    ) -> None:
        self._transport: DeadlineTcp | None = None
        self._timeout = timeout
        self.deadline: Deadline | None = None
        self._previous_session = previous_session
        self._closing = False
        self.sender = Sender(self, _CREDITS)
        self._ended = "the connection has ended"
        self._setup: Response | None = None
        self._keep_alive: Pending | None = None
        self.keys = SessionKeys(self)
        super().__init__(guid, server, port, require_signing=require_signing)
        self.outstanding_requests: PendingRequests = PendingRequests()

    @property
    def transport(self) -> Any:
        """What carries the messages: always a `DeadlineTcp`."""
        return self._transport

    @transport.setter
    def transport(self, tcp: Any) -> None:
        # connect() makes one of smbprotocol's own and assigns it here.
        if tcp is None:
            self._transport = None
            return
        self._transport = DeadlineTcp(tcp.server, tcp.port, tcp.timeout)

    def _patience(self) -> Deadline:
        return self.deadline or Deadline(self._timeout)  # while connecting, smbprotocol's own exchanges share one

    @property
    def alive(self) -> bool:
        """Whether nothing has ended the connection, as far as is known on this side."""
        return self._transport is not None and self._transport.connected

    # Sending

    def send(
        self,
        message: Any,
        sid: int | None = None,
        tid: int | None = None,
        credit_request: int | None = None,
        message_id: int | None = None,  # noqa: ARG002  # for CANCEL, which has a method of its own
        async_id: bytes | None = None,  # noqa: ARG002
        force_signature: bool = False,
    ) -> Pending:
        """As smbprotocol's; a session setup names the session that it replaces [MS-SMB2 3.2.4.2.3]."""
        if message.COMMAND == Commands.SMB2_SESSION_SETUP:
            message["previous_session_id"] = self._previous_session
        own = SmbRequest(message.COMMAND, message.pack(), b"")
        # SMB 3.1.1 wants it signed even where nothing else is [MS-SMB2 3.2.4.1.1].
        signed = force_signature or message.COMMAND == Commands.SMB2_TREE_CONNECT
        pack = partial(self._packed, [own], sid or 0, tid, signed=signed, wanted=credit_request)
        return self.sender.send([own], self._patience(), pack)[0]

    def pack_compound(
        self, messages: Sequence[SmbRequest], sid: int, tid: int, *, sealed: bool
    ) -> tuple[bytes, list[Pending]]:
        """Makes a packet of messages that are bytes already; to be called by `sender`, when it is to be sent next.

        Args:
            messages: The requests. Each works on the file of the one before it, unless it begins a chain anew.
            sid: The session's identifier.
            tid: The tree's identifier.
            sealed: Encrypted, so that the server carries out all of it or nothing, whatever the network does to it.

        Returns:
            The packet, and its requests.

        Raises:
            SMBException: The session has ended, or cannot encrypt.
        """
        if tid not in getattr(self.session_table.get(sid), "tree_connect_table", ()):
            raise SMBException("the session has ended")
        return self._packed(messages, sid, tid, related=len(messages) > 1, sealed=sealed)

    def _packed(
        self,
        messages: Sequence[SmbRequest],
        sid: int,
        tid: int | None,
        *,
        related: bool = False,
        signed: bool = False,
        sealed: bool = False,
        wanted: int | None = None,
    ) -> tuple[bytes, list[Pending]]:
        """One packet to be sent next, and its requests; notes for each what its answer must be."""
        session: Any = self.session_table.get(sid)
        tree: Any = session and session.tree_connect_table.get(tid)
        protection = self.keys.protection(session, tree, signed=signed, sealed=sealed)
        dfs = Smb2Flags.SMB2_FLAGS_DFS_OPERATIONS if tree and tree.is_dfs_share else 0
        flags = Smb2Flags.SMB2_FLAGS_SIGNED if protection is Protection.SIGNED else 0
        charges = [self.sender.charge([message]) if self.supports_multi_credit else 0 for message in messages]
        asked = sum(max(1, charge) for charge in charges) if wanted is None else wanted
        packets: list[bytes] = []
        requests: list[Pending] = []
        for message, charge in zip(messages, charges, strict=True):
            number = self._next_number(charge)
            last = len(packets) == len(messages) - 1
            marked = flags if message.within_share else flags | dfs
            if related and packets and not message.anew:
                marked |= Smb2Flags.SMB2_FLAGS_RELATED_OPERATIONS
            packet = packed(message, number, charge, marked, tid or 0, sid, last=last, wanted=wanted)
            if protection is Protection.SIGNED:
                packet = self.keys.sign(session, packet, number, message.command)
            packets.append(packet)
            expected = Expected(message.command, sid, tid, protection, asked)
            requests.append(Pending(message, number, expected))
            # What was negotiated goes into the keys of SMB 3.1.1 [MS-SMB2 3.2.5.2, 3.2.5.3].
            if message.command == Commands.SMB2_NEGOTIATE:
                self.preauth_integrity_hash_value.append(packet)
            elif message.command == Commands.SMB2_SESSION_SETUP:
                self.preauth_integrity_session_hash_value[number] = [packet]
        data = self.keys.seal(session, b"".join(packets)) if protection is Protection.SEALED else b"".join(packets)
        for request in requests:
            self.outstanding_requests[request.number] = request
        return data, requests

    def cancel(self, request: Pending) -> None:
        """Asks the server to give a request up [MS-SMB2 3.2.4.24]; the request's own answer says whether it has.

        Args:
            request: That was sent, and is not answered yet.

        Raises:
            SMBException: The session or the connection has ended.
        """
        expected = request.expected
        session: Any = self.session_table.get(expected.session_id)
        if session is None:
            raise SMBException("the session has ended")
        signed = expected.protection is Protection.SIGNED
        flags = Smb2Flags.SMB2_FLAGS_SIGNED if signed else 0
        packet = packed_cancel(request.number, request.async_id, flags, expected.session_id)
        if signed:
            packet = self.keys.sign(session, packet, request.number, Commands.SMB2_CANCEL)
        elif expected.protection is Protection.SEALED:
            packet = self.keys.seal(session, packet)
        self.sender.send([], self._patience(), lambda: (packet, []))

    def _next_number(self, charge: int) -> int:
        """The MessageId of a request, and as many after it as it is charged [MS-SMB2 3.2.4.1.3]."""

        def taken() -> int:
            number = int(self.sequence_window["low"])
            if max(1, charge) > self.sequence_window["high"] - number:
                raise SMBException("the server granted too few credits")
            self.sequence_window["low"] = number + max(1, charge)
            return number

        return under_mutex(self.sequence_lock, taken)

    # Waiting

    def receive(
        self,
        request: Any,
        wait: bool = True,  # noqa: ARG002  # always
        timeout: float | None = None,
        resolve_symlinks: bool = True,  # noqa: ARG002  # never
    ) -> Any:
        """As smbprotocol's, with a deadline where none is given; links are not followed.

        Raises:
            SMBResponseException: The server answers with an error.
            SMBConnectionClosed: The connection has ended, or has been ended because no answer came in time.
        """
        answer = self.answer(request, self._patience() if timeout is None else Deadline(timeout))
        if answer is None:
            self.end()
            raise SMBConnectionClosed("the server did not answer in time")
        response: Any = SMB2HeaderResponse()
        response.unpack(answer.packet)
        if answer.status != NtStatus.STATUS_SUCCESS:
            raise SMBResponseException(response)
        return response

    def answer(
        self, request: Pending, deadline: Deadline, cancelled: Callable[[], bool] | None = None
    ) -> Response | None:
        """Waits for the final answer to a request.

        Args:
            request: That was sent.
            deadline: Until when.
            cancelled: Asked about every 50 ms; True ends the wait.

        Returns:
            The answer, or None when the time was over or the wait was cancelled: the request is still under way then.

        Raises:
            SMBConnectionClosed: The connection has ended without an answer.
        """
        while True:
            request.wait(min(deadline.remaining(), _SLICE))
            alive = self.alive  # before looking: the last answer comes before the end
            if request.answer is not None:
                return request.answer
            if not alive:
                raise SMBConnectionClosed(self._ended)
            if deadline.over or (cancelled is not None and cancelled()):
                return None

    # Receiving

    def _process_message_thread(self) -> None:
        """Receives until the connection ends; smbprotocol's own believes more, and prints a traceback when it fails."""
        try:
            while True:
                try:
                    packet = self._transport.recv(self._receive_timeout) if self._transport else b""
                except TimeoutError:
                    self._show_life()
                    continue
                if not packet:
                    break
                self._deliver(packet)
        except Exception as error:
            self._ended = str(error)
        finally:
            self.end()
            for request in self.outstanding_requests.values():
                request.finish()

    def _show_life(self) -> None:
        """Asks for an echo: Windows ends a connection on which nothing was said for 16 minutes."""
        if self._keep_alive is not None and self._keep_alive.answer is None:
            raise SMBConnectionClosed("the server does not answer any more")
        for session_id in list(self.session_table):
            self._keep_alive = self.send(SMB2Echo(), sid=session_id)

    def _deliver(self, packet: bytes) -> None:
        """Delivers the answers of a packet, if all of them have proved to be genuine.

        Raises:
            Forged: One has not; each waiting request then ends with the connection.
        """
        opened_by, packet = self.keys.open(packet)
        answers = answers_in(packet)
        if not answers:
            raise Forged("the server's answer makes no sense")
        genuine: list[tuple[Response, Pending, bool]] = []
        for answer in answers:
            if answer.number == _UNASKED:
                continue
            request = self.outstanding_requests.get(answer.number)
            if request is None:
                raise Forged("the server answers what nobody has asked, or a second time")
            try:
                vouched = ensure_authentic(answer, request.expected, opened_by, self.keys.signature)
            except Forged:
                if self._closing:  # with the session goes its key; the answer to the goodbye is still to come
                    continue
                raise
            genuine.append((answer, request, vouched))
        for answer, request, vouched in genuine:
            self._hand_over(answer, request, vouched=vouched)

    def _hand_over(self, answer: Response, request: Pending, *, vouched: bool) -> None:
        interim = is_interim(answer)
        if interim and request.async_id is not None:
            return  # one is enough; a repetition grants nothing
        if not interim and request.async_id not in {None, answer.async_id}:
            raise Forged("the server's answer has another name than it has announced")
        if answer.number not in self.outstanding_requests:
            raise Forged("the server answers twice")
        # Only the server grants credits; an answer without proof gives at most the credits that were asked for.
        granted = answer.credits if vouched else min(answer.credits, request.expected.credits)

        def add() -> None:
            self.sequence_window["high"] += granted

        under_mutex(self.sequence_lock, add)
        if interim:
            request.async_id = answer.async_id
            return
        if answer.command == Commands.SMB2_NEGOTIATE:
            self.preauth_integrity_hash_value.append(answer.packet)
        elif answer.command == Commands.SMB2_SESSION_SETUP:
            self._setup = answer
            if answer.status == NtStatus.STATUS_MORE_PROCESSING_REQUIRED:
                self.preauth_integrity_session_hash_value[answer.number].append(answer.packet)
        request.answer = answer
        self.outstanding_requests.pop(answer.number)  # when it has brought its credits
        request.finish()

    def ensure_genuine(self, session: Any) -> None:
        """Verifies what the server has granted.

        Args:
            session: Of this connection, when it has been made.

        Raises:
            Forged: Nobody vouches for it.
        """
        self.keys.ensure_granted(session, self._setup)

    def ask_for_credits(self, session_id: int, deadline: Deadline) -> None:
        """Asks for enough credits for many threads; an echo is answered with as many as the server likes."""
        timeout: Any = deadline.remaining()  # it takes parts of a second too
        self.echo(sid=session_id, timeout=timeout, credit_request=_CREDITS)
        self.sender.note_most()

    def say_goodbye(self, session: Any, deadline: Deadline) -> None:
        """Ends the session in peace, so that the server frees everything at once.

        Whoever still waits for an answer is told that the connection is closed: with the session goes its key, and
        an answer that comes now can be verified no more.

        Args:
            session: Of this connection.
            deadline: Until when to wait for the server.
        """
        self._closing = True
        request = self.send(SMB2Logoff(), sid=session.session_id)
        self.receive(request, timeout=deadline.remaining())

    def end(self) -> None:
        """Ends the connection at once, without a word to the server."""
        if self._transport is not None:
            self._transport.close()

    def abandon(self) -> None:
        """Lets go of the connection in a forked child; it is the parent's."""
        if self._transport is not None:
            self._transport.abandon()
