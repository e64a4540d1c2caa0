"""Told of changes by the server (NOTIFY), on a connection of its own; what ends it is noticed and said."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import pq

from exlab_store.backend import BackendUnavailable, NotSupported, ProcessBound, came_from_signal_handler, is_key
from exlab_store_postgresql.connecting import connect
from exlab_store_postgresql.session import BoundStatement, Statement, later
from exlab_store_postgresql.sqlstates import ServerRefusal, SessionLost, session_lost, translated
from exlab_store_postgresql.waiting import READABLE, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store_postgresql.database import DocumentDatabase
    from exlab_store_postgresql.session import DatabaseSession

__all__ = ["ListeningSource", "begin_to_listen"]

_QUIET: Final = 10.0  # seconds of silence after which the server is asked whether it is still there
_ALIVE: Final = Statement.of("select true")


def begin_to_listen(database: DocumentDatabase, prefix: str, ignores: Callable[[str], bool]) -> ListeningSource:
    """Has the server tell of changes from now on.

    Args:
        database: The table.
        prefix: The folder's key in the store, or empty text.
        ignores: Tells which names are ignored.

    Raises:
        NotSupported: The server tells of nothing: it is a replica.
        StoreError: The server cannot be reached.
    """
    if database.replica:
        raise NotSupported("a read replica (hot standby) does not tell of changes")
    session = connect(database.options, later(database.options.connect_timeout))
    try:
        session.run(
            BoundStatement(Statement.of(f'listen "{database.table.channel}"', kept=False)),
            deadline=later(database.options.statement_timeout),
        )
    except SessionLost as lost:
        raise session_lost(lost) from lost
    except ServerRefusal as refusal:
        session.close()
        raise translated(refusal, "watch the table") from refusal
    except BaseException:
        session.close()
        raise
    return ListeningSource(database, session, prefix, ignores)


class ListeningSource(ProcessBound):
    """What the server tells of a table. `begin_to_listen` makes one.

    Args:
        database: The table.
        session: Listens.
        prefix: The folder's key in the store, or empty text.
        ignores: Tells which names are ignored.
    """

    complete = True

    def __init__(
        self, database: DocumentDatabase, session: DatabaseSession, prefix: str, ignores: Callable[[str], bool]
    ) -> None:
        self._session = session
        self._timeout = database.options.statement_timeout
        self._start = len(database.folder)
        self._below = database.place(f"{prefix}/" if prefix else "")
        self._ignores = ignores
        self._asked = time.monotonic()

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        """Waits for what the server tells."""
        deadline = later(timeout)
        while True:
            keys = self._heard()
            if keys or time.monotonic() >= deadline or cancelled():
                return keys
            can, stop = wait_until_ready(self._session.pgconn.socket, READABLE, min(deadline, later(1.0)), cancelled)
            if stop:
                return []
            if not can and time.monotonic() - self._asked > _QUIET:
                self._ensure_there()

    def close(self) -> None:
        """Ends the connection."""
        self._session.close()

    def _heard(self) -> list[str]:
        pgconn = self._session.pgconn
        found: dict[str, None] = {}
        try:
            pgconn.consume_input()
            while (notice := pgconn.notifies()) is not None:
                key = self._told(notice.extra.decode(errors="replace"))
                if key is not None:
                    found[key] = None
                self._asked = time.monotonic()
        except psycopg.Error as error:
            if came_from_signal_handler(error):
                raise
            raise self._lost(str(error)) from error
        if pgconn.status != pq.ConnStatus.OK:
            raise self._lost("it has ended")
        return list(found)

    def _told(self, place: str) -> str | None:
        if not place:
            return ""  # the table was emptied
        rest = place[len(self._below) :]
        if not place.startswith(self._below) or not is_key(place) or any(map(self._ignores, rest.split("/"))):
            return None
        return place[self._start :]

    def _ensure_there(self) -> None:
        try:
            self._session.run(BoundStatement(_ALIVE), deadline=later(self._timeout))
        except SessionLost as lost:
            raise session_lost(lost) from lost
        except ServerRefusal as refusal:
            raise translated(refusal, "watch the table") from refusal
        self._asked = time.monotonic()

    def _lost(self, reason: str) -> BackendUnavailable:
        self._session.close()
        return session_lost(SessionLost(" ".join(reason.split()), sent=True))
