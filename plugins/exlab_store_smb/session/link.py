"""One authenticated connection to one share, and the exchange of compounds over it."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from smbprotocol import exceptions as smb
from smbprotocol.connection import Dialects
from smbprotocol.header import Commands

from exlab_store import came_from_signal_handler, suppress_unless_signalled
from exlab_store_smb.session.chains import Chains
from exlab_store_smb.session.link_lost import LinkLost
from exlab_store_smb.session.unanswered import Unanswered
from exlab_store_smb.wire.filetimes import seconds_since_1970
from exlab_store_smb.wire.messages import RELATED, MalformedAnswer, Reply, SmbRequest, file_id_of
from exlab_store_smb.wire.sender import TooFewCredits
from exlab_store_smb.wire.shapes import ensure_well_formed
from exlab_store_smb.wire.statuses import ACCESS_DENIED, CANCELLED, SESSION_GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exlab_store_smb.wire.connection import SmbConnection
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.limits import Limits
    from exlab_store_smb.wire.pending import Pending

__all__ = ["Link", "LinkLost"]

_SKIPPED = Reply(CANCELLED, b"")  # not sent, as something before it has failed
_MANY_CREDITS = 64  # for the longest compounds of several threads, and more than enough for one
_SYSTEM_TIME = 64 + 40  # where it is in the answer to NEGOTIATE, behind the header


class Link:
    """A connection with its session and its share. `logon.connect` makes one. Threads share it.

    Args:
        connection: The connection.
        session: Of the user.
        tree: Of the share.
        limits: What one request may carry.
    """

    def __init__(self, connection: SmbConnection, session: Any, tree: Any, limits: Limits) -> None:
        self.connection = connection
        self.compounds = True
        self.keeps_names = False
        """Whether a document that was written over it was found at its name."""
        self.limits = limits
        self.chains = Chains()
        self.unanswered = Unanswered(self)
        self._session = session
        self._tree = tree
        self._pid = os.getpid()
        self.made = time.monotonic()
        """When, by this machine's monotonic clock."""
        self.session_id: int = session.session_id
        self.tree_id: int = tree.tree_connect_id
        self.last_used = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the connection can be used, as far as is known on this side, and belongs to this process."""
        return self.connection.alive and self._pid == os.getpid()

    @property
    def is_waiting(self) -> bool:
        """Whether a request is under way."""
        return bool(self.connection.outstanding_requests)

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child."""
        return self._pid == os.getpid()

    @property
    def identity(self) -> tuple[Any, ...]:
        """What tells the server and the share from others: its ServerGuid, name, port, and the share's name."""
        found = self.connection
        return found.server_guid, found.server_name, found.port, self._tree.share_name

    def server_time(self) -> float | None:
        """Seconds since 1970 by the server's clock: its time at the connection's begin, and the time that has passed.

        It is in the answer to NEGOTIATE [MS-SMB2 2.2.4 SystemTime], of which smbprotocol keeps the bytes for the
        hash of what was negotiated.

        Returns:
            None where the server did not give its time, or where no signature covers it: only the keys of SMB 3.1.1
            are made from it.
        """
        if self.connection.dialect != Dialects.SMB_3_1_1:
            return None
        try:
            (filetime,) = struct.unpack_from("<Q", self.connection.preauth_integrity_hash_value[1], _SYSTEM_TIME)
        except (LookupError, struct.error):
            return None
        if not filetime:
            return None
        return seconds_since_1970(filetime) + time.monotonic() - self.made

    def path(self, *segments: str) -> str:
        """The name of a file as CREATE wants it.

        Args:
            segments: ``/``-separated names below the share; empty ones are left out.
        """
        parts = [part for segment in segments for part in segment.split("/") if part]
        if self._tree.is_dfs_share:  # [MS-SMB2 3.2.4.3]: with the server and the share
            parts = [*self._tree.share_name.strip("\\").split("\\"), *parts]
        return "\\".join(parts)

    @property
    def is_in_dfs(self) -> bool:
        """Whether the share is part of a DFS namespace: names begin with the server and the share then."""
        return bool(self._tree.is_dfs_share)

    def within_share(self, path: str) -> str:
        """The name of a file as a rename wants it: below the share, always.

        Samba 4.22 takes the server and the share in it for folders: it refuses, or renames into them if they exist.

        Args:
            path: From `path`.
        """
        return path.split("\\", 2)[2] if self.is_in_dfs else path

    @property
    def seals(self) -> bool:
        """Whether a compound can be sent encrypted, be the session encrypted or only signed.

        The server then carries out all of it or nothing, whatever the network does to it: of a signed one it refuses
        the request in which a bit was changed, and carries out the others.
        """
        return self.connection.keys.can_seal(self._session)

    def run(self, messages: Sequence[SmbRequest], deadline: Deadline, *, sealed: bool = False) -> list[Reply]:
        """Sends a related compound and waits for all its answers: one round trip.

        A server goes on after a request of the compound that has failed, unless that was a CREATE: measured on
        Samba, a rename is carried out after a WRITE that was not.

        Args:
            messages: What to do, in order.
            deadline: Until when; a server that has not answered then is taken for gone, and the connection is ended.
            sealed: Encrypted, even where the session is only signed; see `seals`.

        Returns:
            An answer to each.

        Raises:
            LinkLost: The connection has ended, or an answer is not the server's own or makes no sense.
        """
        return self.answers(messages, self.start(messages, deadline, sealed=sealed), deadline)

    def run_all(self, compounds: Sequence[Sequence[SmbRequest]], deadline: Deadline) -> list[list[Reply]]:
        """Does what `run` does for several compounds, in order, and in one round trip.

        Args:
            compounds: What to do; no message may appear twice.
            deadline: Until when.

        Returns:
            The answers to each.

        Raises:
            LinkLost: The connection has ended.
        """
        started = [self.start(messages, deadline) for messages in compounds]
        return [self.answers(*each, deadline) for each in zip(compounds, started, strict=True)]

    def answers(self, messages: Sequence[SmbRequest], requests: Sequence[Any], deadline: Deadline) -> list[Reply]:
        """Waits for all answers to a compound.

        Args:
            messages: What was asked for, in order.
            requests: What `start` has returned.
            deadline: Until when; then the connection is ended.

        Raises:
            LinkLost: The connection has ended, or the server has refused to close a file.
        """
        replies = [self.wait(request, deadline) for request in requests]
        opened = True
        for message, reply in zip(messages, replies, strict=True):
            if message.command == Commands.SMB2_CREATE:
                opened = reply.ok
            elif reply.status == ACCESS_DENIED and message.command == Commands.SMB2_CLOSE and opened:
                # A bit of the request was changed on its way. The file would stay open, and nobody could replace it.
                self.end()
                raise LinkLost("the server has refused to close a file", sent=True)
        return replies

    @property
    def may_chain(self) -> bool:
        """Whether compounds of several chains may be sent: the server takes them, and there are credits for them."""
        return self.compounds and not self.chains.refused and self.connection.sender.most_credits >= _MANY_CREDITS

    def send_off(self, messages: Sequence[SmbRequest], deadline: Deadline, lost: Callable[[], None]) -> None:
        """Sends a related compound that ends with a CLOSE, and does not wait for the answers.

        Args:
            messages: What to do, in order.
            deadline: Until when the server has to answer; otherwise the connection is ended.
            lost: Called in another thread when the connection was ended for that reason.

        Raises:
            LinkLost: It could not be sent.
        """
        requests = self.start(messages, deadline)
        if isinstance(requests[-1], Reply):  # where parts had to be sent one after the other
            self.unanswered.note(requests[-1])
        else:
            self.unanswered.add(requests, deadline, lost)

    def start(self, messages: Sequence[SmbRequest], deadline: Deadline, *, sealed: bool = False) -> list[Any]:
        """Sends a related compound; `wait` waits for the answers.

        Where it cannot be sent as a whole, because the server takes no compounds or grants too few credits, its parts
        are sent one after the other, and have been answered when this returns.

        Args:
            messages: What to do, in order.
            deadline: Until when to wait for credits.
            sealed: As for `run`.

        Raises:
            LinkLost: It could not be sent.
        """
        if not self.fits(messages):
            return self._in_parts(messages, deadline, sealed=sealed)
        self.unanswered.check()
        if not self.alive:
            raise LinkLost("the connection has ended", sent=False)
        self.last_used = time.monotonic()
        try:
            connection = self.connection
            pack = partial(connection.pack_compound, messages, self.session_id, self.tree_id, sealed=sealed)
            return connection.sender.send(messages, deadline, pack)
        except BaseException as error:  # what ended the connection may be anything
            if len(messages) == 1 or not isinstance(error, TooFewCredits):
                # An interruption too: a number may be given to a message that was not sent, whose answer never comes.
                self.end()
                if not isinstance(error, Exception) or came_from_signal_handler(error):
                    raise
                raise LinkLost(str(error), sent=False) from error
        return self._in_parts(messages, deadline, sealed=sealed)  # the server grants fewer credits than it did

    def fits(self, messages: Sequence[SmbRequest]) -> bool:
        """Whether requests can be sent as one compound; in parts, a failure skips all that comes after it.

        Args:
            messages: The requests.
        """
        if len(messages) == 1:
            return True
        return self.compounds and self.connection.sender.charge(messages) <= self.connection.sender.most_credits

    def wait(self, request: Pending | Reply, deadline: Deadline) -> Reply:
        """Waits for an answer.

        Args:
            request: From `start`.
            deadline: Until when; then the connection is ended.

        Raises:
            LinkLost: The connection has ended.
        """
        reply = request if isinstance(request, Reply) else self.poll(request, deadline)
        if reply is None:
            self.end()
            raise LinkLost("the server did not answer in time", sent=True)
        return reply

    def poll(self, request: Pending, deadline: Deadline, cancelled: Callable[[], bool] | None = None) -> Reply | None:
        """Waits for an answer that may take its time.

        Args:
            request: From `start`.
            deadline: Until when.
            cancelled: Asked about every 50 ms; True ends the wait.

        Returns:
            The answer, or None when the wait has ended without.

        Raises:
            LinkLost: The connection has ended, or the session is gone, or the answer makes no sense.
        """
        try:
            answer = self.connection.answer(request, deadline, cancelled)
            if answer is None:
                return None
            reply = Reply(answer.status, answer.body)
            if reply.ok:
                ensure_well_formed(request.asked, reply.body)
        except (smb.SMBException, MalformedAnswer) as error:
            self.end()
            raise LinkLost(str(error), sent=True) from error
        if reply.status in SESSION_GONE:
            self.end()
            raise LinkLost(f"the server has ended the session ({reply.status:#010x})", sent=True)
        return reply

    def cancel(self, request: Pending) -> None:
        """Asks the server to give a request up [MS-SMB2 3.2.4.24]; the answer says whether it has.

        Args:
            request: From `start`.

        Raises:
            LinkLost: It could not be sent.
        """
        try:
            self.connection.cancel(request)
        except Exception as error:
            self.end()
            if came_from_signal_handler(error):
                raise
            raise LinkLost(str(error), sent=False) from error

    def end(self) -> None:
        """Ends the connection at once; each wait for an answer on it ends with `LinkLost`."""
        self.unanswered.stop()
        if self.is_of_this_process:
            self.connection.end()
        else:
            self.connection.abandon()

    def close(self, deadline: Deadline) -> None:
        """Ends the session in peace, so that the server frees everything at once, then the connection.

        Args:
            deadline: Until when to wait for the server.
        """
        try:
            if self.alive:
                with suppress_unless_signalled(Exception):  # it ends all the same
                    self.connection.say_goodbye(self._session, deadline)
                self.connection.disconnect(False)  # waits for the thread that receives
        finally:
            self.end()

    def _in_parts(self, messages: Sequence[SmbRequest], deadline: Deadline, *, sealed: bool) -> list[Reply]:
        """What `run` does, in as few compounds as there are credits for; a failure skips all later parts of it."""
        replies: list[Reply] = []
        file_id, failed = b"", False
        while len(replies) < len(messages):
            rest = messages[len(replies) :]
            first = _detached(rest[0], file_id, failed=failed)
            if first is None:
                replies.append(_SKIPPED)
                continue
            part = [first]
            while len(part) < len(rest) and self.fits([*part, rest[len(part)]]):
                part.append(rest[len(part)])
            try:
                requests = self.start(part, deadline, sealed=sealed)
            except LinkLost as lost:
                raise LinkLost(str(lost), sent=lost.sent or bool(replies)) from lost
            for message, request in zip(part, requests, strict=True):
                reply = self.wait(request, deadline)
                replies.append(reply)
                failed = failed or not reply.ok
                if message.command == Commands.SMB2_CREATE:
                    file_id = file_id_of(reply) if reply.ok else b""
                elif message.command == Commands.SMB2_CLOSE:
                    file_id = b""
                elif message.file_id != RELATED:
                    file_id = message.file_id
        return replies


def _detached(message: SmbRequest, file_id: bytes, *, failed: bool) -> SmbRequest | None:
    """A request of a compound, sent behind the answers to those before it; None if it depends on what has failed."""
    if message.command == Commands.SMB2_CREATE:
        return None if failed else message
    if message.file_id != RELATED:
        return message
    if not file_id or (failed and message.command != Commands.SMB2_CLOSE):
        return None
    return replace(message, file_id=file_id)
