"""One SMB2 connection on which every wait ends.

smbprotocol does the protocol: negotiation, authentication, keys, encryption. What is added: waits with exact
deadlines, credits that are waited for instead of failing, replies that must be signed (or encrypted) when it was
agreed that they are, the identifier of the session that this one replaces, and compounds that are bytes from one end
to the other: with smbprotocol's structures, an update took four times as much of the processor.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from smbprotocol.connection import Connection, Dialects, Request, SigningAlgorithms
from smbprotocol.exceptions import SMBConnectionClosed, SMBException, SMBResponseException
from smbprotocol.header import Commands, NtStatus, Smb2Flags
from smbprotocol.session import SMB2Logoff

from exlab_store_smb.deadline import Deadline
from exlab_store_smb.headers import (
    SIGNATURE,
    UNHEARD,
    Answer,
    SentHeader,
    answers_in,
    packed,
    received_header,
    sent_header,
)
from exlab_store_smb.messages import Message
from exlab_store_smb.signing import signature_of
from exlab_store_smb.transport import DeadlineTcp

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from uuid import UUID

__all__ = ["CREDIT_SIZE", "SmbConnection", "TooFewCredits"]

_SLICE = 0.05  # how soon a wait notices that its caller has given up, or that the connection has ended
_CREDITS = 2000  # 64 threads of compounds fail with the 64 credits that a server grants at first
CREDIT_SIZE = 65536  # bytes to read or write that a credit pays for
# A server that knows the session no more cannot sign; all that comes of these is a new connection.
_SESSION_IS_GONE = {NtStatus.STATUS_USER_SESSION_DELETED, 0xC000035C}


class TooFewCredits(SMBException):  # type: ignore[misc]
    """A request costs more credits than the server grants; nothing was sent."""


class SmbConnection(Connection):  # type: ignore[misc]
    """A connection to one server.

    Args:
        guid: The client's identifier [MS-SMB2 2.2.3 ClientGuid].
        server: The server's name or address.
        port: Its port.
        require_signing: Refuse what is not signed.
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
        self._order = threading.Lock()
        self._closing = False
        self.most_credits = _CREDITS
        """How many credits there are when nothing is under way: what one compound may cost."""
        super().__init__(guid, server, port, require_signing=require_signing)
        self.outstanding_requests = _Requests()

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
        self._transport = DeadlineTcp(tcp.server, tcp.port, tcp.timeout, self._taken)

    @property
    def credits_left(self) -> int:
        """How many credits the server has granted that are not used yet [MS-SMB2 3.2.4.1.2]."""
        return int(self.sequence_window["high"] - self.sequence_window["low"])

    def _patience(self) -> Deadline:
        # While connecting, smbprotocol's own exchanges share one deadline.
        return self.deadline or Deadline(self._timeout)

    @property
    def alive(self) -> bool:
        """Whether nothing has ended the connection, as far as is known on this side."""
        return self._transport is not None and self._transport.connected

    def send(
        self,
        message: Any,
        sid: int | None = None,
        tid: int | None = None,
        credit_request: int | None = None,
        message_id: int | None = None,
        async_id: bytes | None = None,
        force_signature: bool = False,
    ) -> Any:
        """As smbprotocol's; a session setup names the session that it replaces [MS-SMB2 3.2.4.2.3]."""
        if message.COMMAND == Commands.SMB2_SESSION_SETUP:
            message["previous_session_id"] = self._previous_session
        if message.COMMAND == Commands.SMB2_TREE_CONNECT:
            # SMB 3.1.1 wants it signed even where nothing else is [MS-SMB2 3.2.4.1.1]; guests have no key.
            session: Any = self.session_table.get(sid)
            force_signature = session is not None and session.signing_key is not None and not session.encrypt_data
        with self._credits([message], self._patience()):
            return super().send(message, sid, tid, credit_request, message_id, async_id, force_signature)

    def send_compound(
        self, messages: Sequence[Message], sid: int, tid: int, related: bool = False, deadline: Deadline | None = None
    ) -> list[Any]:
        """As smbprotocol's, for messages that are bytes already, and when there are credits for all of it.

        Args:
            messages: The requests.
            sid: The session's identifier.
            tid: The tree's identifier.
            related: Whether each works on the file of the one before it, unless it begins a chain anew.
            deadline: Until when to wait for credits.

        Raises:
            TooFewCredits: The server grants fewer than all of it costs; `most_credits` is what it grants.
            SMBException: The session or the connection has ended; nothing was sent.
        """
        with self._credits(messages, deadline or self._patience()):
            session: Any = self.session_table.get(sid)
            tree: Any = session and session.tree_connect_table.get(tid)
            if not session or not tree:
                raise SMBException("the session has ended")
            key = session.signing_key if session.signing_required else None
            dfs = Smb2Flags.SMB2_FLAGS_DFS_OPERATIONS if tree.is_dfs_share else 0
            flags = Smb2Flags.SMB2_FLAGS_SIGNED if key else 0
            packets: list[bytes] = []
            requests: list[Any] = []
            for message in messages:
                charge = self._charge(message) if self.supports_multi_credit else 0
                number = self._next_number(charge)
                last = len(packets) == len(messages) - 1
                marked = flags if message.within_share else flags | dfs
                if related and packets and not message.anew:
                    marked |= Smb2Flags.SMB2_FLAGS_RELATED_OPERATIONS
                packet = packed(message, number, charge, marked, tid, sid, last=last)
                if key:
                    signature = self._generate_signature(packet, key, number, False, message.command)
                    packet = packet[: SIGNATURE.start] + signature + packet[SIGNATURE.stop :]
                packets.append(packet)
                request = Request(sent_header(message, number), Message, self, session_id=sid)
                self.outstanding_requests[number] = request
                requests.append(request)
            data: Any = b"".join(packets)
            if session.encrypt_data or tree.encrypt_data:
                data = self._encrypt(data, session)
            self._check_worker_running()
            self.transport.send(data)
            return requests

    def _next_number(self, charge: int) -> int:
        """The MessageId of a request, and as many after it as it is charged [MS-SMB2 3.2.4.1.3]."""
        with self.sequence_lock:
            number = int(self.sequence_window["low"])
            if charge > self.sequence_window["high"] - number:
                raise SMBException("the server granted too few credits")
            self.sequence_window["low"] = number + max(1, charge)
            return number

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
        response = self.answer(request, self._patience() if timeout is None else Deadline(timeout))
        if response is None:
            self.end()
            raise SMBConnectionClosed("the server did not answer in time")
        if response["status"].get_value() != NtStatus.STATUS_SUCCESS:
            raise SMBResponseException(response)
        return response

    def answer(self, request: Any, deadline: Deadline, cancelled: Callable[[], bool] | None = None) -> Any:
        """Waits for the final answer to a request.

        Args:
            request: What `send` or `send_compound` has returned.
            deadline: Until when.
            cancelled: Asked about every 50 ms; True ends the wait.

        Returns:
            The header of the answer, or None when the time was over or the wait was cancelled: the request is
            still under way then.

        Raises:
            SMBConnectionClosed: The connection has ended without an answer.
        """
        said_goodbye = request.message["command"].get_value() == Commands.SMB2_LOGOFF
        while True:
            if request.response_event.wait(min(deadline.remaining(), _SLICE)):
                with request.response_event_lock:
                    response = request.response
                    pending = response is not None and response["status"].get_value() == NtStatus.STATUS_PENDING
                    if pending:
                        request.response_event.clear()
                if response is not None and not pending:
                    if self._closing and not said_goodbye:  # it was not verified
                        raise SMBConnectionClosed("the connection was closed")
                    self.outstanding_requests.pop(request.message["message_id"].get_value(), None)
                    return response
            if not self.alive:
                raise SMBConnectionClosed("the connection has ended")
            if deadline.over or (cancelled is not None and cancelled()):
                return None

    def forget(self, request: Any) -> None:
        """Drops the answer to a request, now or when it comes.

        Args:
            request: From `send_compound`.
        """
        request.message["reserved"] = UNHEARD
        if request.response_event.is_set():
            self.outstanding_requests.pop(request.message["message_id"].get_value(), None)

    def _taken(self, packet: bytes) -> bool:
        """Delivers answers to `send_compound`, in the thread that receives; all else is left to smbprotocol.

        So are encrypted packets, and those that are not as they should be. For answers it does what smbprotocol does,
        without structures, whose making and packing for the signature would be half of the client's time.
        """
        answers = answers_in(packet)
        requests: list[Any] = [self.outstanding_requests.get(answer.number) for answer in answers]
        if not answers or not all(each is not None and isinstance(each.message, SentHeader) for each in requests):
            return False
        for answer, request in zip(answers, requests, strict=True):
            self._verify(answer, request.session_id)
            with self.sequence_lock:
                self.sequence_window["high"] += answer.credits
            with request.response_event_lock:
                if answer.flags & Smb2Flags.SMB2_FLAGS_ASYNC_COMMAND:
                    request.async_id = answer.packet[32:40]
                request.response = received_header(answer)
                request.response_event.set()
            if request.message["reserved"].get_value() and answer.status != NtStatus.STATUS_PENDING:
                self.outstanding_requests.pop(answer.number, None)
        return True

    def _verify(self, answer: Answer, session_id: int) -> None:
        if self._is_beyond_verifying(answer.status):
            return
        signed = bool(answer.flags & Smb2Flags.SMB2_FLAGS_SIGNED)
        self._refuse_what_was_not_agreed(answer.status, answer.command, answer.number, session_id, signed=signed)
        if not signed or answer.status == NtStatus.STATUS_PENDING:
            return
        session: Any = self.session_table.get(session_id)
        if session is None:
            raise SMBException("the server's answer is for a session that has ended")
        from_server = bool(answer.flags & Smb2Flags.SMB2_FLAGS_SERVER_TO_REDIR)
        key, packet = session.signing_key, answer.packet
        if packet[SIGNATURE] != self._generate_signature(packet, key, answer.number, from_server, answer.command):
            raise SMBException("the server's answer has a wrong signature")

    def verify_signature(self, header: Any, session_id: int, force: bool = False) -> None:
        """As smbprotocol's, which takes an answer without a signature for a good one [MS-SMB2 3.2.5.1.3]."""
        status, command, number = (header[name].get_value() for name in ("status", "command", "message_id"))
        if self._is_beyond_verifying(status):
            return
        if not force:
            signed = header["flags"].has_flag(Smb2Flags.SMB2_FLAGS_SIGNED)
            self._refuse_what_was_not_agreed(status, command, number, session_id, signed=signed)
        super().verify_signature(header, session_id, force)

    def _is_beyond_verifying(self, status: int) -> bool:
        return status in _SESSION_IS_GONE or self._closing

    def _refuse_what_was_not_agreed(
        self, status: int, command: int, number: int, session_id: int, *, signed: bool
    ) -> None:
        """Raises for an answer that came in clear, or without a signature, and should not have."""
        session: Any = self.session_table.get(session_id)
        if session is None or _unsigned_by_nature(status, command, number):
            return
        if session.encrypt_data:
            raise SMBException("the server's answer is not encrypted, and it was agreed that it is")
        if session.signing_required and not signed:
            raise SMBException("the server's answer is not signed, and it was agreed that it is")

    def _generate_signature(
        self, b_header: bytes, signing_key: bytes, message_id: int, response: bool, command: int
    ) -> bytes:
        """As smbprotocol's, without copies of what is large."""
        if len(b_header) <= CREDIT_SIZE:
            return bytes(super()._generate_signature(b_header, signing_key, message_id, response, command))
        dialect: int = self.dialect or 0
        chosen = self.signing_algorithm_id if dialect >= Dialects.SMB_3_1_1 else None
        older = SigningAlgorithms.AES_CMAC if dialect >= Dialects.SMB_3_0_0 else SigningAlgorithms.HMAC_SHA256
        nonce = message_id.to_bytes(8, "little") + (1 if response else 0).to_bytes(4, "little")
        return signature_of(b_header, signing_key, older if chosen is None else chosen, nonce)

    def ask_for_credits(self, session_id: int, deadline: Deadline) -> None:
        """Asks for enough credits for many threads; an echo is answered with as many as the server likes."""
        timeout: Any = deadline.remaining()  # it takes parts of a second too
        self.echo(sid=session_id, timeout=timeout, credit_request=_CREDITS)
        self.most_credits = self.credits_left

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

    @contextmanager
    def _credits(self, messages: Sequence[Any], deadline: Deadline) -> Generator[None]:
        """One sender at a time, when the server has granted enough credits [MS-SMB2 3.2.4.1.2]."""
        if self._transport is not None and self._transport.receiver == threading.get_ident():
            yield  # the keep-alive of the thread that receives: it is that thread which brings new credits
            return
        if not self._order.acquire(timeout=max(0.001, deadline.remaining())):
            self.end()
            raise SMBConnectionClosed("the connection was busy for too long")
        try:
            needed = self.charge(messages)
            while self.credits_left < needed:
                if deadline.over or not self.alive:
                    self.end()
                    raise SMBConnectionClosed("the server granted too few credits")
                # Asked for in this order: an answer brings its credits before it counts as one.
                if not self._more_credits_to_come() and self.credits_left < needed:
                    self.most_credits = self.credits_left
                    raise TooFewCredits("the server granted too few credits")
                time.sleep(0.001)
            yield
        finally:
            self._order.release()

    def _more_credits_to_come(self) -> bool:
        """Whether an answer is to come that brings some; of a request that waits, the interim one has brought them."""
        return any(
            request.async_id is None and not request.response_event.is_set()
            for request in self.outstanding_requests.values()
        )

    def charge(self, messages: Sequence[Any]) -> int:
        """How many credits requests cost [MS-SMB2 3.2.4.1.5].

        Args:
            messages: The requests.
        """
        return sum(self._charge(message) for message in messages)

    def _charge(self, message: Any) -> int:
        if isinstance(message, Message):
            return 1 + max(0, message.payload - 1) // CREDIT_SIZE if self.supports_multi_credit else 1
        return 0 if message.COMMAND == Commands.SMB2_CANCEL else 1


class _Requests(dict[int, Any]):
    """The requests under way; the thread that receives goes through them while others add and remove some."""

    def values(self) -> Any:
        """A copy, made in one step."""
        return list(super().values())


def _unsigned_by_nature(status: int, command: int, number: int) -> bool:
    """Interim answers, oplock breaks, and what comes before there are keys [MS-SMB2 3.2.5.1.3]."""
    return (
        status == NtStatus.STATUS_PENDING
        or number == 0xFFFFFFFFFFFFFFFF
        or command in {Commands.SMB2_NEGOTIATE, Commands.SMB2_SESSION_SETUP}
    )
