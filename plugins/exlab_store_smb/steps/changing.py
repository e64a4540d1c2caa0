"""A change of a document, from its first attempt to its end, lost answers included."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from exlab_store import (
    ANY,
    BackendUnavailable,
    Expectation,
    HeldLock,
    LockLost,
    StoreError,
    WriteOutcomeUnknown,
    version_of,
)
from exlab_store.backend import ensure_expected
from exlab_store_smb.session.link import LinkLost
from exlab_store_smb.session.share import unavailable
from exlab_store_smb.steps.fenced_compound import take_back
from exlab_store_smb.steps.held_lock import SmbLock, in_use_for_too_long
from exlab_store_smb.steps.outcome import Attempt, bears_mark, fresh_mark, untouched_since
from exlab_store_smb.wire.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_smb.session.document_path import DocumentPath
    from exlab_store_smb.session.link import Link
    from exlab_store_smb.session.share import Share
    from exlab_store_smb.steps.folders import ShareFolders
    from exlab_store_smb.steps.reading import Reader

__all__ = ["Changes", "ours"]


class Changes:
    """Changes documents of one store.

    Args:
        share: The store's folder.
        reader: Of the store.
        folders: Of the store.
    """

    def __init__(self, share: Share, reader: Reader, folders: ShareFolders) -> None:
        self._share = share
        self._reader = reader
        self._folders = folders

    def make(
        self,
        key: str,
        data: bytes | None,
        expect: Expectation,
        held: SmbLock | None,
        call: Callable[[Link, DocumentPath, Deadline, Attempt], None],
    ) -> None:
        """Changes a document; what became of a change whose answer was lost is found out before anything is said.

        Args:
            key: The document's key.
            data: What it is to be; None for a deletion.
            expect: As for the hook.
            held: The lock under which it happens. The change goes over the lock's own connection: when that has
                ended, so has the lock, and the server cannot be reached this way any more. That is the fence.
            call: Asks the server for it.

        Raises:
            StoreError: The document was not changed; or `WriteOutcomeUnknown`.
        """
        share = self._share
        deadline = Deadline(share.timeout)
        # A release by another thread waits for the end of the change. No context manager of Python code: a signal
        # handler may raise where its __exit__ begins.
        changing = threading.Lock() if held is None else held.changing
        (alone,) = map(changing.acquire, (True,), (deadline.remaining(),))  # in one step
        if not alone:
            raise in_use_for_too_long()
        try:
            while True:
                attempt = Attempt(mark=0 if held is None else fresh_mark(), held=held)
                if held is not None:
                    held.ensure_held()
                with share.last_chance(deadline):
                    link = share.current(deadline) if held is None else held.link
                document = share.document_path(link, key)
                try:
                    if expect is not ANY:
                        self._check(link, document, expect, deadline)
                    call(link, document, deadline, attempt)
                except LinkLost as lost:
                    if self._happened(document, data, attempt, deadline, lost):
                        return
                    if held is not None:
                        raise LockLost("the connection that held the lock has ended; nothing was written") from lost
                    if deadline.over:
                        raise unavailable(lost, exhausted=True) from lost
                    time.sleep(min(deadline.remaining(), random.uniform(0.001, 0.05)))  # noqa: S311  # no secret
                except StoreError:
                    raise
                except BaseException:
                    # An interruption. What the server was asked for must not happen behind the back of whoever gets
                    # the lock next, or writes next.
                    if attempt.asked or attempt.temporary:
                        link.end()
                    raise
                else:
                    return
                finally:
                    share.abandon(attempt.temporary, attempt.moved)
        finally:
            changing.release()

    def _happened(
        self,
        document: DocumentPath,
        data: bytes | None,
        attempt: Attempt,
        deadline: Deadline,
        lost: LinkLost,
    ) -> bool:
        """Finds out whether a change was carried out whose answer was lost.

        Raises:
            WriteOutcomeUnknown: Nobody can tell.
        """
        if not attempt.asked:
            return False
        cause: Exception = lost
        while not deadline.over:
            try:
                happened = self._evidence(document, data, attempt, deadline)
            except (LinkLost, BackendUnavailable) as error:
                cause = error
                time.sleep(min(deadline.remaining(), random.uniform(0.005, 0.1)))  # noqa: S311  # no secret
            except StoreError as error:
                cause = error
                break
            else:
                if happened is None:
                    break
                return happened
        raise WriteOutcomeUnknown(
            f"the connection was lost before the server's answer: {lost}",
            intended=None if data is None else version_of(data),
        ) from cause

    def _evidence(
        self,
        document: DocumentPath,
        data: bytes | None,
        attempt: Attempt,
        deadline: Deadline,
    ) -> bool | None:
        """What the files say about a change that may have been asked for; None if they do not tell."""
        link = self._share.current(deadline)
        if attempt.temporary:
            stored = attempt.stored
            there = take_back(link, attempt, deadline)
            if there:
                return False
            attempt.stored = stored and there is False
        if attempt.stored:  # nothing but the rename can have taken the temporary file away
            return self._folders.confirm(link, document, deadline) or None
        if untouched_since(link, document, attempt.begun, deadline):
            return False
        # Under a lock it is not enough that the document is as intended. The next holder may have made it so, as with
        # two who count to the same number, and then only one of them has counted. Without one, both happened at once.
        as_intended = (
            bears_mark(link, document, attempt.mark, deadline)
            if attempt.mark
            else self._reader.bytes_of(link, document, deadline) == data
        )
        return (as_intended and self._folders.confirm(link, document, deadline)) or None

    def _check(self, link: Link, document: DocumentPath, expect: Expectation, deadline: Deadline) -> None:
        data = self._reader.bytes_of(link, document, deadline)
        ensure_expected(expect, None if data is None else version_of(data))


def ours(lock: HeldLock | None) -> SmbLock | None:
    """The lock that a hook was given, as one of this package.

    Args:
        lock: The lock, or None.

    Raises:
        LockLost: It is not one of this package.
    """
    if lock is None or isinstance(lock, SmbLock):
        return lock
    raise LockLost("the lock that was given is not one of this store")
