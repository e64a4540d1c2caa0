"""Whether a change whose answer was lost has happened.

First the server process that was asked must be gone, so that the change does not happen later: it is ended, and waited
for. Then the row tells. Its mark is another for each write, and its transaction number says whether anybody has written
since the change was asked for: numbers only grow, so a row with an older one was not written, neither by this client
nor by another.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from exlab_store.backend import StoreError, suppress_unless_signalled
from exlab_store_postgresql.session import BoundStatement, Statement
from exlab_store_postgresql.sqlstates import ServerRefusal, SessionLost

if TYPE_CHECKING:
    from exlab_store_postgresql.database import DocumentDatabase
    from exlab_store_postgresql.session import DatabaseSession

__all__ = ["end_session", "find_out"]

_PAUSE: Final = 0.05
# A process number is used again; with the time at which the process began it is one session and no other. A role that
# `alter role ... set role` has made another does not see that time: it cannot tell, and ends nothing, which might be
# another's session by now.
_END: Final = Statement.of(
    "select case when backend_start is not null then pg_terminate_backend(pid, $3::int8) end from pg_stat_activity "
    "where pid = $1::int8::int4 "
    "and (backend_start is null or (extract(epoch from backend_start) * 1000000)::int8 = $2::int8)"
)


def find_out(
    database: DocumentDatabase, lost: DatabaseSession, place: str, mark: bytes, deadline: float
) -> Literal["happened", "did not happen", "unknown"]:
    """Finds out whether a change of a document has happened.

    Args:
        database: Where.
        lost: The connection on which it was asked for, and which has ended.
        place: The document's key in the table.
        mark: Of the write; for a deletion, one that nobody else has.
        deadline: By the monotonic clock.

    Returns:
        "unknown" also where the document is missing: another client may have deleted it.
    """
    while time.monotonic() < deadline:
        try:
            return _asked(database, lost, place, mark, deadline)
        except (StoreError, SessionLost):
            # The server may be starting again.
            time.sleep(max(0.0, min(_PAUSE, deadline - time.monotonic())))
        except ServerRefusal:
            return "unknown"
    return "unknown"


def end_session(database: DocumentDatabase, lost: DatabaseSession, deadline: float) -> None:
    """Ends a session on the server, with its locks, where this client has lost the connection to it, if that can be.

    A server does not know at once that a network is dead; until it does, the lock would be held by nobody.

    Args:
        database: Where.
        lost: The connection that has ended here.
        deadline: By the monotonic clock.
    """
    with suppress_unless_signalled(StoreError, SessionLost, ServerRefusal):
        session = database.pool.borrow(deadline)
        try:
            _ended(session, lost, deadline)
        finally:
            database.pool.give_back(session)


def _ended(session: DatabaseSession, lost: DatabaseSession, deadline: float) -> bool:
    """Whether the server process of a lost connection is gone."""
    # A server that was started since has none of its earlier processes.
    if session.facts.started != lost.facts.started:
        return True
    allowed = max(1, int(900 * (deadline - time.monotonic())))
    ended = session.run(BoundStatement(_END, (lost.facts.pid, lost.facts.began, allowed)), deadline=deadline)[0]
    return not ended or bool(ended[0][0])


def _asked(
    database: DocumentDatabase, lost: DatabaseSession, place: str, mark: bytes, deadline: float
) -> Literal["happened", "did not happen", "unknown"]:
    session = database.pool.borrow(deadline)
    try:
        if not _ended(session, lost, deadline):
            return "unknown"
        rows = session.run(BoundStatement(database.table.outcome, (place, mark)), deadline=deadline)[0]
    finally:
        database.pool.give_back(session)
    if not rows:
        return "unknown"
    marked, xact = rows[0]
    if marked:
        return "happened"
    return "did not happen" if xact < lost.next_xact else "unknown"
