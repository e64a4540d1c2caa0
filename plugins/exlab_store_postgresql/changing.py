"""Writes and deletions: one statement for a document that is there, one transaction for a new one."""

from __future__ import annotations

import os
import string
from typing import TYPE_CHECKING, Final

from exlab_store.backend import (
    ABSENT,
    ANY,
    BackendUnavailable,
    DocumentNotFound,
    InvalidKey,
    LockLost,
    Version,
    WriteOutcomeUnknown,
    ensure_expected,
    version_of,
)
from exlab_store_postgresql.outcome import find_out
from exlab_store_postgresql.session import SYNC, BoundStatement, later
from exlab_store_postgresql.sqlstates import SessionLost, session_lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.backend import Expectation
    from exlab_store_postgresql.database import DocumentDatabase
    from exlab_store_postgresql.locking import AdvisoryLock
    from exlab_store_postgresql.session import DatabaseSession, Row

__all__ = ["DocumentChanges"]

_HEX: Final = frozenset(string.hexdigits.lower())
_ROUNDS: Final = 100  # of looks at a document that others change between two statements


class DocumentChanges:
    """Writes and deletes documents of a table.

    Args:
        database: The table.
    """

    def __init__(self, database: DocumentDatabase) -> None:
        self._database = database
        self._table = database.table

    def write(
        self, key: str, data: bytes, expect: Expectation, lock: AdvisoryLock | None, *, release: bool = False
    ) -> Version:
        """Replaces a document, or makes it; see the hook ``atomic_write``.

        Args:
            key: The document's key in the store.
            data: The whole document.
            expect: As for the hook.
            lock: The lock whose session is to write.
            release: Give the lock back in the same exchange, after the commit.
        """
        place, version, mark = self._database.place(key), version_of(data), os.urandom(16)

        def change(session: DatabaseSession, deadline: float) -> None:
            wanted = _bytes_of(expect)
            for _ in range(_ROUNDS):
                if expect is not ABSENT:
                    step = BoundStatement(self._table.update, (place, data, mark))
                    if wanted is not None:
                        step = BoundStatement(self._table.swap, (place, data, mark, wanted))
                    if self._written(session, step, lock if release else None, deadline):
                        return
                if wanted is not None:
                    self._ensure_as_expected(session, place, expect, deadline)
                elif self._made(session, place, data, mark, expect, deadline):
                    return
            raise BackendUnavailable("others change the document again and again", hint="Try again.")

        self._run("write the document", place, version, mark, lock, change)
        return version

    def delete(self, key: str, expect: Expectation, lock: AdvisoryLock | None) -> None:
        """Deletes a document; see the hook ``delete``.

        Args:
            key: The document's key in the store.
            expect: As for the hook.
            lock: The lock whose session is to delete.
        """
        place = self._database.place(key)

        def change(session: DatabaseSession, deadline: float) -> None:
            wanted = _bytes_of(expect)
            for _ in range(_ROUNDS):
                step = BoundStatement(self._table.delete, (place,))
                if wanted is not None:
                    step = BoundStatement(self._table.delete_version, (place, wanted))
                if _noted(session, session.run(step, deadline=deadline)[0]):
                    return
                found = self._stored(session, place, deadline)
                if found is None:
                    raise DocumentNotFound("there is no such document")
                ensure_expected(expect, found)
            raise BackendUnavailable("others change the document again and again", hint="Try again.")

        self._run("delete the document", place, None, os.urandom(16), lock, change)

    def _written(
        self, session: DatabaseSession, step: BoundStatement, leaving: AdvisoryLock | None, deadline: float
    ) -> bool:
        """Whether a document that is there was replaced."""
        if leaving is None:
            return _noted(session, session.run(step, deadline=deadline)[0])
        # The lock is given back when the commit is through: the two transactions follow each other on the server.
        written, unlocked = session.run(
            step, SYNC, BoundStatement(self._table.unlock_written, (leaving.number, step.values[0], step.values[2])),
            deadline=deadline,
        )  # fmt: skip
        if unlocked:
            leaving.note_released()
        return _noted(session, written)

    def _made(
        self, session: DatabaseSession, place: str, data: bytes, mark: bytes, expect: Expectation, deadline: float
    ) -> bool:
        """Whether a document was made; a name is a document's or a folder's, so that a store can move to files."""
        above = _folders_above(place)
        made = session.run(
            BoundStatement(self._table.claim, (place, f"{self._table.full_name}:", above)),
            BoundStatement(self._table.insert if expect is ABSENT else self._table.upsert, (place, data, mark, above)),
            deadline=deadline,
        )[1]
        if _noted(session, made):
            return True
        if self._stored(session, place, deadline) is not None:
            if expect is ABSENT:
                ensure_expected(expect, self._stored(session, place, deadline))
            return False
        if session.run(BoundStatement(self._table.is_folder, (place,)), deadline=deadline)[0][0][0]:
            raise InvalidKey("the key names a folder, not a document", hint="Choose another key for the document.")
        for folder in filter(None, above.split("\n")):
            if self._stored(session, folder, deadline) is not None:
                raise InvalidKey("a part of the key is a document", hint="Choose another key for the document.")
        return False

    def _ensure_as_expected(self, session: DatabaseSession, place: str, expect: Expectation, deadline: float) -> None:
        ensure_expected(expect, self._stored(session, place, deadline))

    def _stored(self, session: DatabaseSession, place: str, deadline: float) -> Version | None:
        rows = session.run(BoundStatement(self._table.stat, (place,)), deadline=deadline)[0]
        return Version(rows[0][2]) if rows else None

    def _run(
        self,
        action: str,
        place: str,
        intended: Version | None,
        mark: bytes,
        lock: AdvisoryLock | None,
        change: Callable[[DatabaseSession, float], None],
    ) -> None:
        """Makes a change on the lock's session, or on any; and finds out what has become of it if that ends."""
        database = self._database
        until = later(database.options.timeout)
        deadline = later(database.options.statement_timeout)

        def changed(session: DatabaseSession) -> tuple[DatabaseSession, SessionLost] | None:
            try:
                database.ensure_primary(action, session)
                change(session, deadline)
            except SessionLost as lost:
                return session, lost
            return None

        def attempt() -> tuple[DatabaseSession, SessionLost] | None:
            if lock is not None:
                return lock.use(deadline, changed)
            session = database.pool.borrow(deadline)
            try:
                return changed(session)
            finally:
                database.pool.give_back(session)

        failed = database.with_table(action, attempt, deadline)
        if failed is None:
            return
        session, failure = failed
        outcome = find_out(database, session, place, mark, until) if failure.sent else "did not happen"
        if outcome == "happened":
            return
        if outcome == "unknown":
            raise WriteOutcomeUnknown(
                f"the connection was lost before the server's answer: {failure.reason}", intended=intended
            ) from failure
        if lock is not None:
            raise LockLost(f"the connection that held the lock was lost: {failure.reason}") from failure
        raise session_lost(failure) from failure


def _noted(session: DatabaseSession, written: list[Row]) -> bool:
    """Whether a row was written; the number of the transaction is smaller than those of all later ones."""
    if not written:
        return False
    session.next_xact = max(session.next_xact, written[0][0] + 1)
    return True


def _bytes_of(expect: Expectation) -> bytes | None:
    """The version in the table's form; None where none is expected."""
    if expect is ANY or expect is ABSENT:
        return None
    text = str(expect)
    # One of another storage system is no version of a document here.
    return bytes.fromhex(text) if len(text) == 64 and set(text) <= _HEX else b""


def _folders_above(place: str) -> str:
    """``a/b/c`` as ``a`` and ``a/b``, on lines of their own; a key has no control characters."""
    names = place.split("/")[:-1]
    return "\n".join("/".join(names[: count + 1]) for count in range(len(names)))
