"""One authenticated connection to one share, and the exchange of compounds over it."""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smbprotocol import exceptions as smb
from smbprotocol.header import Commands

from exlab_store_smb.connection import CREDIT_SIZE
from exlab_store_smb.filetimes import seconds_since_1970
from exlab_store_smb.messages import RELATED, Message, Reply, file_id_of
from exlab_store_smb.statuses import SESSION_GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exlab_store_smb.connection import SmbConnection
    from exlab_store_smb.deadline import Deadline

__all__ = ["Link", "LinkLost"]

_SKIPPED = Reply(0xC0000120, b"")  # STATUS_CANCELLED: not sent, as something before it has failed
_SYSTEM_TIME = 64 + 40  # where it is in the answer to NEGOTIATE, behind the header


class LinkLost(Exception):
    """The connection has ended, or was ended because no answer came in time.

    Args:
        reason: Why.
        sent: Whether the server may have carried out the request.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Link:
    """A connection with its session and its share. `logon.connect` makes one. Threads share it.

    Args:
        connection: The connection.
        session: Of the user.
        tree: Of the share.
    """

    def __init__(self, connection: SmbConnection, session: Any, tree: Any) -> None:
        self.connection = connection
        self.compounds = True
        self.keeps_names = False
        """Whether a document that was written over it was found at its name."""
        self._session = session
        self._tree = tree
        self._pid = os.getpid()
        self._made = time.monotonic()
        self.session_id: int = session.session_id
        # A server that grants few credits would never be sent a request that needs more of them; a quarter, so that
        # threads do not wait for each other either.
        most = max(1, connection.credits_left // 4) * CREDIT_SIZE
        self.most_read: int = min(connection.max_read_size or 0, most)
        self.most_written: int = min(connection.max_write_size or 0, most)

    @property
    def alive(self) -> bool:
        """Whether the connection can be used, as far as is known on this side, and belongs to this process."""
        return self.connection.alive and self._pid == os.getpid()

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child."""
        return self._pid == os.getpid()

    def server_time(self) -> float | None:
        """Seconds since 1970 by the server's clock: what it said when it was connected to, and the time since.

        It is in the answer to NEGOTIATE [MS-SMB2 2.2.4 SystemTime], of which smbprotocol keeps the bytes for the
        hash of what was negotiated.

        Returns:
            None where the server did not say.
        """
        try:
            (filetime,) = struct.unpack_from("<Q", self.connection.preauth_integrity_hash_value[1], _SYSTEM_TIME)
        except (LookupError, struct.error):
            return None
        if not filetime:
            return None
        return seconds_since_1970(filetime) + time.monotonic() - self._made

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

    def run(self, messages: Sequence[Message], deadline: Deadline) -> list[Reply]:
        """Sends a related compound and waits for all its answers: one round trip.

        A server goes on after a request of the compound that has failed, unless that was a CREATE: measured on
        Samba, a rename is carried out after a WRITE that was not.

        Args:
            messages: What to do, in order.
            deadline: Until when; a server that has not answered then is taken for gone, and the connection is ended.

        Returns:
            An answer to each.

        Raises:
            LinkLost: The connection has ended.
        """
        if not self.compounds:
            return self._one_by_one(messages, deadline)
        return [self.wait(request, deadline) for request in self.start(messages, deadline)]

    def run_all(self, compounds: Sequence[Sequence[Message]], deadline: Deadline) -> list[list[Reply]]:
        """Does what `run` does for several compounds, in order, and in one round trip.

        Args:
            compounds: What to do; no message may appear twice.
            deadline: Until when.

        Returns:
            The answers to each.

        Raises:
            LinkLost: The connection has ended.
        """
        if not self.compounds:
            return [self._one_by_one(messages, deadline) for messages in compounds]
        started = [self.start(messages, deadline) for messages in compounds]
        return [[self.wait(request, deadline) for request in requests] for requests in started]

    def start(self, messages: Sequence[Message], deadline: Deadline) -> list[Any]:
        """Sends a related compound; `wait` waits for the answers.

        Args:
            messages: What to do, in order.
            deadline: Until when to wait for credits.

        Raises:
            LinkLost: It could not be sent.
        """
        if not self.alive:
            raise LinkLost("the connection has ended", sent=False)
        try:
            return self.connection.send_compound(
                messages, self.session_id, self._tree.tree_connect_id, related=len(messages) > 1, deadline=deadline
            )
        except Exception as error:  # what ended the connection may be anything
            self.end()
            raise LinkLost(str(error), sent=False) from error

    def wait(self, request: Any, deadline: Deadline) -> Reply:
        """Waits for an answer.

        Args:
            request: From `start`.
            deadline: Until when; then the connection is ended.

        Raises:
            LinkLost: The connection has ended.
        """
        reply = self.poll(request, deadline)
        if reply is None:
            self.end()
            raise LinkLost("the server did not answer in time", sent=True)
        return reply

    def poll(self, request: Any, deadline: Deadline, cancelled: Callable[[], bool] | None = None) -> Reply | None:
        """Waits for an answer that may take its time.

        Args:
            request: From `start`.
            deadline: Until when.
            cancelled: Asked about every 50 ms; True ends the wait.

        Returns:
            The answer, or None when the wait has ended without.

        Raises:
            LinkLost: The connection has ended, or the session is gone.
        """
        try:
            header = self.connection.answer(request, deadline, cancelled)
        except smb.SMBException as error:
            self.end()
            raise LinkLost(str(error), sent=True) from error
        if header is None:
            return None
        status = int(header["status"].get_value())
        if status in SESSION_GONE:
            self.end()
            raise LinkLost(f"the server has ended the session ({status:#010x})", sent=True)
        return Reply(status, header["data"].get_value())

    def cancel(self, request: Any) -> None:
        """Asks the server to give a request up [MS-SMB2 3.2.4.24]; the answer says whether it has.

        Args:
            request: From `start`.

        Raises:
            LinkLost: It could not be sent.
        """
        try:
            request.cancel()
        except Exception as error:
            self.end()
            raise LinkLost(str(error), sent=False) from error

    def end(self) -> None:
        """Ends the connection at once; who waits for an answer is told."""
        if self.is_of_this_process:
            self.connection.end()
        else:
            self.connection.abandon()

    def close(self, deadline: Deadline) -> None:
        """Ends the session in peace, so that the server frees everything at once, then the connection.

        Args:
            deadline: Until when to wait for the server.
        """
        if self.alive:
            with suppress(Exception):  # it ends all the same
                self.connection.say_goodbye(self._session, deadline)
            self.connection.disconnect(False)  # waits for the thread that receives
        self.end()

    def _one_by_one(self, messages: Sequence[Message], deadline: Deadline) -> list[Reply]:
        """What `run` does, for a server that refuses compounds: a failure skips all that depends on it."""
        replies: list[Reply] = []
        file_id, failed = b"", False
        for message in messages:
            opens, closes = message.command == Commands.SMB2_CREATE, message.command == Commands.SMB2_CLOSE
            own = message
            if opens:
                if failed:
                    replies.append(_SKIPPED)
                    continue
            elif message.file_id != RELATED:
                file_id = message.file_id
            else:
                if not file_id or (failed and not closes):
                    replies.append(_SKIPPED)
                    continue
                own = replace(message, file_id=file_id)
            try:
                (request,) = self.start([own], deadline)
            except LinkLost as lost:
                raise LinkLost(str(lost), sent=lost.sent or bool(replies)) from lost
            reply = self.wait(request, deadline)
            failed = failed or not reply.ok
            if opens:
                file_id = file_id_of(reply) if reply.ok else b""
            elif closes:
                file_id = b""
            replies.append(reply)
        return replies
