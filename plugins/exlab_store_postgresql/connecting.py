"""A new connection: made, introduced, and refused where a connection pool stands before the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from msgspec.structs import replace
from psycopg import pq
from psycopg.conninfo import make_conninfo

from exlab_store.backend import BackendUnavailable, came_from_signal_handler, without_variables
from exlab_store_postgresql.server import facts_of, introduction, safeguards
from exlab_store_postgresql.session import SYNC, DatabaseSession, later
from exlab_store_postgresql.sqlstates import (
    ServerRefusal,
    SessionLost,
    connecting_failed,
    pooled,
    session_lost,
    translated,
)
from exlab_store_postgresql.waiting import READABLE, WRITABLE, wait_until_ready

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

    from exlab_store_postgresql.options import PostgresqlOptions

__all__ = ["connect"]


@without_variables
def connect(options: PostgresqlOptions, deadline: float) -> DatabaseSession:
    """Connects, and asks the server what it is.

    The name is resolved by the system, which has a patience of its own; everything else keeps the deadline.

    Args:
        options: The server and the account.
        deadline: By the monotonic clock.

    Raises:
        StoreError: The server cannot be reached, refuses the account, or is not fit.
    """
    session = DatabaseSession(_connected_to_any(options, deadline))
    try:
        pid = session.pgconn.backend_pid
        rows = session.run(introduction(options), deadline=deadline)
        # A pool gives its clients numbers of its own, as it has one session of the server for several of them.
        if rows[0][0][0] != pid:
            raise pooled("its sessions are not the server's")  # noqa: TRY301  # the session is closed below
        session.facts = facts_of(rows[0][0])
        session.next_xact = session.facts.next_xact
        steps = [each for step in safeguards(options) for each in (step, SYNC)]
        session.run(*steps, deadline=deadline)
    except SessionLost as lost:
        session.close()
        raise session_lost(lost) from lost
    except ServerRefusal as refusal:
        session.close()
        if refusal.sqlstate in {"08P01", "26000"}:  # a pool that does not know the protocol's extended queries
            raise pooled(refusal.message) from refusal
        raise translated(refusal, "ask the server what it is") from refusal
    except BaseException:
        session.close()
        raise
    return session


def _connected_to_any(options: PostgresqlOptions, deadline: float) -> PGconn:
    """Of several hosts, each has its share of the time: libpq, asked without blocking, waits for the first for ever."""
    hosts = (options.host or "").split(",")
    if options.target_session_attrs == "prefer-standby":  # about all of them at once
        hosts = [options.host or ""]
    said: list[str] = []
    for number, host in enumerate(hosts):
        share = (deadline - later(0)) / (len(hosts) - number)
        try:
            return _connected(replace(options, host=host or None), later(share))
        except BackendUnavailable as error:
            if len(hosts) == 1 or came_from_signal_handler(error):
                raise
            said.append(f"{host}: {error.message}")
    raise BackendUnavailable(
        f"none of the hosts can be used: {'; '.join(said)}", hint="Look at the network, the servers and their logs."
    )


def _connected(options: PostgresqlOptions, deadline: float) -> PGconn:
    pgconn: PGconn | None = None
    try:
        pgconn = pq.PGconn.connect_start(_conninfo(options))
        _await_connection(pgconn, deadline)
    except psycopg.Error as error:
        if pgconn is not None:
            pgconn.finish()
        if came_from_signal_handler(error):
            raise
        failure = connecting_failed(str(error))
    except BaseException:
        if pgconn is not None:
            pgconn.finish()
        raise
    else:
        return pgconn
    raise failure  # out here, as libpq's error would be its context, with the connection's parameters


def _conninfo(options: PostgresqlOptions) -> bytes:
    parameters = options.parameters()
    if options.password is None:
        return make_conninfo("", **parameters).encode()
    return make_conninfo("", password=options.password.reveal(), **parameters).encode()


def _await_connection(pgconn: PGconn, deadline: float) -> None:
    if pgconn.status == pq.ConnStatus.BAD:
        raise psycopg.OperationalError(pgconn.get_error_message())
    status: int = pq.PollingStatus.WRITING
    while status != pq.PollingStatus.OK:
        events = READABLE if status == pq.PollingStatus.READING else WRITABLE
        if not wait_until_ready(pgconn.socket, events, deadline)[0]:
            raise BackendUnavailable(
                "the server does not answer: no connection was made in time", hint="Look at the network and the server."
            )
        status = pgconn.connect_poll()
        if status == pq.PollingStatus.FAILED:
            raise psycopg.OperationalError(pgconn.get_error_message())
