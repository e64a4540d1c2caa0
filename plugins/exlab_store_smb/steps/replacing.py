"""The replacement of a document as a whole: temporary file, data, flush, rename, and the flush of the folder.

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

from exlab_store import LockLost, StoreError, WriteOutcomeUnknown, version_of
from exlab_store_smb.session.failed_creates import goes_on
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.steps.backoff import PASSING, Backoff
from exlab_store_smb.steps.fenced_compound import (
    discard_quietly,
    ensure_guarded,
    open_for_too_long,
    run_change,
    take_back,
    temporary_beside,
)
from exlab_store_smb.steps.folders import not_durable
from exlab_store_smb.steps.foreign_deletions import answered, goes_too, outlast, question
from exlab_store_smb.steps.proving import prove
from exlab_store_smb.steps.refusals import marked_read_only
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.shapes import Reply
from exlab_store_smb.wire.statuses import (
    ACCESS_DENIED,
    BUSY_TARGET,
    DISK_FULL,
    FILE_IS_A_DIRECTORY,
    NAME_COLLISION,
    PATH_MISSING,
    REFUSED_REQUEST,
    not_created,
    translated,
)

if TYPE_CHECKING:
    from exlab_store_smb.session.claims import Claims
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.steps.folders import ShareFolders
    from exlab_store_smb.steps.outcome import Attempt
    from exlab_store_smb.steps.room import Room
    from exlab_store_smb.wire.deadline import Deadline
    from exlab_store_smb.wire.shapes import SmbRequest

__all__ = ["Replacer"]

_AT_ONCE = 1 << 20
_CHUNK = 1 << 20
_IN_FLIGHT = 8
_WRITE = "write the document"
_DOUBT = 0.5  # seconds; readers of this package have a document open for milliseconds


class Replacer:
    """Replaces documents of one store.

    Args:
        folders: Of the store.
        room: What is known about the room on the share.
        claims: Of the store.
    """

    def __init__(self, folders: ShareFolders, room: Room, claims: Claims) -> None:
        self._claims = claims
        self._folders = folders
        self._room = room

    def replace(self, data: bytes, link: Link, document: DocumentPath, deadline: Deadline, attempt: Attempt) -> None:
        """Replaces a document, or makes it with the folders that are missing.

        Args:
            data: The whole document.
            link: The connection.
            document: Where the document is.
            deadline: Until when.
            attempt: Kept up to date.

        Raises:
            StoreError: It was not written; or `WriteOutcomeUnknown`.
            LinkLost: The connection has ended; the change may have happened.
        """
        self._claims.ensure(link, document.directory, deadline)
        settling = self._folders.start_settling(link, document.folder, deadline)
        backoff, made_folder = Backoff(deadline), False
        try:
            while True:
                attempt.temporary, attempt.stored, attempt.asked = temporary_beside(document), False, False
                attempt.replaced, attempt.going = document.path if goes_on(link) else "", False
                if self._fits_at_once(link, data):
                    created = self._at_once(link, document, data, deadline, attempt)
                else:
                    created = self._step_by_step(link, document, data, deadline, attempt)
                if created.ok:
                    if not attempt.going or not self._is_taken_away(link, document, data, created, deadline, attempt):
                        break
                elif created.status in PATH_MISSING and not made_folder:
                    self._folders.make(link, document.folder, deadline)
                    made_folder = True
                elif not backoff.asks_again(created.status):
                    raise not_created(created.status, _WRITE)
        except StoreError:
            with suppress(LinkLost):  # the error that is on its way says more
                self._folders.settle(link, document.folder, settling, deadline)
            raise
        failed = self._folders.settle(link, document.folder, settling, deadline)
        if failed is not None:
            raise not_durable(failed, version_of(data))
        if link.is_in_dfs and not link.keeps_names:
            link.keeps_names = prove(link, document, data, attempt, deadline)

    def _fits_at_once(self, link: Link, data: bytes) -> bool:
        # Of a compound that is only signed, a server refuses the WRITE in which a bit was changed, and carries the
        # rename out: the document is empty (measured). So the rename waits for the data where nothing is encrypted.
        at_once = link.seals and len(data) <= min(_AT_ONCE, link.limits.written)
        return at_once and self._room.suffices_for(len(data))

    def _is_taken_away(
        self, link: Link, document: DocumentPath, data: bytes, created: Reply, deadline: Deadline, attempt: Attempt
    ) -> bool:
        """Whether the deletion of the document before it has taken a new document away."""
        if attempt.parted:  # without the lock it cannot be written again
            raise goes_too(data)
        return outlast(link, document, data, attempt.mark or messages.created_at(created), deadline)

    def _at_once(self, link: Link, document: DocumentPath, data: bytes, deadline: Deadline, attempt: Attempt) -> Reply:
        writing = [messages.write(0, data)] if data else []
        marking = [messages.mark(attempt.mark)] if attempt.mark else []
        compound = [
            messages.create_document(attempt.temporary, marked=bool(marking)),
            *writing,
            messages.flush(),
            *marking,
            messages.rename(link.within_share(document.path)),
            messages.close(),
        ]
        settling = self._folders.flushing(document)
        last = self._last_chain(link, document, attempt)
        rename = len(compound) - 2
        replies = run_change(link, [*compound, *settling], deadline, attempt, change=rename, last=last, sealed=True)
        created, renamed = replies[0], replies[rename]
        stored, settled = replies[1 : 2 + len(writing)], replies[len(compound) : len(compound) + len(settling)]
        if last:
            chained = replies[-len(last) :]
            if last is attempt.parting:
                attempt.parted = chained[-1].ok
            elif created.status in REFUSED_REQUEST:
                link.chains.refused = True
                attempt.asked = False
                return self._at_once(link, document, data, deadline, attempt)
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
                self._ensure_permitted(link, document, deadline, attempt, deadline.within(_DOUBT))
                discard_quietly(link, attempt, deadline)
                raise _parted("somebody has the document open")
            self._complete(link, document, data, renamed, settled, deadline, attempt)
            return created
        self._room.distrust()
        if not renamed.ok:
            discard_quietly(link, attempt, deadline)
            raise translated(failed.status, _WRITE)
        # The old document is gone, and what stands in its place may be short. Its room is free now: write it again.
        return self._again(link, document, data, deadline, attempt, failed)

    def _last_chain(self, link: Link, document: DocumentPath, attempt: Attempt) -> list[SmbRequest]:
        """What follows the change in a chain of its own: what releases the lock, if the server is known to wait.

        As long as that was not shown, this looks whether the document is there already, with its mark; the flush
        before it takes its time.
        """
        if not attempt.parting or not attempt.mark or not link.may_chain:
            return []
        if link.chains.in_order is None:
            return [replace(messages.open_to_ask(document.path), anew=True), messages.close()]
        return attempt.parting if link.chains.may_release else []

    def _again(
        self, link: Link, document: DocumentPath, data: bytes, deadline: Deadline, attempt: Attempt, failed: Reply
    ) -> Reply:
        cause: Exception = translated(failed.status, _WRITE)
        try:
            if attempt.parted:  # the document is the next holder's
                raise cause
            attempt.temporary, attempt.stored = temporary_beside(document), False
            created = self._step_by_step(link, document, data, deadline, attempt)
        except (StoreError, LinkLost) as error:
            cause = error
        else:
            if created.ok:
                return created
        raise WriteOutcomeUnknown(
            "the server has replaced the document, and it is not whole, as the data could not be stored",
            intended=version_of(data),
        ) from cause

    def _step_by_step(
        self, link: Link, document: DocumentPath, data: bytes, deadline: Deadline, attempt: Attempt
    ) -> Reply:
        length = min(_CHUNK, link.limits.written)
        small = len(data) <= length
        writing = [*([messages.write(0, data)] if data else []), messages.flush()] if small else []
        compound = [messages.create_document(attempt.temporary), *writing]
        asking = question(link, attempt, compound, deadline.half())
        created, *replies = answered(attempt, asking, link.run([*asking, *compound], deadline.half()))
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
            discard_quietly(link, attempt, deadline)
            raise
        compound = [
            messages.rename(link.within_share(document.path), file_id),
            messages.close(),
            *self._folders.flushing(document),
        ]
        renamed, _, *settled = run_change(link, compound, deadline, attempt, change=0)
        self._complete(link, document, data, renamed, settled, deadline, attempt)
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
        document: DocumentPath,
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
            self._ensure_permitted(link, document, deadline, attempt, doubt)
            time.sleep(min(patience.remaining(), random.uniform(0.5, 1.5) * pause))  # noqa: S311  # no secret
            pause = min(0.05, pause * 2)
            renaming = messages.rename(link.within_share(document.path))
            compound = [
                messages.open_for_rename(attempt.temporary),
                renaming,
                messages.close(),
                *self._folders.flushing(document),
            ]
            _, renamed, _, *settled = run_change(link, compound, deadline, attempt, change=1)
        attempt.temporary = ""
        self._folders.ensure_flushed(link, document, settled, version_of(data), deadline)
        ensure_guarded(attempt, version_of(data))

    def _ensure_permitted(
        self, link: Link, document: DocumentPath, deadline: Deadline, attempt: Attempt, doubt: Deadline
    ) -> None:
        """Tells a document that somebody has open from one that this user may not replace.

        The same status stands for both; opening the document with the right to delete it is refused for the latter.

        Args:
            link: The connection.
            document: Where the document is.
            deadline: Until when.
            attempt: Kept up to date.
            doubt: Until when a document that is marked read-only may be one that somebody has open. A Windows server
                never replaces what is marked; Samba does, unless somebody has it open.
        """
        backoff = Backoff(deadline)
        while True:
            asked, _ = link.run([messages.open_for_deletion(document.path), messages.close()], deadline.half())
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
            discard_quietly(link, attempt, deadline)
            raise translated(refusal, _WRITE)
        if asked.ok and messages.is_read_only(asked) and doubt.over:
            discard_quietly(link, attempt, deadline)
            raise marked_read_only(_WRITE)

    def _not_renamed(self, link: Link, data: bytes, renamed: Reply, deadline: Deadline, attempt: Attempt) -> StoreError:
        if take_back(link, attempt, deadline) is False:  # the rename was refused, and yet it is gone
            cause = translated(renamed.status, _WRITE)
            return WriteOutcomeUnknown(cause.message, intended=version_of(data))
        if renamed.status == NAME_COLLISION:  # Samba's answer when a folder has the name
            return translated(FILE_IS_A_DIRECTORY, _WRITE)
        if renamed.status in BUSY_TARGET:
            return open_for_too_long()
        return not_created(renamed.status, _WRITE)


def _parted(why: str) -> LockLost:
    return LockLost(f"the server has refused the write, and freed the lock all the same: {why}; nothing was written")


def _failure(replies: list[Reply], length: int) -> Reply | None:
    """The answer that says that the data is not there; replies to WRITEs, then one to a FLUSH."""
    for reply in replies:
        if not reply.ok:
            return reply
    *writes, flushed = replies
    if sum(messages.written_count(reply) for reply in writes) != length:
        return Reply(DISK_FULL, flushed.body)  # less than asked for was written: the disk is full
    return None
