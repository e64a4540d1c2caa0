"""The lock of a document: byte 0 of ``<name>.lock`` beside it, granted by the server.

It is the byte that filelock locks on Windows, that a Linux cifs mount locks with the rest of the file, and that the
posix backend locks on the file server itself. Waiting happens on the server. The lock belongs to the handle, and the
handle to the connection: it is lost with that, or when an administrator closes the handle alone (Close-SmbOpenFile),
which the server tells nobody.
"""

from __future__ import annotations

import os
import platform
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from exlab_store import AccessDenied, BackendUnavailable, LockLost, LockOwner, LockTimeout, ProcessBound, StoreError
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.steps.refusals import lock_refused
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.statuses import (
    ACCESS_DENIED,
    CANCELLED,
    DELETE_PENDING,
    FILE_IS_A_DIRECTORY,
    HANDLE_GONE,
    LOCKED,
    PATH_MISSING,
    REFUSED_REQUEST,
    SHARING_VIOLATION,
    not_created,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Self

    from exlab_store_smb.session.claims import Claims
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.place import Place
    from exlab_store_smb.session.reconnecting import Links
    from exlab_store_smb.steps.directories import Directories
    from exlab_store_smb.wire.shapes import Message, Reply

__all__ = ["Asker", "SmbLock", "Wish", "lock_file_closed"]

# The record begins behind byte 0: who does not hold the lock can neither read nor write that byte.
_RECORD_AT = 1
_RECORD_SIZE = 4096
_VOID = b"-"
_REMOVE = "Remove what stands at the name of the document with .lock behind it, and find out who put it there."
_GRACE = 5.0  # seconds that a server may take to answer CANCEL; Samba takes 1 ms
# Seconds for which an answer about the lock's handle is taken to be true. A lock that is used at once, as by `update`,
# costs no question; one that somebody thought about for long costs one round trip.
_FRESH = 0.1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LockOwner).decode


