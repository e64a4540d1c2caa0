"""The deletion of a document in one compound: rename to a temporary name, delete on close, flush of the folder."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from exlab_store import DocumentNotFound, WriteOutcomeUnknown
from exlab_store_smb.steps.backoff import Backoff
from exlab_store_smb.steps.fenced_compound import ensure_guarded, open_for_too_long, run_change, temporary_beside
from exlab_store_smb.steps.reading import LOOKS
from exlab_store_smb.steps.refusals import marked_read_only
from exlab_store_smb.wire import messages
from exlab_store_smb.wire.statuses import (
    CANNOT_DELETE,
    DELETE_PENDING,
    MISSING,
    NAME_MISSING,
    SHARING_VIOLATION,
    translated,
)

if TYPE_CHECKING:
    from exlab_store_smb.session.claims import Claims
    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.steps.folders import ShareFolders
    from exlab_store_smb.steps.outcome import Attempt
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["Deleter"]


class Deleter:
    """Deletes documents of one store.

    Args:
        share: The store's folder.
        folders: Of the store.
        claims: Of the store.
    """

    def __init__(self, share: Share, folders: ShareFolders, claims: Claims) -> None:
        self._share = share
        self._folders = folders
        self._claims = claims

    def delete(self, link: Link, document: DocumentPath, deadline: Deadline, attempt: Attempt) -> None:
        """Deletes a document and flushes its folder.

        Args:
            link: The connection.
            document: Where the document is.
            deadline: Until when.
            attempt: Kept up to date.

        Raises:
            DocumentNotFound: There is none.
            AccessDenied: This user may not delete it, or it is marked read-only.
            WriteOutcomeUnknown: It is deleted, and the folder could not be flushed.
            BackendUnavailable: Somebody has it open; nothing is deleted.
            LinkLost: The connection has ended.
        """
        self._claims.ensure(link, document.directory, deadline)
        backoff = Backoff(deadline)
        flushing = self._folders.flushing(document)
        while True:
            # Its name is free at once, whoever has it open in whatever way, and also if the server is killed next.
            attempt.moved = temporary_beside(document)
            moving = messages.rename(link.within_share(attempt.moved))
            compound = [messages.open_to_delete(document.path), moving, messages.close(), *flushing]
            opened, moved, closed, *settled = run_change(link, compound, deadline, attempt, change=0)
            if opened.ok:
                break
            attempt.asked, attempt.moved = False, ""  # and refused
            if backoff.asks_again(opened.status):
                continue
            if opened.status == SHARING_VIOLATION:
                raise open_for_too_long()
            if opened.status == NAME_MISSING and _is_there(link, document, deadline):
                continue
            if opened.status in MISSING:
                self._share.ensure_only_missing(link, opened, deadline)
                raise DocumentNotFound("there is no such document")
            if opened.status == CANNOT_DELETE:
                raise marked_read_only("delete the document")
            raise translated(opened.status, "delete the document")
        if not closed.ok:
            raise WriteOutcomeUnknown(translated(closed.status, "delete the document").message, intended=None)
        attempt.moved = ""
        if not moved.ok and _lingers(link, document, deadline):
            raise WriteOutcomeUnknown(
                "the document goes when another program that has it open closes it", intended=None
            )
        self._folders.ensure_flushed(link, document, settled, None, deadline)
        ensure_guarded(attempt, None)


def _lingers(link: Link, document: DocumentPath, deadline: Deadline) -> bool:
    """Whether a deleted document is not gone until the deadline."""
    patience = deadline.half()
    while True:
        asked, _ = link.run([messages.open_to_ask(document.path), messages.close()], deadline.half())
        if asked.status != DELETE_PENDING or patience.over:
            return asked.status == DELETE_PENDING
        time.sleep(min(patience.remaining(), random.uniform(0.002, 0.02)))  # noqa: S311  # no secret


def _is_there(link: Link, document: DocumentPath, deadline: Deadline) -> bool:
    """Whether a document that was not found is there after all: being replaced, it is overlooked now and then."""
    if deadline.over:
        return False
    looks = link.run_all(
        [[messages.open_to_ask(document.path), messages.close()] for _ in range(LOOKS)], deadline.half()
    )
    return any(opened.ok for opened, _ in looks)
