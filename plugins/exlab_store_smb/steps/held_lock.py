"""The lock of a document: byte 0 of ``<name>.lock`` beside it, granted by the server.

It is the byte that filelock locks on Windows, that a Linux cifs mount locks with the rest of the file, and that the
posix backend locks on the file server itself. Waiting happens on the server. The lock belongs to the handle, and the
handle to the connection: it is lost with that, or when an administrator closes the handle alone (Close-SmbOpenFile),
which the server tells nobody.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from exlab_store import BackendUnavailable, LockLost, LockOwner, ProcessBound
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.steps.lock_file import RECORD_AT
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import (
    HANDLE_GONE,
)

if TYPE_CHECKING:
    from typing import Self

    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.reconnecting import Links
    from exlab_store_smb.wire.shapes import SmbRequest

__all__ = ["SmbLock", "in_use_for_too_long", "lock_file_closed"]

_VOID = b"-"
# Seconds for which an answer about the lock's handle is taken to be true. A lock that is used at once, as by `update`,
# costs no question; a lock that was held for longer costs one round trip.
_FRESH = 0.1


class SmbLock(ProcessBound):
    """A held lock. `Locks` makes one.

    Args:
        key: The document's key.
        owner: Who holds it.
        link: The connection that it belongs to.
        file_id: The handle that it belongs to.
        timeout: Seconds that the release may take.
        links: Of the store that holds it.
        recorded: The owner's record stands in its file.

    Attributes:
        changing: Held by the thread that changes the document under this lock.
    """

    __slots__ = (
        "_answered",
        "_file_id",
        "_links",
        "_recorded",
        "_released",
        "_timeout",
        "changing",
        "key",
        "link",
        "owner",
    )

    def __init__(
        self,
        key: str,
        owner: LockOwner,
        link: Link,
        file_id: bytes,
        timeout: float,
        links: Links,
        *,
        recorded: bool = True,
    ) -> None:
        self.key = key
        self.owner = owner
        self.link = link
        self._file_id = file_id
        self._timeout = timeout
        self._links = links
        self._recorded = recorded
        self._released = False
        self.changing = threading.Lock()
        self._answered = time.monotonic()

    def ensure_held(self) -> None:
        """Checks that the lock is held.

        The server is asked whether the handle still stands, in one round trip, unless it has said so within the last
        0.1 s.

        Raises:
            LockLost: It was released, its connection has ended, or the server has closed its handle.
        """
        if self._released:
            raise LockLost("the lock was released")
        if not self.link.is_of_this_process:
            raise LockLost("the lock belongs to the process that this one was forked from")
        if not self.link.alive:
            raise LockLost("the connection that held the lock has ended")
        if time.monotonic() - self._answered <= _FRESH:
            return
        try:
            (answered,) = self.link.run([self.question()], Deadline(self._timeout / 2))
        except LinkLost as lost:
            raise LockLost("the connection that held the lock has ended") from lost
        if not self.stands(answered):
            raise lock_file_closed()

    def question(self) -> messages.SmbRequest:
        """A request whose answer tells whether the handle stands; see `stands`."""
        return messages.query_links(self._file_id)

    def stands(self, answered: messages.Reply) -> bool:
        """Whether the handle stood when the server answered, as far as the answer tells.

        Args:
            answered: The answer to `question`.
        """
        if answered.ok:
            self.note_answer()
        return answered.status not in HANDLE_GONE

    def note_answer(self) -> None:
        """Remembers that the server has just carried out something on the handle."""
        self._answered = time.monotonic()

    def parting(self) -> list[SmbRequest]:
        """The requests that release the lock: a chain of their own, for the end of a compound."""
        # CLOSE alone would free it too. But of several who wait, the last is then forgotten (measured on Samba
        # 4.17, in a third of all cases with six of them; with an unlock before the close in none of 700).
        void = [messages.write(RECORD_AT, _VOID, self._file_id)] if self._recorded else []
        requests = [*void, messages.unlock_byte_0(self._file_id), messages.close()]
        return [replace(requests[0], anew=True), *requests[1:]]

    def note_released(self) -> None:
        """The server has released the lock, with the last request of a compound."""
        self._released = True
        self._links.forget(self)

    def release(self) -> None:
        """Releases the lock, and does not wait for the server's answer; a second call does nothing.

        The request is on its way in the order of the connection, and the server frees the lock when it arrives:
        another client may find it held for as long as that takes. A change that another thread is making under the
        lock comes to its end first.
        """
        self.give_up(Deadline(1.5 * self._timeout))

    def give_up(self, deadline: Deadline) -> None:
        """Does what `release` does, in less time: the connection is ended where that is not enough.

        Args:
            deadline: Until when.
        """
        if self._released:
            return
        idle = False
        self._released = True
        try:
            self._links.forget(self)
            if not self.link.is_of_this_process:
                return
            (idle,) = map(self.changing.acquire, (True,), (deadline.remaining() * 2 / 3,))
            if not idle:
                self.link.end()
            soon = deadline.within(self._timeout / 2)
            self.link.send_off(self.parting(), soon, self._links.end_session)
        except LinkLost:
            # The server frees the locks of a connection that has ended. Of one that fell silent it does not know.
            self._links.end_session()
        except BaseException:
            self.link.end()  # an interruption: no other code would release it
            raise
        finally:
            if idle:
                self.changing.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_file_closed() -> LockLost:
    """The error for a lock whose handle is gone while its connection stands."""
    return LockLost(
        "the server has closed the lock's file, and with that the lock is free; nothing was written",
        hint="Somebody has closed it there (Close-SmbOpenFile): take the lock again, and begin again by reading.",
    )


def in_use_for_too_long() -> BackendUnavailable:
    """The error for a lock under which another thread has been changing the document."""
    return BackendUnavailable(
        "another thread has been changing the document under this lock for too long",
        exhausted=True,
        hint="Look at the network and the server.",
    )