class SmbLock(ProcessBound):
    """A held lock. `Asker.ask` makes one.

    Args:
        key: The document's key.
        owner: Who holds it.
        link: The connection that it belongs to.
        file_id: The handle that it belongs to.
        timeout: Seconds that the release may take.
        links: Of the store that holds it.
    """

    __slots__ = ("_answered", "_changing", "_file_id", "_links", "_released", "_timeout", "key", "link", "owner")

    def __init__(
        self,
        key: str,
        owner: LockOwner,
        link: Link,
        file_id: bytes,
        timeout: float,
        links: Links,
    ) -> None:
        self.key = key
        self.owner = owner
        self.link = link
        self._file_id = file_id
        self._timeout = timeout
        self._links = links
        self._released = False
        self._changing = threading.Lock()
        self._answered = time.monotonic()

    @contextmanager
    def in_use(self, deadline: Deadline) -> Generator[None]:
        """Has a release by another thread wait for a change that is being made under the lock.

        Args:
            deadline: Until when to wait for another thread that changes the document under this lock.

        Raises:
            BackendUnavailable: It takes too long.
        """
        (alone,) = map(self._changing.acquire, (True,), (deadline.remaining(),))  # in one step: a signal may interrupt
        if not alone:
            raise BackendUnavailable(
                "another thread has been changing the document under this lock for too long",
                exhausted=True,
                hint="Look at the network and the server.",
            )
        try:
            yield
        finally:
            self._changing.release()

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

    def question(self) -> messages.Message:
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

    def parting(self) -> list[Message]:
        """The requests that release the lock: a chain of their own, for the end of a compound."""
        # CLOSE alone would free it too. But of several who wait, the last is then forgotten (measured on Samba
        # 4.17, in a third of all cases with six of them; with an unlock before the close in none of 700).
        return [
            replace(messages.write(_RECORD_AT, _VOID, self._file_id), anew=True),
            messages.unlock_byte_0(),
            messages.close(),
        ]

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
            (idle,) = map(self._changing.acquire, (True,), (deadline.remaining() * 2 / 3,))
            if not idle:
                self.link.end()
            soon = deadline.within(self._timeout / 2)
            self.link.send_off(self.parting(), soon, self._links.end_session)
        except LinkLost:
            # The server frees the locks of a connection that has ended. Of one that fell silent it does not know.
            self._links.end_session()
        except BaseException:
            self.link.end()  # an interruption: nobody would release it any more
            raise
        finally:
            if idle:
                self._changing.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants the lock of which document, and for how long.

    Attributes:
        key: The document's key.
        place: Of the lock file.
        owner: Who asks; written into the lock file for others who wait.
        limit: Until when to wait for the holder.
        deadline: Until when to come back whatever the network does.
        cancelled: Asked about every 50 ms; True ends the wait.
        links: Of the store that asks.
        reading: What reads the document once the lock is held, in the same compound; begins with a CREATE.
    """

    key: str
    place: Place
    owner: LockOwner
    limit: Deadline
    deadline: Deadline
    cancelled: Callable[[], bool]
    links: Links
    reading: tuple[Message, ...] = ()

    @property
    def given_up(self) -> bool:
        """Whether nobody wants to wait any longer."""
        return self.limit.over or self.cancelled()

    @property
    def record(self) -> bytes:
        """What stands in the lock file while the lock is held."""
        return b"\n" + _encode(self.owner) + b"\n"


class Asker:
    """Asks for locks.

    Args:
        directories: Of the store.
        claims: Of the store.
        timeout: Seconds that an exchange with the server may take.
    """

    def __init__(self, directories: Directories, claims: Claims, timeout: float) -> None:
        self._claims = claims
        self._directories = directories
        self._timeout = timeout

    def ask(self, link: Link, wish: Wish) -> tuple[SmbLock, list[Reply]]:
        """Waits for a lock.

        Args:
            link: The connection that is to hold it.
            wish: What is wanted.

        Returns:
            The lock, and the answers to what reads the document, where it certainly did so when the lock was held
            already; otherwise nothing.

        Raises:
            LockTimeout: Somebody else holds it, or the wait was cancelled; nothing is left behind.
            AccessDenied: This user may not lock the document.
            LinkLost: The connection has ended; if the server had granted the lock, it is free again.
            NotSupported: The store was closed meanwhile.
        """
        try:
            self._claims.ensure(link, wish.place.directory, self._soon(wish))
            while (found := self._attempt(link, wish)) is None:
                if wish.given_up:
                    found = self._last_attempt(link, wish)
                    break
                time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  # no secret
            wish.links.hold(found[0])
        except (StoreError, LinkLost):
            raise
        except BaseException:
            # An interruption. The server may have granted, or grant one day, what nobody here knows of.
            link.end()
            raise
        return found

    def _last_attempt(self, link: Link, wish: Wish) -> tuple[SmbLock, list[Reply]]:
        holder = self.holder(link, wish.place, self._soon(wish))
        # Nobody is named once a release has arrived, which may have been on its way when the lock was asked for.
        found = self._attempt(link, wish) if holder is None and not wish.cancelled() else None
        if found is None:
            raise LockTimeout("the lock is held by somebody else", holder=holder)
        return found

    def _attempt(self, link: Link, wish: Wish) -> tuple[SmbLock, list[Reply]] | None:
        """Asks once, and waits on the server; leaves no handle behind where the answer is no."""
        # The record covers byte 0, so that it is refused, like the lock, while somebody else holds that.
        beside = self._beside(link, wish)
        compound = [
            messages.open_lock_file(wish.place.path),
            messages.lock_byte_0(wait=False),
            messages.write(0, wish.record),
            *beside,
        ]
        opened, locked, _, *replies = link.run(compound, self._soon(wish))
        backoff = Backoff(wish.deadline)
        while opened.status == ACCESS_DENIED and backoff.asks_again(opened.status):
            opened, locked, _, *replies = link.run(compound, self._soon(wish))
        if beside and opened.status in REFUSED_REQUEST:
            link.chains.refused = True
            return self._attempt(link, wish)
        if opened.status in PATH_MISSING:
            self._directories.make(link, wish.place.folder, wish.deadline)
            return self._attempt(link, wish)
        if opened.status in {DELETE_PENDING, SHARING_VIOLATION}:
            return None
        if opened.status == FILE_IS_A_DIRECTORY:
            raise AccessDenied("what stands at the lock's name is not a file", hint=_REMOVE)
        if opened.status == ACCESS_DENIED:
            raise lock_refused(link, wish.place, self._soon(wish))
        if not opened.ok:
            raise not_created(opened.status, "lock the document")
        file_id = messages.file_id_of(opened)
        lock = SmbLock(wish.key, wish.owner, link, file_id, self._timeout, wish.links)
        status = locked.status
        if status in LOCKED and not wish.given_up:
            status = self._wait(link, file_id, wish)
            if status == 0:
                confirmed, replies = self._confirm(link, file_id, wish)
                if not confirmed:
                    lock.release()
                    return None
        if status == 0:
            lock.note_answer()
            return lock, _read_under_lock(wish, replies)
        link.run([messages.close(file_id)], self._soon(wish))
        if status not in LOCKED and status != CANCELLED:
            raise translated(status, "lock the document")
        return None

    def _wait(self, link: Link, file_id: bytes, wish: Wish) -> int:
        """Waits on the server; returns its answer.

        Now and then it asks anew: a server that has forgotten who waits is reminded (see `SmbLock.release`; others
        close their files, or are killed).
        """
        while True:
            (request,) = link.start([messages.lock_byte_0(file_id, wait=True)], self._soon(wish))
            patience = wish.limit.within(random.uniform(0.25, 0.5))  # noqa: S311  # no secret
            reply = link.poll(request, patience, wish.cancelled)
            if reply is None:
                # Without CANCEL, the server would give the lock to nobody one day (measured: a ghost lock).
                link.cancel(request)
                reply = link.poll(request, wish.deadline.within(_GRACE))
            if reply is None:
                link.end()
                raise LinkLost("the server does not answer", sent=True)
            if reply.status != CANCELLED or wish.given_up:
                return reply.status  # of success: perhaps it was granted at the last moment

    def _confirm(self, link: Link, file_id: bytes, wish: Wish) -> tuple[bool, list[Reply]]:
        """Writes the record of a lock that was waited for; whether the lock guards anything, and is still wanted."""
        _, asked, *replies = link.run(
            [messages.write(0, wish.record, file_id), messages.query_links(), *self._beside(link, wish)],
            self._soon(wish),
        )
        removed = asked.ok and messages.links_of(asked) == 0  # somebody has taken the file away while we waited
        return not removed and not wish.cancelled(), replies

    def _beside(self, link: Link, wish: Wish) -> list[Message]:
        """A chain behind the one that takes the lock: it reads the document.

        As long as it was not shown that the server carries out chains in order, this one reads the lock's record
        first: with that of this very lock in it, it has come after the lock.
        """
        if not wish.reading or not link.may_chain:
            return []
        first, *others = wish.reading
        if link.chains.in_order:
            return [replace(first, anew=True), *others]
        opening = replace(messages.open_lock_file_to_read(wish.place.path), anew=True)
        return [opening, messages.read(_RECORD_AT, len(wish.record)), messages.close(), *wish.reading]

    def holder(self, link: Link, place: Place, deadline: Deadline) -> LockOwner | None:
        """Who has, or last had, a lock, if its file says so; other programs write nothing into it.

        Args:
            link: The connection.
            place: Of the lock file.
            deadline: Until when.

        Raises:
            LinkLost: The connection has ended.
        """
        opened, answered, _ = link.run(
            [
                messages.open_lock_file_to_read(place.path),
                messages.read(_RECORD_AT, _RECORD_SIZE),
                messages.close(),
            ],
            deadline,
        )
        if not opened.ok or not answered.ok:
            return None
        try:
            owner = _decode(messages.read_bytes(answered).partition(b"\n")[0])
        except msgspec.DecodeError:  # void, absent, or in the middle of being written
            return None
        return owner if _may_be_alive(owner) else None

    def _soon(self, wish: Wish) -> Deadline:
        return wish.deadline.within(self._timeout).half()


def lock_file_closed() -> LockLost:
    """The error for a lock whose handle is gone while its connection stands."""
    return LockLost(
        "the server has closed the lock's file, and with that the lock is free; nothing was written",
        hint="Somebody has closed it there (Close-SmbOpenFile): take the lock again, and begin again by reading.",
    )


def _read_under_lock(wish: Wish, replies: list[Reply]) -> list[Reply]:
    if not replies or len(replies) == len(wish.reading):
        return replies
    _, record, _, *read = replies
    after_the_lock = record.ok and messages.read_bytes(record).startswith(wish.record[_RECORD_AT:])
    return read if after_the_lock else []


def _may_be_alive(owner: LockOwner) -> bool:
    # A killed holder leaves its record; the one who has the lock now may be a program that writes none.
    if os.name == "nt" or owner.host != platform.node():
        return True
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
