"""Requests whose answers nobody waits for: what releases a lock.

Without waiting, a release costs its holder no round trip. It still has to be noticed when the server does not carry it
out: whoever sends something next looks, and so does a thread when the time is over. Then the connection is ended, and
the server frees what it held.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exlab_store_smb.deadline import Deadline
from exlab_store_smb.link_lost import LinkLost
from exlab_store_smb.statuses import HANDLE_GONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.link import Link

__all__ = ["Unanswered"]

_NOW = 0.0


@dataclass(slots=True)
class _Sent:
    requests: list[Any]
    deadline: Deadline
    lost: Callable[[], None]


class Unanswered:
    """The requests of one connection whose answers nobody waits for.

    Args:
        link: The connection.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sent: deque[_Sent] = deque()
        self._checking = threading.Lock()
        self._over = threading.Event()
        self._watching = False

    def add(self, requests: list[Any], deadline: Deadline, lost: Callable[[], None]) -> None:
        """Remembers requests.

        Args:
            requests: From `Link.start`; the last is a CLOSE.
            deadline: Until when the server has to answer.
            lost: Called in another thread when it has not, and the connection was ended for that.
        """
        self._sent.append(_Sent(requests, deadline, lost))
        if not self._watching:
            with self._checking:
                if self._watching:
                    return
                self._watching = True
            # One thread serves all that is sent until the deadline, so that a busy store seldom starts one.
            try:
                threading.Thread(target=self._watch, name="exlab-store-smb unanswered", daemon=True).start()
            except RuntimeError:  # no thread is left: then the answers are waited for
                self._watching = False
                self.settle(deadline)

    def check(self) -> None:
        """Takes note of the answers that have come; waits for none."""
        while self._sent and self._sent[0].requests[-1].event.is_set():
            with self._checking:
                if not self._sent:
                    return
                sent = self._sent.popleft()
            self._take(sent, Deadline(_NOW))

    def settle(self, deadline: Deadline) -> bool:
        """Waits for the answers.

        Args:
            deadline: Until when.

        Returns:
            Whether all have come, or the connection has ended.
        """
        while True:
            with self._checking:
                if not self._sent:
                    return True
                sent = self._sent.popleft()
            if not self._take(sent, deadline):
                return False

    def stop(self) -> None:
        """Ends the watch; the connection ends, and with it all that was asked for."""
        self._over.set()

    def _take(self, sent: _Sent, deadline: Deadline) -> bool:
        """Takes the answers to one compound; ends the connection if the file was not closed."""
        with suppress(LinkLost):  # the server has freed everything
            *before, closing = sent.requests
            for request in before:
                self._link.poll(request, deadline)
            closed = self._link.poll(closing, deadline)
            if closed is None:
                self._sent.appendleft(sent)
                return False
            if not closed.ok and closed.status not in HANDLE_GONE:
                self._link.end()
        return True

    def _watch(self) -> None:
        """Sees to it that a server which does not answer is taken for gone, also when nobody asks it anything."""
        while True:
            try:
                sent = self._sent[0]
            except IndexError:
                with self._checking:
                    if not self._sent:
                        self._watching = False
                        return
                continue
            if self._over.wait(sent.deadline.remaining()):
                return
            self.check()
            if self._sent and self._sent[0].deadline.over and self._link.alive:
                lost = self._sent[0].lost
                self._link.end()
                lost()
                return
