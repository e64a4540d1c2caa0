"""The facts about a server that a store's guarantees rest on, asked for on every new connection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store.backend import AccessDenied, Guarantees, LocationError, NotSupported
from exlab_store_postgresql.session import BoundStatement, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store_postgresql.options import PostgresqlOptions
    from exlab_store_postgresql.session import Row

__all__ = ["ServerFacts", "facts_of", "guarantees_of", "introduction", "read_only", "safeguards", "unclaimed_of"]

_log = logging.getLogger("exlab_store_postgresql")

_OF_PRIMARY: Final = (
    "durable", "conditional_write", "lock_scope", "lock_release", "fenced", "deletes", "fresh", "watch",
)  # fmt: skip
_OLDEST: Final = 140000  # pg_terminate_backend with a timeout, client_connection_check_interval

# synchronous_commit is set to what it is, so that a reload of the server's configuration does not change it for this
# session; the others are the store's own. Nothing is looked up in schemas that others may write to.
_INTRODUCTION: Final = Statement.of(
    """
    select pg_backend_pid(),
           (extract(epoch from (select backend_start from pg_stat_activity where pid = pg_backend_pid()))
               * 1000000)::int8,
           (extract(epoch from pg_postmaster_start_time()) * 1000000)::int8,
           pg_snapshot_xmax(pg_current_snapshot())::text::int8,
           current_setting('server_version_num')::int8,
           current_setting('server_version'),
           current_setting('server_encoding'),
           pg_is_in_recovery(),
           current_setting('transaction_read_only') = 'on',
           current_setting('fsync') = 'on',
           current_setting('full_page_writes') = 'on',
           set_config('synchronous_commit', current_setting('synchronous_commit'), false),
           set_config('statement_timeout', $1, false),
           set_config('lock_timeout', '0', false),
           set_config('idle_in_transaction_session_timeout', $1, false),
           set_config('default_transaction_isolation', 'read committed', false),
           set_config('search_path', 'pg_catalog', false),
           set_config('TimeZone', 'UTC', false)
    """,
    kept=False,
)

# So that the server notices a client that is gone: one whose network is dead after 19 s, one that has ended while it
# waits for a lock after 1 s. A server that is no Linux may not know the last two.
_SAFEGUARDS: Final = (
    Statement.of(
        "select set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '3', false), "
        "set_config('tcp_keepalives_count', '3', false)",
        kept=False,
    ),
    Statement.of("select set_config('tcp_user_timeout', $1, false)", kept=False),
    Statement.of("select set_config('client_connection_check_interval', '1000', false)", kept=False),
)


class ServerFacts(NamedTuple):
    """What a server has said of itself and of the session.

    Attributes:
        pid: The process that serves the session.
        began: When that process began, in microseconds since 1970.
        started: When the server was started, in microseconds since 1970.
        next_xact: No transaction that begins later has a smaller number.
        version: As 150018.
        release: As "15.18 (Debian 15.18-0+deb12u1)".
        encoding: Of the database.
        replica: It repeats what another server does.
        read_only: Transactions are read only.
        fsync: What is written is flushed to the disk.
        full_page_writes: A page that a power cut has torn is repaired.
        synchronous_commit: A commit waits for that flush, unless this is "off".
    """

    pid: int
    began: int
    started: int
    next_xact: int
    version: int
    release: str
    encoding: str
    replica: bool
    read_only: bool
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str

    @property
    def not_durable(self) -> list[str]:
        """The settings that let an acknowledged write be lost in a power cut."""
        flaws = {
            "fsync = off": not self.fsync,
            "full_page_writes = off": not self.full_page_writes,
            "synchronous_commit = off": self.synchronous_commit == "off",
        }
        return [setting for setting, is_so in flaws.items() if is_so]


def introduction(options: PostgresqlOptions) -> BoundStatement:
    """What is asked on a new connection, before anything else.

    Args:
        options: Of the location.
    """
    # The server gives up first, so that its answer says that nothing has happened.
    return BoundStatement(_INTRODUCTION, (str(max(1, int(900 * options.statement_timeout))),))


def safeguards(options: PostgresqlOptions) -> list[BoundStatement]:
    """What is asked beside it, of servers that know it.

    Args:
        options: Of the location.
    """
    keepalives, unacknowledged, closed = _SAFEGUARDS
    return [
        BoundStatement(keepalives, (), optional=True),
        BoundStatement(unacknowledged, (str(max(1, int(1000 * options.timeout))),), optional=True),
        BoundStatement(closed, (), optional=True),
    ]


def facts_of(row: Row) -> ServerFacts:
    """Reads the answer to the introduction.

    Args:
        row: The answer.

    Raises:
        NotSupported: The server is too old.
        LocationError: The database cannot hold every key.
    """
    facts = ServerFacts(*row[:12])
    if facts.version < _OLDEST:
        raise NotSupported(f"the server is PostgreSQL {facts.release}", hint="PostgreSQL 14 or newer is needed.")
    if facts.encoding != "UTF8":
        raise LocationError(
            f"the database has the encoding {facts.encoding}", hint="Make it with createdb --encoding UTF8."
        )
    return facts


def unclaimed_of(facts: ServerFacts, *, permanent: bool, tells: bool) -> dict[str, str]:
    """Why a guarantee is not claimed, and which setting would give it, by the guarantee's name.

    Args:
        facts: Of the server.
        permanent: The table is neither unlogged nor temporary.
        tells: The table has the trigger that tells of changes.
    """
    if facts.replica:
        reason = "the server is a read replica (hot standby); the primary gives it"
        return dict.fromkeys(_OF_PRIMARY, reason)
    flaws = facts.not_durable + ([] if permanent else ["the table is UNLOGGED"])
    reasons: dict[str, str] = {}
    if flaws:
        reasons["durable"] = f"{', '.join(flaws)}: what was acknowledged may be lost in a power cut or a crash"
    if not tells:
        reasons["watch"] = "the table lacks its trigger; `exlab-store init` does not mend a table that is there"
    return reasons


def guarantees_of(facts: ServerFacts, unclaimed: Mapping[str, str]) -> Guarantees:
    """What a server gives.

    Args:
        facts: Of the server.
        unclaimed: What it does not give, and why.
    """
    if facts.replica:
        return Guarantees(atomic_replace=True, lists=True)
    if "durable" in unclaimed:
        _log.warning("durable is not claimed: %s", unclaimed["durable"])
    return Guarantees(
        atomic_replace=True,
        durable="durable" not in unclaimed,
        conditional_write="native",
        lock_scope="site",
        lock_release="crash",
        fenced=True,
        lists=True,
        deletes=True,
        fresh="always",
        watch="none" if "watch" in unclaimed else "pushed",
    )


def read_only(action: str) -> AccessDenied:
    """The error for a change that was asked of a read replica.

    Args:
        action: What was tried.
    """
    return AccessDenied(
        f"cannot {action}: the server is a read replica (hot standby)",
        hint="Give the address of the primary, or several hosts with target_session_attrs='read-write'.",
    )
