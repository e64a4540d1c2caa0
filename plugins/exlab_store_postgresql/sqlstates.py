"""The errors of the server and of a connection, and what they mean for a store.

SQLSTATE codes are those of PostgreSQL, appendix A of its manual.
"""

from __future__ import annotations

import re
from typing import Final

from exlab_store.backend import (
    AccessDenied,
    BackendUnavailable,
    InvalidKey,
    LocationError,
    NotSupported,
    StorageFull,
    StoreError,
)

__all__ = [
    "LOCK_NOT_AVAILABLE",
    "QUERY_CANCELED",
    "UNDEFINED_TABLE",
    "ServerRefusal",
    "SessionLost",
    "connecting_failed",
    "pooled",
    "session_lost",
    "translated",
]

UNDEFINED_TABLE: Final = "42P01"
LOCK_NOT_AVAILABLE: Final = "55P03"
QUERY_CANCELED: Final = "57014"

_HINTS: Final = {
    "53300": "Raise max_connections of the server, or lower the option max_connections of the programs.",
    "57P03": "It is starting up or shutting down; trying again may succeed.",
}


class ServerRefusal(Exception):
    """The server has answered a statement with an error; nothing of its transaction has happened.

    Args:
        sqlstate: Five characters; empty where there is none.
        message: The server's sentence.
    """

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{sqlstate}: {message}")
        self.sqlstate = sqlstate
        self.message = message


class SessionLost(Exception):
    """The connection has ended, or did not answer in time and was ended.

    Args:
        reason: Why, a clause.
        sent: Whether the server may have heard what was asked for.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


def session_lost(lost: SessionLost) -> BackendUnavailable:
    """The error of an operation that is known not to have happened.

    Args:
        lost: What has ended the connection.
    """
    return BackendUnavailable(
        f"the connection to the database was lost: {lost.reason}", hint="Look at the network and the server."
    )


def translated(refusal: ServerRefusal, action: str) -> StoreError:
    """The error of a store for a statement that the server refuses.

    Args:
        refusal: The server's answer.
        action: What was tried, a verb with its object: "write the document".
    """
    code, message = refusal.sqlstate, f"cannot {action}: {refusal.message}"
    if code in {"42501", "28000", "28P01"}:
        return AccessDenied(message, hint="Grant the role the right: see the page about PostgreSQL.")
    if code == "25006":
        return AccessDenied(
            message, hint="The server or the role is read only (a replica, or default_transaction_read_only)."
        )
    if code in {"53100", "53200"}:
        return StorageFull(message, hint="Free some space on the server; the stored document is as it was.")
    if code in {"54000", "54001"}:
        return StorageFull(message, hint="PostgreSQL holds up to 1 GB in one value.")
    if code in {"22021", "22P05"}:
        return InvalidKey(message, hint="The database must have the encoding UTF8.")
    if code in {UNDEFINED_TABLE, "3F000", "42703", "42P10"}:
        return BackendUnavailable(
            f"the table of the documents is gone: {refusal.message}",
            exhausted=True,
            hint="Restore it, or make it with `exlab-store init`.",
        )
    if code == QUERY_CANCELED:
        return BackendUnavailable(
            f"cannot {action} in time: {refusal.message}",
            exhausted=True,
            hint="See what keeps the table or the row locked: pg_locks and pg_stat_activity tell.",
        )
    return BackendUnavailable(message, hint=_HINTS.get(code, "Look at the server and its log."))


# libpq asks the reader a question behind some of its sentences.
_QUESTION: Final = re.compile(r"\s*Is the server running[^?]*\?")

# libpq gives no SQLSTATE for a connection that was not made. A server whose messages are not English is met by the
# last of the rules below.
_REFUSED_CONNECTIONS: Final = (
    ("password authentication failed", "account"),
    ("no password supplied", "account"),
    ("authentication failed", "account"),
    ("no pg_hba.conf entry", "account"),
    ("role ", "account"),
    ("permission denied for database", "account"),
    ("is not permitted to log in", "account"),
    ("certificate", "certificate"),
    ("SSL error", "certificate"),
    ("server does not support SSL", "certificate"),
    ("sslmode", "certificate"),
    ("unsupported startup parameter", "proxy"),
    ("could not translate host name", "name"),
    ("database ", "database"),
)


def connecting_failed(text: str) -> StoreError:
    """The error of a store for a connection that was not made.

    Args:
        text: What libpq says: it names the server, the role and the database, and no password.
    """
    said = " ".join(_QUESTION.sub("", text).split()).rstrip(".")
    kind = next((kind for part, kind in _REFUSED_CONNECTIONS if part in said), "")
    fatal = "FATAL:" in said
    if kind == "certificate":
        return NotSupported(
            f"no safe connection to the server: {said}",
            hint="Check sslmode and sslrootcert, and the certificate of the server (ssl_cert_file).",
        )
    if kind == "account" and (fatal or "password" in said):
        return AccessDenied(
            f"the server refuses the account: {said}", hint="Check user name and password, and pg_hba.conf."
        )
    if kind == "database" and fatal and "does not exist" in said:
        return LocationError(f"there is no such database: {said}", hint="Make it with createdb, or check its name.")
    if kind == "proxy":
        return pooled(said)
    return BackendUnavailable(
        f"the server cannot be reached: {said}",
        hint=_HINTS["53300"]
        if "too many clients" in said or "connection slots" in said
        else "Look at the network, the server and its log; is the name right?",
    )


def pooled(detail: str) -> NotSupported:
    """The error for a proxy that hands out the server's sessions.

    Args:
        detail: How it was found out.
    """
    return NotSupported(
        f"a connection pool stands before the server ({detail}): a lock would be lost between two statements",
        hint="Give the server's own address. pgbouncer and its like cannot keep the session that holds a lock.",
    )
