"""A document replaced as a whole: temporary file, data, flush, rename, and the flush of the folder.

With room on the share this is one compound, one round trip. A large document, or a share that may be full, takes
more: the rename is asked for when the data is known to be there.
"""

from __future__ import annotations

import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smbprotocol.header import Commands

from exlab_store import BackendUnavailable, LockLost, StoreError, WriteOutcomeUnknown, temporary_name, version_of
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.steps.backoff import PASSING, Backoff
from exlab_store_smb.steps.foreign_deletions import goes_too, is_asked, outlast, run_asking
from exlab_store_smb.steps.locking import lock_file_closed
from exlab_store_smb.steps.proving import prove
from exlab_store_smb.steps.reading import LOOKS
from exlab_store_smb.steps.refusals import marked_read_only
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.shapes import Reply
from exlab_store_smb.wire.statuses import (
    ACCESS_DENIED,
    BUSY_TARGET,
    DELETE_PENDING,
    DISK_FULL,
    FILE_IS_A_DIRECTORY,
    MISSING,
    NAME_COLLISION,
    NAME_MISSING,
    PATH_MISSING,
    REFUSED_REQUEST,
    SHARING_VIOLATION,
    not_created,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store_smb.session.claims import Claims
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.place import Place
    from exlab_store_smb.steps.directories import Directories
    from exlab_store_smb.steps.locking import SmbLock
    from exlab_store_smb.steps.outcome import Attempt
    from exlab_store_smb.steps.room import Room
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import Message

__all__ = ["Replacer"]

_AT_ONCE = 1 << 20
_CHUNK = 1 << 20
_IN_FLIGHT = 8
_WRITE = "write the document"
_DOUBT = 0.5  # seconds; readers of this package have a document open for milliseconds


class Replacer:
    """Replaces documents of one store.

    Args:
        directories: Of the store.
        room: What is known about the room on the share.
        claims: Of the store.
        flush: The server flushes directories.
    """

    def __init__(self, directories: Directories, room: Room, claims: Claims, *, flush: bool) -> None:
        self._claims = claims
        self._directories = directories
        self._room = room
        self._flush = flush

    def replace(self, link: Link, place: Place, data: bytes, deadline: Deadline, attempt: Attempt) -> None:
        """Replaces a document, or makes it with the folders that are missing.

        Args:
            link: The connection.
            place: Where the document is.
            data: The whole document.
            deadline: Until when.
            attempt: Kept up to date.

        Raises:
            StoreError: It was not written; or `WriteOutcomeUnknown`.
            LinkLost: The connection has ended; what has happened is to be found out.
        """
        self._claims.ensure(link, place.directory, deadline)
        settling = self._directories.start_settling(link, place.folder, deadline)
        try:
            created = self._write_to_stay(link, place, data, deadline, attempt)
            if created.status in PATH_MISSING:
                self._directories.make(link, place.folder, deadline)
                created = self._write_to_stay(link, place, data, deadline, attempt)
            backoff = Backoff(deadline)
            while not created.ok and backoff.asks_again(created.status):
                created = self._write_to_stay(link, place, data, deadline, attempt)
            if not created.ok:
                raise not_created(created.status, _WRITE)
        except StoreError:
            with suppress(LinkLost):  # the error that is on its way says more
                self._directories.settle(link, place.folder, settling, deadline)
            raise
        failed = self._directories.settle(link, place.folder, settling, deadline)
        if failed is not None:
            raise _not_durable(failed, data)
        if link.is_in_dfs and not link.keeps_names:
            link.keeps_names = prove(link, place, data, attempt, deadline)

    def confirm(self, link: Link, place: Place, deadline: Deadline) -> bool:
        """Makes a change durable that turned out to have happened, after the connection was lost.

        Args:
            link: The new connection.
            place: Where the document is, or was.
            deadline: Until when.

        Returns:
            Whether the server has flushed the file, if there is one, and its folder.
        """
        compound = [messages.open_for_flush(place.path), messages.flush(), messages.close()]
        opened, flushed, _ = link.run(compound, deadline.half())
        if not flushed.ok and (opened.status not in MISSING or opened.status == DELETE_PENDING):
            return False
        return not self._flush or link.run(self._settled(place), deadline.half())[1].ok

    def discard(self, link: Link, path: str, deadline: Deadline) -> bool | None:
        """Deletes a temporary file.

        Args:
            link: The connection.
            path: Its name on the share.
            deadline: Until when.

        Returns:
            Whether there was one; None if the server does not tell, as while somebody has it open.
        """
        opened, _ = link.run([messages.open_to_discard(path), messages.close()], deadline.half())
        if opened.ok:
            return True
        return False if opened.status == NAME_MISSING else None

    def take_back(self, link: Link, attempt: Attempt, deadline: Deadline) -> bool | None:
        """Deletes the temporary file of an attempt.

        Args:
            link: The connection.
            attempt: Kept up to date. Once a deletion is asked for, that the file is gone proves nothing any more.
            deadline: Until when.

        Returns:
            As `discard`.
        """
        attempt.stored = False
        there = self.discard(link, attempt.temporary, deadline)
        if there is not None:
            attempt.temporary = ""
        return there

    def delete(self, link: Link, place: Place, deadline: Deadline, attempt: Attempt) -> Reply:
        """Deletes a document and flushes its folder.

        Args:
            link: The connection.
            place: Where the document is.
            deadline: Until when.
            attempt: Kept up to date.

        Returns:
            The server's answer to the deletion.

        Raises:
            WriteOutcomeUnknown: It is deleted, and the folder could not be flushed.
            BackendUnavailable: Somebody has it open; nothing is deleted.
            LinkLost: The connection has ended.
        """
        self._claims.ensure(link, place.directory, deadline)
        backoff = Backoff(deadline)
        while True:
            # Its name is free at once, whoever has it open in whatever way, and also if the server is killed next.
            attempt.moved = _temporary(place)
            moving = messages.rename(link.within_share(attempt.moved))
            compound = [messages.open_to_delete(place.path), moving, messages.close(), *self._settled(place)]
            opened, moved, closed, *settled = self._run_change(link, compound, deadline, attempt, change=0)
            if opened.ok:
                break
            attempt.asked, attempt.moved = False, ""  # and refused
            if backoff.asks_again(opened.status):
                continue
            if opened.status == SHARING_VIOLATION:
                raise _open_for_too_long()
            if opened.status != NAME_MISSING or not self._is_there(link, place, deadline):
                return opened
        if not closed.ok:
            raise WriteOutcomeUnknown(translated(closed.status, "delete the document").message, intended=None)
        attempt.moved = ""
        if not moved.ok and self._lingers(link, place, deadline):
            raise WriteOutcomeUnknown(
                "the document goes when another program that has it open closes it", intended=None
            )
        self._finish(link, place, None, settled, deadline)
        _ensure_guarded(attempt, None)
        return opened

    def _lingers(self, link: Link, place: Place, deadline: Deadline) -> bool:
        """Whether a deleted document is not gone until the deadline."""
        patience = deadline.half()
        while True:
            asked, _ = link.run([messages.open_to_ask(place.path), messages.close()], deadline.half())
            if asked.status != DELETE_PENDING or patience.over:
                return asked.status == DELETE_PENDING
            time.sleep(min(patience.remaining(), random.uniform(0.002, 0.02)))  # noqa: S311  # no secret

    def _is_there(self, link: Link, place: Place, deadline: Deadline) -> bool:
        """Whether a document that was not found is there after all: being replaced, it is overlooked now and then."""
        if deadline.over:
            return False
        looks = link.run_all(
            [[messages.open_to_ask(place.path), messages.close()] for _ in range(LOOKS)], deadline.half()
        )
        return any(opened.ok for opened, _ in looks)

    def _run_change(
        self,
        link: Link,
        compound: list[Any],
        deadline: Deadline,
        attempt: Attempt,
        *,
        change: int,
        last: Sequence[Message] = (),
        sealed: bool = False,
    ) -> list[Reply]:
        """Sends what changes the document, and keeps the attempt true when it cannot be sent.

        Under a lock the compound ends with a question about the lock's handle: if that stands then, the lock was held
        all the time. (The question cannot come first: Samba 4.17 panics when a CREATE follows a request on another
        file that is still open.)

        Args:
            link: The connection.
            compound: The requests.
            deadline: Until when.
            attempt: Kept up to date.
            change: Which of the requests is the change itself.
            last: A chain of its own at the end of the compound; see `_last_chain`.
            sealed: As for `Link.run`.

        Raises:
            LockLost: The lock is gone, and the change was not made.
            LinkLost: The connection has ended.
        """
        held, parting = attempt.held, last is attempt.parting
        compound = [*compound, *last]
        if held is not None:
            self._ensure_held(link, held, deadline, attempt)
            if not parting:  # whose first request tells as well
                compound = [*compound, held.question()]
        before, attempt.asked = attempt.asked, True
        if not before:
            attempt.begun = time.monotonic()
        try:
            replies = self._run_asking(link, compound, deadline, attempt, sealed=sealed)
        except LinkLost as lost:
            attempt.asked = before or lost.sent
            raise
        if held is not None and not held.stands(replies[-len(last)] if parting else replies.pop()):
            attempt.unguarded = replies[change].ok
            if not attempt.unguarded:
                attempt.asked = False  # and refused
                if attempt.temporary:
                    self._discard_quietly(link, attempt, deadline)
                raise lock_file_closed()
        return replies

    def _run_asking(
        self, link: Link, compound: list[Any], deadline: Deadline, attempt: Attempt, *, sealed: bool
    ) -> list[Reply]:
        def run(compound: list[Any]) -> list[Reply]:
            return link.run(compound, deadline.half(), sealed=sealed)

        # A request on a file that is open already would be given the one that is asked about.
        if not attempt.replaced or compound[0].command != Commands.SMB2_CREATE:
            return run(compound)
        attempt.going, replies = run_asking(link, attempt.replaced, compound, run)
        return replies

    def _ensure_held(self, link: Link, held: SmbLock, deadline: Deadline, attempt: Attempt) -> None:
        try:
            held.ensure_held()
        except LockLost:
            if attempt.stored:
                self._discard_quietly(link, attempt, deadline)
            raise

    def _settled(self, place: Place) -> list[Any]:
        """Flushes a folder and asks for the room that is left; the last part of every compound that changes it."""
        if not self._flush:
            return []
        return [messages.open_directory(place.directory), messages.flush(), messages.query_room(), messages.close()]

    def _write_to_stay(self, link: Link, place: Place, data: bytes, deadline: Deadline, attempt: Attempt) -> Reply:
        """Writes a document, and once more if the deletion of the one before it has taken it away."""
        while True:
            attempt.replaced = place.path if is_asked(link) else ""
            attempt.going = False
            created = self._write(link, place, data, deadline, attempt)
            if not created.ok or not attempt.going:
                return created
            if attempt.parted:  # without the lock it cannot be written again
                raise goes_too(data)
            known_by = attempt.mark or messages.created_at(created)
            if not outlast(link, place, data, known_by, deadline):
                return created

    def _write(self, link: Link, place: Place, data: bytes, deadline: Deadline, attempt: Attempt) -> Reply:
        attempt.temporary, attempt.stored, attempt.asked = _temporary(place), False, False
        # Of a compound that is only signed, a server refuses the WRITE in which a bit was changed, and carries the
        # rename out: the document is empty (measured). So the rename waits for the data where nothing is encrypted.
        at_once = link.seals and len(data) <= min(_AT_ONCE, link.limits.written)
        if at_once and self._room.suffices_for(len(data)):
            return self._at_once(link, place, data, deadline, attempt)
        return self._step_by_step(link, place, data, deadline, attempt)

    def _at_once(self, link: Link, place: Place, data: bytes, deadline: Deadline, attempt: Attempt) -> Reply:
        writing = [messages.write(0, data)] if data else []
        marking = [messages.mark(attempt.mark)] if attempt.mark else []
        compound = [
            messages.create_document(attempt.temporary, marked=bool(marking)),
            *writing,
            messages.flush(),
            *marking,
            messages.rename(link.within_share(place.path)),
            messages.close(),
        ]
        settling = self._settled(place)
        last = self._last_chain(link, place, attempt)
        rename = len(compound) - 2
        replies = self._run_change(
            link, [*compound, *settling], deadline, attempt, change=rename, last=last, sealed=True
        )
        created, renamed = replies[0], replies[rename]
        stored, settled = replies[1 : 2 + len(writing)], replies[len(compound) : len(compound) + len(settling)]
        if last:
            chained = replies[-len(last) :]
            if last is attempt.parting:
                attempt.parted = chained[-1].ok
            elif created.status in REFUSED_REQUEST:
                link.chains.refused = True
                attempt.asked = False
                return self._at_once(link, place, data, deadline, attempt)
            elif renamed.ok:
                link.chains.in_order = chained[0].ok and messages.created_at(chained[0]) == attempt.mark
        if not created.ok:
            attempt.temporary, attempt.asked = "", False
            if attempt.parted and created.status in PATH_MISSING:
                raise _parted("the folder was removed")
            if attempt.parted and created.status in PASSING:
                link.chains.keep_apart()  # asked again under the next lock, which stays held meanwhile
                raise _parted("no file can be made beside the document")
            return created
        attempt.stored = not renamed.ok
        failed = _failure(stored, len(data))
        if failed is None:
            if attempt.parted and renamed.status in BUSY_TARGET:
                link.chains.keep_apart()
                attempt.asked = False  # and refused
                self._ensure_permitted(link, place, deadline, attempt, deadline.within(_DOUBT))
                self._discard_quietly(link, attempt, deadline)
                raise _parted("somebody has the document open")
            self._complete(link, place, data, renamed, settled, deadline, attempt)
            return created
        self._room.distrust()
        if not renamed.ok:
            self._discard_quietly(link, attempt, deadline)
            raise translated(failed.status, _WRITE)
        # The old document is gone, and what stands in its place may be short. Its room is free now: write it again.
        return self._again(link, place, data, deadline, attempt, failed)

    def _last_chain(self, link: Link, place: Place, attempt: Attempt) -> list[Message]:
        """What follows the change in a chain of its own: what releases the lock, if the server is known to wait.

        As long as that was not shown, this looks whether the document is there already, with its mark; the flush
        before it takes its time.
        """
        if not attempt.parting or not attempt.mark or not link.may_chain:
            return []
        if link.chains.in_order is None:
            return [replace(messages.open_to_ask(place.path), anew=True), messages.close()]
        return attempt.parting if link.chains.may_release else []

    def _again(
        self, link: Link, place: Place, data: bytes, deadline: Deadline, attempt: Attempt, failed: Reply
    ) -> Reply:
        cause: Exception = translated(failed.status, _WRITE)
        try:
            if attempt.parted:  # the document is the next holder's
                raise cause
            attempt.temporary, attempt.stored = _temporary(place), False
            created = self._step_by_step(link, place, data, deadline, attempt)
        except (StoreError, LinkLost) as error:
            cause = error
        else:
            if created.ok:
                return created
        raise WriteOutcomeUnknown(
            "the server has replaced the document, and it is not whole, as the data could not be stored",
            intended=version_of(data),
        ) from cause

    def _step_by_step(self, link: Link, place: Place, data: bytes, deadline: Deadline, attempt: Attempt) -> Reply:
        length = min(_CHUNK, link.limits.written)
        small = len(data) <= length
        writing = [*([messages.write(0, data)] if data else []), messages.flush()] if small else []
        compound = [messages.create_document(attempt.temporary), *writing]
        created, *replies = self._run_asking(link, compound, deadline, attempt, sealed=False)
        if not created.ok:
            attempt.temporary = ""
            return created
        attempt.stored = True
        file_id = messages.file_id_of(created)
        try:
            if not small:
                replies = self._write_all(link, file_id, data, length, deadline)
            failed = _failure(replies, len(data))
            if failed is not None:
                raise translated(failed.status, _WRITE)
        except StoreError:
            link.run([messages.close(file_id)], deadline.half())
            self._discard_quietly(link, attempt, deadline)
            raise
        compound = [messages.rename(link.within_share(place.path), file_id), messages.close(), *self._settled(place)]
        renamed, _, *settled = self._run_change(link, compound, deadline, attempt, change=0)
        self._complete(link, place, data, renamed, settled, deadline, attempt)
        return created

    def _write_all(self, link: Link, file_id: bytes, data: bytes, length: int, deadline: Deadline) -> list[Reply]:
        """Writes the data in pieces, several of them under way at a time, and flushes it."""
        under_way: deque[Any] = deque()
        replies: list[Reply] = []
        for offset in range(0, len(data), length):
            deadline.ensure_left(_WRITE)
            under_way += link.start([messages.write(offset, data[offset : offset + length], file_id)], deadline)
            if len(under_way) == _IN_FLIGHT:
                replies.append(link.wait(under_way.popleft(), deadline.half()))
        while under_way:
            deadline.ensure_left(_WRITE)
            replies.append(link.wait(under_way.popleft(), deadline.half()))
        return [*replies, *link.run([messages.flush(file_id)], deadline.half())]

    def _complete(
        self,
        link: Link,
        place: Place,
        data: bytes,
        renamed: Reply,
        settled: list[Reply],
        deadline: Deadline,
        attempt: Attempt,
    ) -> None:
        """Repeats a rename that was refused because somebody had the document open, and sees to the folder."""
        pause, patience = 0.001, deadline.half()  # the other half is for clearing up
        doubt = deadline.within(_DOUBT)
        while not renamed.ok:
            if renamed.status in BUSY_TARGET:
                attempt.asked = False  # and refused
            if renamed.status not in BUSY_TARGET or patience.over:
                raise self._not_renamed(link, data, renamed, deadline, attempt)
            self._ensure_permitted(link, place, deadline, attempt, doubt)
            time.sleep(min(patience.remaining(), random.uniform(0.5, 1.5) * pause))  # noqa: S311  # no secret
            pause = min(0.05, pause * 2)
            renaming = messages.rename(link.within_share(place.path))
            compound = [messages.open_for_rename(attempt.temporary), renaming, messages.close(), *self._settled(place)]
            _, renamed, _, *settled = self._run_change(link, compound, deadline, attempt, change=1)
        attempt.temporary = ""
        self._finish(link, place, data, settled, deadline)
        _ensure_guarded(attempt, data)

    def _ensure_permitted(
        self, link: Link, place: Place, deadline: Deadline, attempt: Attempt, doubt: Deadline
    ) -> None:
        """Tells a document that somebody has open from one that this user may not replace.

        The same status stands for both; opening the document with the right to delete it is refused for the latter.

        Args:
            link: The connection.
            place: Where the document is.
            deadline: Until when.
            attempt: Kept up to date.
            doubt: Until when a document that is marked read-only may be one that somebody has open. A Windows server
                never replaces what is marked; Samba does, unless somebody has it open.
        """
        backoff = Backoff(deadline)
        while True:
            asked, _ = link.run([messages.open_for_deletion(place.path), messages.close()], deadline.half())
            if asked.status != ACCESS_DENIED or not backoff.asks_again(asked.status):
                break
        refusal = (
            ACCESS_DENIED
            if asked.status == ACCESS_DENIED
            else FILE_IS_A_DIRECTORY
            if asked.ok and messages.is_directory(asked)
            else None
        )
        if refusal is not None:
            self._discard_quietly(link, attempt, deadline)
            raise translated(refusal, _WRITE)
        if asked.ok and messages.is_read_only(asked) and doubt.over:
            self._discard_quietly(link, attempt, deadline)
            raise marked_read_only(_WRITE)

    def _finish(self, link: Link, place: Place, data: bytes | None, settled: list[Reply], deadline: Deadline) -> None:
        if not self._flush:
            return
        _, flushed, room, _ = settled
        if room.ok:
            self._room.note(messages.room_of(room))
        if not flushed.ok:
            _, flushed, *_ = link.run(self._settled(place), deadline.half())
        if not flushed.ok:
            raise _not_durable(flushed, data)

    def _discard_quietly(self, link: Link, attempt: Attempt, deadline: Deadline) -> None:
        with suppress(LinkLost):  # the error that is on its way says more; the next connection clears up
            self.take_back(link, attempt, deadline)

    def _not_renamed(self, link: Link, data: bytes, renamed: Reply, deadline: Deadline, attempt: Attempt) -> StoreError:
        if self.take_back(link, attempt, deadline) is False:  # the rename was refused, and yet it is gone
            cause = translated(renamed.status, _WRITE)
            return WriteOutcomeUnknown(cause.message, intended=version_of(data))
        if renamed.status == NAME_COLLISION:  # Samba's answer when a folder has the name
            return translated(FILE_IS_A_DIRECTORY, _WRITE)
        if renamed.status in BUSY_TARGET:
            return _open_for_too_long()
        return not_created(renamed.status, _WRITE)


def _open_for_too_long() -> BackendUnavailable:
    return BackendUnavailable(
        "somebody has had the document open for too long",
        exhausted=True,
        hint="Find the program that keeps it open; readers of this package hold it for an instant only.",
    )


def _temporary(place: Place) -> str:
    """A name beside the document that no other writer uses: ``<name>.tmp.<pid>.<16 hex digits>``."""
    return place.beside(temporary_name(place.name))


def _parted(why: str) -> LockLost:
    return LockLost(f"the server has refused the write, and freed the lock all the same: {why}; nothing was written")


def _not_durable(failed: Reply, data: bytes | None) -> WriteOutcomeUnknown:
    cause = translated(failed.status, "flush the folder")
    return WriteOutcomeUnknown(
        f"the change is visible, and may not survive a power cut: {cause.message}",
        intended=None if data is None else version_of(data),
    )


def _ensure_guarded(attempt: Attempt, data: bytes | None) -> None:
    """Raises for a change that was made when the lock was perhaps free already."""
    if attempt.unguarded:
        raise WriteOutcomeUnknown(
            "the change was made, and at about the same time the server has closed the lock's file: somebody else may "
            "have had the lock already",
            intended=None if data is None else version_of(data),
        ) from lock_file_closed()


def _failure(replies: list[Reply], length: int) -> Reply | None:
    """The answer that says that the data is not there; replies to WRITEs, then one to a FLUSH."""
    for reply in replies:
        if not reply.ok:
            return reply
    *writes, flushed = replies
    if sum(messages.written_count(reply) for reply in writes) != length:
        return Reply(DISK_FULL, flushed.body)  # less than asked for was written: the disk is full
    return None
