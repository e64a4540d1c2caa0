"""Requests without a wait for their answers: the release of a lock.

So a release costs its holder no round trip. A release that the server has not carried out must still be noticed: the
next request on the connection looks at the answer, and a thread does when the time is over. Then the connection is
ended, and the server frees its locks.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from exlab_store.backend import Latch, start_thread, under_mutex
from exlab_store_smb.session.link_lost import LinkLost
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import HANDLE_GONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.wire.shapes import Reply

__all__ = ["Unanswered"]

_NOW = 0.0


@dataclass(slots=True, eq=False)
class _Sent:
    requests: list[Any]
    deadline: Deadline
    lost: Callable[[], None]


class _Answering(Protocol):
    """The two methods of `Link` that are used here."""

    def poll(self, request: Any, deadline: Deadline) -> Reply | None: ...

    def end(self) -> None: ...


class Unanswered:
    """The requests of one connection that have no waiting caller.

    Args:
        link: The connection.
    """

    def __init__(self, link: _Answering) -> None:
        self._link = link
        self._sent: deque[_Sent] = deque()
        self._checking = threading.Lock()
        self._over = Latch()
        self._watching = False

    def add(self, requests: list[Any], deadline: Deadline, lost: Callable[[], None]) -> None:
        """Remembers requests.

        Args:
            requests: From `Link.start`; the last is a CLOSE.
            deadline: Until when the server has to answer.
            lost: Called in another thread when it has not, and the connection was ended for that.
        """
        if not under_mutex(self._checking, lambda: self._add(_Sent(requests, deadline, lost))):
            return
        # One thread serves all that is sent until the deadline, so that a busy store seldom starts one.
        try:
            start_thread(threading.Thread(target=self._watch, name="exlab-store-smb unanswered", daemon=True))
        except RuntimeError:  # no thread is left: then the answers are waited for
            self._watching = False
            if not self.settle(deadline):
                self._link.end()

    def _add(self, sent: _Sent) -> bool:
        """Whether nobody watches yet, so that the caller has to start a thread."""
        self._sent.append(sent)
        watching, self._watching = self._watching, True
        return not watching

    def check(self) -> None:
        """Takes note of the answers that have come; waits for none."""
        while (sent := self._first()) is not None and sent.requests[-1].over:
            if not self._take(sent, Deadline(_NOW)):
                return

    def settle(self, deadline: Deadline) -> bool:
        """Waits for the answers.

        Args:
            deadline: Until when.

        Returns:
            Whether all have come, or the connection has ended.
        """
        while (sent := self._first()) is not None:
            if not self._take(sent, deadline):
                return False
        return True

    def stop(self) -> None:
        """Ends the watch; the connection ends, and with it all that was asked for."""
        self._over.open()

    def _first(self) -> _Sent | None:
        return under_mutex(self._checking, lambda: self._sent[0] if self._sent else None)

    def _take(self, sent: _Sent, deadline: Deadline) -> bool:
        """Takes the answers to one compound, which stays to be watched for until they are here."""
        with suppress(LinkLost):  # the server has freed everything
            *before, closing = sent.requests
            for request in before:
                self._link.poll(request, deadline)
            closed = self._link.poll(closing, deadline)
            if closed is None:
                return False
            self.note(closed)
        with suppress(ValueError):  # another thread has taken the same
            under_mutex(self._checking, lambda: self._sent.remove(sent))
        return True

    def note(self, closed: Reply) -> None:
        """Ends the connection if a file was not closed: the server then closes it.

        Args:
            closed: The answer to a CLOSE.
        """
        if not closed.ok and closed.status not in HANDLE_GONE:
            self._link.end()

    def _watch(self) -> None:
        """Ends the connection to a server that is silent for too long, also when no other request follows."""
        while True:
            sent = under_mutex(self._checking, self._next)
            if sent is None:
                return
            if self._over.wait(sent.deadline.remaining()):
                return
            if self._take(sent, Deadline(_NOW)):
                continue
            self._link.end()
            sent.lost()
            return

    def _next(self) -> _Sent | None:
        self._watching = bool(self._sent)
        return self._sent[0] if self._sent else None
