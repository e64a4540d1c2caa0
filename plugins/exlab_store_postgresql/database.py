"""A folder of one table on one server: the connections to it, and the table made when it is missing and wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from exlab_store.backend import BackendUnavailable, LocationError, Snapshot, StoreError
from exlab_store_postgresql.pool import shared_pool
from exlab_store_postgresql.server import guarantees_of, read_only, unclaimed_of
from exlab_store_postgresql.session import BoundStatement, later
from exlab_store_postgresql.sqlstates import UNDEFINED_TABLE, ServerRefusal, SessionLost, session_lost, translated
from exlab_store_postgresql.table import FoundTable, document_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from exlab_store.backend import Guarantees
    from exlab_store_postgresql.options import PostgresqlOptions
    from exlab_store_postgresql.session import DatabaseSession, Row

__all__ = ["DocumentDatabase"]

T = TypeVar("T")


class DocumentDatabase:
    """A folder of documents in a table.

    Args:
        options: The server, the account and the table.
        folder: What is put before each key: empty, or ends with ``/``.
        create: The table may be missing; the first write makes it.
    """

    def __init__(self, options: PostgresqlOptions, folder: str, *, create: bool) -> None:
        self.options = options
        self.table = document_table(options.schema, options.table)
        self.folder = folder
        self.create = create
        self.pool = shared_pool(options)
        self.replica = False
        self.unclaimed: dict[str, str] = {}
        """Why a guarantee is not claimed, by its name."""

    def place(self, key: str) -> str:
        """The key in the table.

        Args:
            key: The key in the store.
        """
        return self.folder + key

    def open(self) -> Guarantees:
        """Connects, looks for the table, and says what the two give.

        Raises:
            LocationError: There is no such table, or it is another program's.
            StoreError: The server cannot be reached, or refuses.
        """
        deadline = later(self.options.connect_timeout)

        def look(session: DatabaseSession) -> Guarantees:
            self.replica = session.facts.replica
            found = self._found(session, deadline)
            if found is None and not self.create:
                raise LocationError(
                    f"there is no table {self.table.full_name} in the database",
                    hint="Have it made: exlab-store init LOCATION, or open the store with create=True.",
                )
            permanent, tells = found or FoundTable(permanent=True, tells=True)
            self.unclaimed = unclaimed_of(session.facts, permanent=permanent, tells=tells)
            return guarantees_of(session.facts, self.unclaimed)

        return self.asked("open the table", look, deadline)

    def _found(self, session: DatabaseSession, deadline: float) -> FoundTable | None:
        known = self.pool.tables.get(self.table.full_name)
        if isinstance(known, FoundTable):
            return known
        found = self.table.found(session, deadline)
        if found is not None:
            self.pool.tables[self.table.full_name] = found
        return found

    def asked(self, action: str, ask: Callable[[DatabaseSession], T], deadline: float) -> T:
        """What is found out on a connection, by statements that change nothing.

        Args:
            action: What it is for, a verb with its object.
            ask: Asks.
            deadline: By the monotonic clock.

        Raises:
            BackendUnavailable: The connection has ended; a repetition may succeed.
            StoreError: The server cannot be reached, or refuses.
        """
        session = self.pool.borrow(deadline)
        try:
            return ask(session)
        except SessionLost as lost:
            raise session_lost(lost) from lost
        except ServerRefusal as refusal:
            raise self.refused(refusal, action) from refusal
        finally:
            self.pool.give_back(session)

    def rows(self, action: str, step: BoundStatement) -> list[Row]:
        """The rows of one statement that changes nothing; none where the table may be missing, and is.

        Args:
            action: What it is for.
            step: The statement.

        Raises:
            StoreError: As `asked` does.
        """
        return self.answered(action, step)[0]

    def read(self, place: str) -> Snapshot | None:
        """A document, or None. The session remembers which transactions are later than what was read.

        Args:
            place: Its key in the table.

        Raises:
            StoreError: As `asked` does.
        """
        rows, session = self.answered("read the document", BoundStatement(self.table.read, (place,)))
        if not rows:
            return None
        data, modified, xact = rows[0]
        session.next_xact = max(session.next_xact, xact)
        return Snapshot(data, modified=modified)

    def answered(self, action: str, step: BoundStatement) -> tuple[list[Row], DatabaseSession]:
        """As `rows`, with the session that has answered; it has been given back."""
        deadline = later(self.options.statement_timeout)
        session = self.pool.borrow(deadline)
        try:
            return session.run(step, deadline=deadline)[0], session
        except SessionLost as lost:
            raise session_lost(lost) from lost
        except ServerRefusal as refusal:
            if self.create and refusal.sqlstate == UNDEFINED_TABLE:
                return [], session
            raise self.refused(refusal, action) from refusal
        finally:
            self.pool.give_back(session)

    def refused(self, refusal: ServerRefusal, action: str) -> StoreError:
        """The error for a statement that the server refuses.

        Args:
            refusal: The server's answer.
            action: What was tried.
        """
        if refusal.sqlstate == UNDEFINED_TABLE:
            self.pool.tables.pop(self.table.full_name, None)
        if self.replica and refusal.sqlstate == "25006":
            return read_only(action)
        return translated(refusal, action)

    def with_table(self, action: str, attempt: Callable[[], T], deadline: float) -> T:
        """Attempts something, and once more where the table was missing, and was made then.

        Args:
            action: What it is for.
            attempt: Raises `ServerRefusal` when it has done nothing.
            deadline: By the monotonic clock.

        Raises:
            StoreError: The table cannot be made, or the server refuses.
        """
        try:
            return attempt()
        except ServerRefusal as refusal:
            if refusal.sqlstate != UNDEFINED_TABLE or not self.create:
                raise self.refused(refusal, action) from refusal
        self.asked("make the table", lambda session: self.table.make(session, deadline), deadline)
        try:
            return attempt()
        except ServerRefusal as refusal:
            raise self.refused(refusal, action) from refusal

    def ensure_primary(self, action: str, session: DatabaseSession) -> None:
        """Refuses a change on a server that repeats another one.

        Args:
            action: What is tried.
            session: The connection that it would be tried on.

        Raises:
            AccessDenied: The store was opened on a replica.
            BackendUnavailable: The server was the primary when the store was opened.
        """
        if self.replica:
            raise read_only(action)
        if session.facts.replica:
            raise BackendUnavailable(
                f"cannot {action}: the server has become a read replica",
                hint="Another server may be the primary by now: see target_session_attrs.",
            )
