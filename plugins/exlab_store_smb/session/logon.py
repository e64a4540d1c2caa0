"""Logging on to a server: connecting, authenticating and opening the share, and the error that says why it failed."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from smbprotocol import exceptions as smb
from smbprotocol.tree import TreeConnect

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    LocationError,
    NotSupported,
    StoreError,
    came_from_signal_handler,
)
from exlab_store_smb.session.authentication import authenticate
from exlab_store_smb.session.link import Link
from exlab_store_smb.wire.blocking import NotReturned, blocking
from exlab_store_smb.wire.connection import SmbConnection
from exlab_store_smb.wire.limits import limits_of
from exlab_store_smb.wire.names import NameNotResolved
from exlab_store_smb.wire.smb1 import speaks_only_smb1
from exlab_store_smb.wire.statuses import BUSY_SERVER
from exlab_store_smb.wire.threads import apart

if TYPE_CHECKING:
    import uuid

    from exlab_store_smb.session.options import SmbOptions
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["connect", "hint_for_sleeping_disks"]


def connect(options: SmbOptions, share: str, client: uuid.UUID, previous_session: int, deadline: Deadline) -> Link:
    """Connects, authenticates, and opens the share.

    Args:
        options: The server and the account.
        share: The share's name.
        client: The client's identifier, the same for all connections of a store.
        previous_session: The session that this one replaces, or 0; when this returns, nothing of it is left.
        deadline: Until when.

    Raises:
        AccessDenied: The server refuses the account or the password, or the account may not use the share.
        LocationError: The server has no such share.
        NotSupported: Encryption, signing or Kerberos was asked for and is not in force, the server's limits are too
            low, or it speaks only SMB 1.
        BackendUnavailable: The server, a name server or a Kerberos server cannot be reached, or is too slow.
    """
    limit = deadline.within(options.connect_timeout)
    connecting = partial(_repeated, options, share, client, previous_session, limit)
    try:
        return apart(connecting, Link.end)
    except RuntimeError as error:
        if came_from_signal_handler(error):
            raise
        raise BackendUnavailable(
            f"no thread can be started: {error}", hint="End some threads of this program."
        ) from error


def _repeated(options: SmbOptions, share: str, client: uuid.UUID, previous_session: int, limit: Deadline) -> Link:
    patience = limit.half()
    while True:
        try:
            return _connect(options, share, client, previous_session, limit)
        except StoreError as error:
            answer = error.__cause__
            busy = isinstance(answer, smb.SMBResponseException) and int(answer.status) in BUSY_SERVER
            if not busy or patience.over:
                raise
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311  # no secret


def _connect(options: SmbOptions, share: str, client: uuid.UUID, previous_session: int, limit: Deadline) -> Link:
    connection = SmbConnection(
        client,
        options.host,
        options.port,
        require_signing=options.require_signing,
        timeout=options.timeout,
        previous_session=previous_session,
    )
    connection.deadline = limit
    account = ""
    try:
        timeout: Any = max(0.001, limit.remaining())  # it takes parts of a second too
        connection.connect(timeout=timeout)
        session, account = authenticate(connection, options, limit)
        connection.ensure_genuine(session)
        _ensure_protected(session, options)
        tree = TreeConnect(session, rf"\\{options.host}\{share}")
        tree.connect(require_secure_negotiate=session.signing_key is not None)
        connection.ask_for_credits(session.session_id, limit)
        limits = limits_of(connection)
        connection.deadline = None
        return Link(connection, session, tree, limits)
    except Exception as error:
        connection.end()
        if isinstance(error, StoreError) or came_from_signal_handler(error):
            raise
        raise _explained(error, connection, options, account, share, limit) from error
    except BaseException:
        connection.end()
        raise


def _ensure_protected(session: Any, options: SmbOptions) -> None:
    if options.encrypt and not session.encrypt_data:
        raise NotSupported("the server does not encrypt the session", hint="Ask for encryption on the server first.")
    if options.require_signing and not (session.signing_required or session.encrypt_data):
        raise NotSupported("the server does not sign the session", hint="Use an account of its own, not a guest's.")


def _explained(
    error: Exception, connection: SmbConnection, options: SmbOptions, account: str, share: str, limit: Deadline
) -> StoreError:
    if isinstance(error, smb.BadNetworkName):
        return LocationError(f"the server has no share {share!r}", hint="Check how the share's name is spelt.")
    if isinstance(error, smb.AccessDenied) and account:
        return AccessDenied(
            f"{account} may not use the share {share!r}", hint="Ask the server's keeper for the right to use it."
        )
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)  # without "[Errno 111]"
    if "guest" in text and ("signing" in text or "encryption" in text):
        return NotSupported(
            "the server takes the user for a guest, whose session can be neither signed nor encrypted",
            hint="Use an account of its own, or give require_signing=False where that is acceptable.",
        )
    if "encryption is required" in text:
        return NotSupported(
            "the server does not support encryption, and encrypt=True asks for it",
            hint="Allow encryption on the server (SMB 3), or leave encrypt out.",
        )
    server = f"{options.host}:{options.port}"
    if isinstance(error, socket.gaierror):
        return BackendUnavailable(
            f"cannot connect to {server}: no server is known by the name {options.host!r} ({text})",
            exhausted=limit.over,
            hint="Check how the server's name is spelt, and the network; or give the server's address.",
        )
    if isinstance(error, NameNotResolved):
        return BackendUnavailable(
            f"cannot connect to {server}: {text}",
            exhausted=limit.over,
            hint="Look at the name servers of this machine, or give the server's address.",
        )
    if isinstance(error, smb.SMBException) and limit.over:
        return BackendUnavailable(
            f"{server} accepts connections, and has not answered in time",
            exhausted=True,
            hint=hint_for_sleeping_disks(options.connect_timeout),
        )
    if isinstance(error, smb.SMBException) and connection.dialect is None and _is_of_the_past(options, limit):
        return NotSupported(
            f"{server} speaks only SMB 1, which can be forged by anybody on the network",
            hint="Switch SMB 2 or 3 on there; a server that cannot has to be replaced.",
        )
    return BackendUnavailable(
        f"cannot connect to {server}: {text}",
        exhausted=limit.over,
        hint="Check the server's name, the port and the network.",
    )


def hint_for_sleeping_disks(seconds: float) -> str:
    """What to do about a server that is there and does not answer.

    Args:
        seconds: How long it was waited for.
    """
    return (
        "Disks that are asleep take up to a minute to wake: try again, or give a connect_timeout of more than"
        f" {seconds:g} seconds."
    )


def _is_of_the_past(options: SmbOptions, limit: Deadline) -> bool:
    with suppress(NotReturned):
        return blocking(lambda: speaks_only_smb1(options.host, options.port, limit), limit)
    return False
