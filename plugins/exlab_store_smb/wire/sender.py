"""One sender at a time on a connection, and only what its credits pay for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from smbprotocol.exceptions import SMBConnectionClosed, SMBException

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.pending import Pending, PendingRequests
    from exlab_store_smb.wire.shapes import SmbRequest

__all__ = ["CREDIT_SIZE", "Sender", "TooFewCredits"]

CREDIT_SIZE = 65536  # bytes to read or write that a credit pays for


class TooFewCredits(SMBException):  # type: ignore[misc]
    """A request costs more credits than the server grants; nothing was sent."""


class _Sending(Protocol):
    """The part of `SmbConnection` that is used here."""

    transport: Any
    sequence_window: dict[str, int]
    outstanding_requests: PendingRequests
    supports_multi_credit: Any

    @property
    def alive(self) -> bool: ...

    def end(self) -> None: ...


class Sender:
    """The order in which the threads of a connection send.

    Args:
        connection: Which one.
        most_credits: How many credits the server is believed to grant at first.

    Attributes:
        most_credits: How many credits there are when nothing is under way: what one compound may cost.
    """

    def __init__(self, connection: _Sending, most_credits: int) -> None:
        self.most_credits = most_credits
        self._connection = connection
        self._order = threading.Lock()

    def send(
        self, messages: Sequence[SmbRequest], deadline: Deadline, pack: Callable[[], tuple[bytes, list[Pending]]]
    ) -> list[Pending]:
        """Sends a packet when the server has granted enough credits [MS-SMB2 3.2.4.1.2].

        Args:
            messages: The requests; none for what costs no credits.
            deadline: Until when to wait for other senders, and for credits.
            pack: Makes the packet, and its requests.

        Returns:
            The requests.

        Raises:
            TooFewCredits: The server grants fewer than they cost.
            SMBConnectionClosed: The deadline is over, or the connection has ended.
        """
        connection = self._connection
        if getattr(connection.transport, "receiver", 0) == threading.get_ident():
            data, requests = pack()  # an echo, of the very thread which brings new credits
            connection.transport.send(data)
            return requests
        # No context manager of Python code: a signal handler may raise where its __exit__ begins.
        (alone,) = map(self._order.acquire, (True,), (max(0.001, deadline.remaining()),))  # in one step
        if not alone:
            connection.end()
            raise SMBConnectionClosed("the connection was busy for too long")
        try:
            self._wait_for_credits(messages, deadline)
            data, requests = pack()
            connection.transport.send(data)
            return requests
        finally:
            self._order.release()

    def _wait_for_credits(self, messages: Sequence[SmbRequest], deadline: Deadline) -> None:
        connection, needed = self._connection, self.charge(messages)
        while self._left < needed:
            if deadline.over or not connection.alive:
                connection.end()
                raise SMBConnectionClosed("the server granted too few credits")
            # Asked for in this order: an answer brings its credits before it counts as one.
            if not self._more_to_come() and self._left < needed:
                self.note_most()
                raise TooFewCredits("the server granted too few credits")
            time.sleep(0.001)

    @property
    def _left(self) -> int:
        """How many credits the server has granted that are not used yet."""
        window = self._connection.sequence_window
        return int(window["high"] - window["low"])

    def _more_to_come(self) -> bool:
        """Whether an answer is to come that brings some; of a request that waits, the interim one has brought them."""
        return any(request.async_id is None for request in self._connection.outstanding_requests.values())

    def note_most(self) -> None:
        """Remembers how many credits there are; nothing is under way."""
        self.most_credits = self._left

    def charge(self, messages: Sequence[SmbRequest]) -> int:
        """How many credits requests cost [MS-SMB2 3.2.4.1.5].

        Args:
            messages: The requests.
        """
        if not self._connection.supports_multi_credit:
            return len(messages)
        return sum(1 + max(0, message.payload - 1) // CREDIT_SIZE for message in messages)
