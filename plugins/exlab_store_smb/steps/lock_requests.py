"""The request for a lock: the wait for it on the server, and the document read in the same compound."""

from __future__ import annotations

import os
import platform
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
from smbprotocol.header import Commands

from exlab_store import AccessDenied, LockOwner, LockTimeout, Snapshot, StoreError, lock_key
from exlab_store.backend import ensure_folder_wanted, owner_in_record
from exlab_store_smb.session.failed_creates import goes_on
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.session.share import unavailable
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.steps.held_lock import SmbLock
from exlab_store_smb.steps.lock_file import RECORD_AT, OwnLockFiles, keeps_records, look_at
from exlab_store_smb.steps.refusals import lock_refused
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.deadline import Deadline
from exlab_store_smb.wire.shapes import Reply
from exlab_store_smb.wire.statuses import (
    ACCESS_DENIED,
    CANCELLED,
    DELETE_PENDING,
    FILE_IS_A_DIRECTORY,
    LOCKED,
    NAME_COLLISION,
    NAME_MISSING,
    PATH_MISSING,
    REFUSED_REQUEST,
    SHARING_VIOLATION,
    not_created,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.session.claims import Claims
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.reconnecting import Links
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.steps.folders import ShareFolders
    from exlab_store_smb.steps.reading import Reader
    from exlab_store_smb.wire.shapes import SmbRequest

__all__ = ["Locks", "SmbLockRequest"]

_RECORD_SIZE = 4096
_REMOVE = "Remove what stands at the name of the document with .lock behind it, and find out who put it there."
_GRACE = 5.0  # seconds that a server may take to answer CANCEL; Samba takes 1 ms

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class SmbLockRequest:
    """A request for the lock of a document.

    Attributes:
        key: The document's key.
        lock_file: Where the lock file is.
        owner: Who asks; written into the lock file for others who wait.
        limit: Until when to wait for the holder.
        deadline: Until when to come back whatever the network does.
        cancelled: Asked about every 50 ms; True ends the wait.
        links: Of the store that asks.
        reading: What reads the document once the lock is held, in the same compound; begins with a CREATE.
    """

    key: str
    lock_file: DocumentPath
    owner: LockOwner
    limit: Deadline
    deadline: Deadline
    cancelled: Callable[[], bool]
    links: Links
    reading: tuple[SmbRequest, ...] = ()

    @property
    def given_up(self) -> bool:
        """Whether the wait is over, or was cancelled."""
        return self.limit.over or self.cancelled()

    @property
    def record(self) -> bytes:
        """What stands in the lock file while the lock is held."""
        return b"\n" + _encode(self.owner) + b"\n"


class Locks:
    """The locks of one store.

    Args:
        share: The store's folder.
        reader: Of the store.
        folders: Of the store.
        claims: Of the store.
    """

    def __init__(self, share: Share, reader: Reader, folders: ShareFolders, claims: Claims) -> None:
        self._share = share
        self._reader = reader
        self._folders = folders
        self._claims = claims
        self._timeout = share.timeout
        self._own = OwnLockFiles()

    def take(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool], *, read: bool
    ) -> tuple[SmbLock, Snapshot | None]:
        """Waits for a lock; a connection that is lost meanwhile is made again.

        Args:
            key: The document's key.
            owner: Who asks.
            timeout: Seconds to wait for the holder.
            cancelled: Asked about every 50 ms; True ends the wait.
            read: Read the document too, once the lock is held.

        Returns:
            The lock; and the document, if it was to be read and there is one.

        Raises:
            LockTimeout: Somebody else holds it, or the wait was cancelled.
            BackendUnavailable: The server cannot be reached.
            NotSupported: The store was closed meanwhile.
            StoreError: The server refuses.
        """
        limit, deadline = Deadline(timeout), Deadline(timeout + self._timeout)
        links = self._share.links
        again = False

        def given_up() -> bool:
            return links.closed or cancelled()

        while True:
            link = self._share.current(deadline.within(self._timeout))
            try:
                lock_file = self._share.document_path(link, lock_key(key))
                request = SmbLockRequest(key, lock_file, owner, limit, deadline, given_up, links)
                if not read:
                    return self._ask(link, request)[0], None
                return self._ask_and_read(link, request)
            except LockTimeout:
                links.ensure_open()
                raise
            except LinkLost as lost:
                # The lock is free again, if we had it: the next connection ends this one's session first.
                gives_up = cancelled()
                if gives_up or (again and limit.over) or deadline.over:
                    links.end_session()
                    if gives_up:
                        raise LockTimeout("the wait for the lock was cancelled") from lost
                    raise unavailable(lost, exhausted=True) from lost
                again = True
                time.sleep(random.uniform(0.001, 0.05))  # noqa: S311  # no secret

    def _ask_and_read(self, link: Link, request: SmbLockRequest) -> tuple[SmbLock, Snapshot | None]:
        document = self._share.document_path(link, request.key)
        length = self._reader.expected_size(document.path)
        reading = (messages.open_to_read(document.path), messages.read(0, length), messages.close())
        fits = length <= link.limits.read
        lock, replies = self._ask(link, replace(request, reading=reading) if fits else request)
        try:
            deadline = Deadline(self._timeout)
            if replies:
                opened, answered, _ = replies
                if opened.status == NAME_MISSING:  # perhaps overlooked
                    opened, answered = self._reader.look_again(link, document.path, length, deadline)
                    if opened.status == NAME_MISSING:
                        return lock, None
                snapshot = self._reader.whole(link, document.path, length, opened, answered)
                if snapshot is not None:
                    return lock, snapshot
            return lock, self._reader.snapshot_of(link, document, deadline)
        except LinkLost:
            lock.note_released()  # with its connection
            raise
        except BaseException:
            lock.release()
            raise

    def _ask(self, link: Link, request: SmbLockRequest) -> tuple[SmbLock, list[Reply]]:
        """Waits for a lock.

        Args:
            link: The connection that is to hold it.
            request: For the lock.

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
            self._claims.ensure(link, request.lock_file.directory, self._soon(request))
            while (found := self._attempt(link, request)) is None:
                if request.given_up:
                    found = self._last_attempt(link, request)
                    break
                time.sleep(random.uniform(0.001, 0.01))  # noqa: S311  # no secret
            request.links.hold(found[0])
        except (StoreError, LinkLost):
            raise
        except BaseException:
            # An interruption. The server may grant a lock now or later that no code here knows of.
            link.end()
            raise
        return found

    def _last_attempt(self, link: Link, request: SmbLockRequest) -> tuple[SmbLock, list[Reply]]:
        holder = self.holder(link, request.lock_file, self._soon(request))
        # Nobody is named once a release has arrived, which may have been on its way when the lock was asked for.
        found = self._attempt(link, request) if holder is None and not request.cancelled() else None
        if found is None:
            raise LockTimeout("the lock is held by somebody else", holder=holder)
        return found

    def _attempt(
        self, link: Link, request: SmbLockRequest, *, folder_made: bool = False
    ) -> tuple[SmbLock, list[Reply]] | None:
        """Asks once, and waits on the server; leaves no handle behind where the answer is no."""
        path, recorded = request.lock_file.path, True
        if path in self._own:
            opened, locked, replies, _ = self._run(link, request, messages.open_lock_file(path))
        else:
            opened, locked, replies, seen = self._run(link, request, messages.make_lock_file(path), look=True)
            if opened.status == NAME_COLLISION:
                if seen[0].status == NAME_MISSING:
                    return None  # it was deleted between the two requests, and has to be made
                recorded = keeps_records(seen)
                opening = messages.open_lock_file(path)
                opened, locked, replies, _ = self._run(link, request, opening, recorded=recorded)
            if opened.ok and recorded:
                self._own.add(path)
        if opened.status in PATH_MISSING:
            ensure_folder_wanted(request.owner)
            self._folders.make(link, request.lock_file.folder, request.deadline)
            # Who finds it missing again looks at the clock first: somebody deletes it as often as it is made.
            return None if folder_made else self._attempt(link, request, folder_made=True)
        if opened.status in {DELETE_PENDING, SHARING_VIOLATION}:
            return None
        if opened.status == FILE_IS_A_DIRECTORY:
            raise AccessDenied("what stands at the lock's name is not a file", hint=_REMOVE)
        if opened.status == ACCESS_DENIED:
            raise lock_refused(link, request.lock_file, self._soon(request))
        if not opened.ok:
            raise not_created(opened.status, "lock the document")
        file_id = messages.file_id_of(opened)
        lock = SmbLock(request.key, request.owner, link, file_id, self._timeout, request.links, recorded=recorded)
        status = locked.status
        if status in LOCKED and not request.given_up:
            status = self._wait(link, file_id, request)
            if status == 0:
                confirmed, replies = self._confirm(link, file_id, request, recorded=recorded)
                if not confirmed:
                    lock.release()
                    return None
        if status == 0:
            lock.note_answer()
            return lock, _read_under_lock(request, replies)
        link.run([messages.close(file_id)], self._soon(request))
        if status not in LOCKED and status != CANCELLED:
            raise translated(status, "lock the document")
        return None

    def _run(
        self, link: Link, request: SmbLockRequest, opening: SmbRequest, *, recorded: bool = True, look: bool = False
    ) -> tuple[Reply, Reply, list[Reply], list[Reply]]:
        """Opens a lock file and asks for the lock, in one round trip with what can be asked at the same time.

        Args:
            link: The connection.
            request: For the lock.
            opening: The CREATE.
            recorded: The owner's record is written.
            look: The file is looked at too, as the CREATE is refused if there is one.

        Returns:
            The answers to the CREATE, to the LOCK, to the requests that read the document, and to the look.
        """
        path = request.lock_file.path
        # A message of its own where the server does not go on after a CREATE that was refused.
        chained = look and link.may_chain and goes_on(link)
        beside = [] if look and not chained else self._beside(link, request, recorded=recorded)
        looking = look_at(path, anew=True) if chained else []
        # The record covers byte 0, so that it is refused, like the lock, while somebody else holds that.
        record = [messages.write(0, request.record)] if recorded else []
        # A program on the server may have removed the file between the first two of these, and guards nothing by it.
        compound = [opening, messages.lock_byte_0(wait=False), *record, messages.query_links(), *beside, *looking]
        backoff = Backoff(request.deadline)
        seen: list[Reply] = []
        while True:
            if look and not chained:
                seen, (opened, locked, *replies) = link.run_all([look_at(path), compound], self._soon(request))
            else:
                opened, locked, *replies = link.run(compound, self._soon(request))
            asked = replies[len(record)]
            del replies[: len(record) + 1]
            self._close_left_open(link, [*beside, *looking], replies, request)
            if opened.status != ACCESS_DENIED or not backoff.asks_again(opened.status):
                break
        if (beside or looking) and opened.status in REFUSED_REQUEST:
            link.chains.refused = True
            return self._run(link, request, opening, recorded=recorded, look=look)
        if opened.ok and locked.ok and _is_removed(asked):
            link.run([messages.close(messages.file_id_of(opened))], self._soon(request))
            opened = Reply(DELETE_PENDING, b"")  # it is asked for again
        return opened, locked, replies[: len(beside)], seen or replies[len(beside) :]

    def _close_left_open(
        self, link: Link, beside: list[SmbRequest], replies: list[Reply], request: SmbLockRequest
    ) -> None:
        """Closes what a chain has opened and not closed.

        Where the first CREATE of a compound is refused, Samba 4.22 opens the file of the second chain all the same,
        and refuses its READ and its CLOSE with the status of the first: nobody could delete that file any more.
        """
        opened: Reply | None = None
        for message, reply in zip(beside, replies, strict=True):
            if message.command == Commands.SMB2_CREATE:
                opened = reply
            elif message.command == Commands.SMB2_CLOSE and opened is not None and opened.ok and not reply.ok:
                link.run([messages.close(messages.file_id_of(opened))], self._soon(request))

    def _wait(self, link: Link, file_id: bytes, request: SmbLockRequest) -> int:
        """Waits on the server; returns its answer.

        Every 0.25 to 0.5 s it asks anew: a server may have forgotten a waiting request (see `SmbLock.parting`; other
        clients close their files, or are killed).
        """
        while True:
            (waiting,) = link.start([messages.lock_byte_0(file_id, wait=True)], self._soon(request))
            patience = request.limit.within(random.uniform(0.25, 0.5))  # noqa: S311  # no secret
            reply = link.poll(waiting, patience, request.cancelled)
            if reply is None:
                # Without CANCEL, the server would grant the lock later to a request without a caller (measured).
                link.cancel(waiting)
                reply = link.poll(waiting, request.deadline.within(_GRACE))
            if reply is None:
                link.end()
                raise LinkLost("the server does not answer", sent=True)
            if reply.status != CANCELLED or request.given_up:
                return reply.status  # of success: perhaps it was granted at the last moment

    def _confirm(
        self, link: Link, file_id: bytes, request: SmbLockRequest, *, recorded: bool
    ) -> tuple[bool, list[Reply]]:
        """Writes the record of a lock that was waited for; whether the lock guards anything, and is still wanted."""
        record = [messages.write(0, request.record, file_id)] if recorded else []
        beside = self._beside(link, request, recorded=recorded)
        replies = link.run([*record, messages.query_links(file_id), *beside], self._soon(request))
        asked, *replies = replies[len(record) :]
        return not _is_removed(asked) and not request.cancelled(), replies

    def _beside(self, link: Link, request: SmbLockRequest, *, recorded: bool) -> list[SmbRequest]:
        """A chain behind the one that takes the lock: it reads the document.

        As long as it was not shown that the server carries out chains in order, this one reads the lock's record
        first: with that of this very lock in it, it has come after the lock.
        """
        if not request.reading or not link.may_chain:
            return []
        first, *others = request.reading
        if link.chains.in_order:
            return [replace(first, anew=True), *others]
        if not recorded:
            return []
        opening = replace(messages.open_lock_file_to_read(request.lock_file.path), anew=True)
        return [opening, messages.read(RECORD_AT, len(request.record)), messages.close(), *request.reading]

    def holder(self, link: Link, lock_file: DocumentPath, deadline: Deadline) -> LockOwner | None:
        """Who has, or last had, a lock, if its file says so; other programs write nothing into it.

        Args:
            link: The connection.
            lock_file: Where the lock file is.
            deadline: Until when.

        Raises:
            LinkLost: The connection has ended.
        """
        opened, answered, _ = link.run(
            [
                messages.open_lock_file_to_read(lock_file.path),
                messages.read(RECORD_AT, _RECORD_SIZE),
                messages.close(),
            ],
            deadline,
        )
        if not opened.ok or not answered.ok:
            return None
        owner = owner_in_record(messages.read_bytes(answered).partition(b"\n")[0])
        return owner if owner is not None and _may_be_alive(owner) else None

    def _soon(self, request: SmbLockRequest) -> Deadline:
        return request.deadline.within(self._timeout).half()


def _is_removed(asked: Reply) -> bool:
    """Whether a lock file has lost its name since it was opened."""
    return asked.ok and messages.links_of(asked) == 0


def _read_under_lock(request: SmbLockRequest, replies: list[Reply]) -> list[Reply]:
    if not replies or len(replies) == len(request.reading):
        return replies
    _, record, _, *read = replies
    after_the_lock = record.ok and messages.read_bytes(record).startswith(request.record[RECORD_AT:])
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
