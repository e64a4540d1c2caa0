"""The authentication of an account: by a Kerberos ticket if there is one, otherwise by NTLM; and the refusals.

spnego would choose by itself. It hides why Kerberos failed, and tries a wrong password a second time with NTLM: every
logon then counts twice against the account, which is locked after a few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smbprotocol import exceptions as smb
from smbprotocol.session import Session

from exlab_store import AccessDenied, BackendUnavailable, NotSupported, Secret, StoreError, without_variables
from exlab_store.backend import how_to_install
from exlab_store_smb.session.tickets import Ticket, TicketRefused, not_taken, ticket_for, tickets_are_possible
from exlab_store_smb.wire.blocking import NotReturned, blocking
from exlab_store_smb.wire.statuses import (
    ACCESS_DENIED,
    ACCOUNT_REFUSED,
    INVALID_PARAMETER,
    NO_SUCH_USER,
    NOT_A_TICKET,
    TIME_DIFFERENCE,
)

if TYPE_CHECKING:
    from exlab_store_smb.session.options import SmbOptions
    from exlab_store_smb.wire.connection import SmbConnection
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["authenticate"]

# Kerberos as a server may offer it [RFC 4178 4.2.1; MS-SPNG 3.1.5.6], the second with Windows' historical number.
_KERBEROS = (bytes.fromhex("06092a864886f712010202"), bytes.fromhex("06092a864882f712010202"))


def authenticate(connection: SmbConnection, options: SmbOptions, limit: Deadline) -> tuple[Any, str]:
    """Makes a session.

    Args:
        connection: Connected, without a session.
        options: The account.
        limit: Until when.

    Returns:
        The session, and the name of its account, for messages.

    Raises:
        AccessDenied: The account, its password or its ticket is refused, or there is none.
        NotSupported: The server does not take what ``auth_protocol`` asks for, or the extra is not installed.
        BackendUnavailable: The Kerberos server does not answer.
        SMBException: The connection has failed, or the server is busy.
    """
    protocol, refused = options.auth_protocol, None
    if _may_use_kerberos(connection, options):
        try:
            ticket = _ticket(options, limit)
        except TicketRefused as without:
            if protocol == "kerberos" or without.final:
                raise without.error from without.__cause__
            # Not by spnego's negotiation, which would ask for a ticket again.
            protocol, refused = "ntlm", without
        else:
            return _by_ticket(connection, options, ticket, limit), f"the Kerberos ticket of {ticket.principal}"
    account = f"the account {options.account!r}" if options.account else "an anonymous user"
    session = _session(connection, options, options.account, options.password, protocol)
    try:
        without_variables(session.connect)()  # spnego has the password in variables
    except smb.SMBAuthenticationError as error:
        if refused is not None:
            raise refused.error from refused.__cause__
        raise _nothing_given(options) from error
    except ImportError as error:
        raise NotSupported(f"Kerberos cannot be used: {error}", hint=how_to_install("exlab-store[kerberos]")) from error
    except smb.SMBResponseException as error:
        refusal = _refusal_of_account(error, account, options)
        if refusal is not None and refused is not None:
            refusal.hint = f"{refusal.hint} It was tried with NTLM, as there is no Kerberos: {refused.error.message}."
        if refusal is None:
            raise
        raise refusal from error
    return session, account


def _nothing_given(options: SmbOptions) -> AccessDenied:
    missing = f"no password is given for {options.account!r}" if options.account else "no account is given"
    if options.auth_protocol == "ntlm" or tickets_are_possible():
        return AccessDenied(f"{missing}, and the server lets nobody in without", hint="Give username and password.")
    return AccessDenied(
        f"{missing}, and no Kerberos ticket can be used here",
        hint=f"Give username and password, or use tickets. {how_to_install('exlab-store[kerberos]')}",
    )


def _may_use_kerberos(connection: SmbConnection, options: SmbOptions) -> bool:
    if options.auth_protocol == "ntlm" or not tickets_are_possible():
        return False
    offered = connection.gss_negotiate_token
    if not offered or any(number in offered for number in _KERBEROS):
        return True
    if options.auth_protocol == "kerberos":
        raise NotSupported(
            "the server takes no Kerberos tickets",
            hint="Have the server join the domain, or use auth_protocol='ntlm' with an account of its own.",
        )
    return False


def _ticket(options: SmbOptions, limit: Deadline) -> Ticket:
    # A Kerberos server that swallows everything leaves time for NTLM, where that is possible.
    has_another_way = options.auth_protocol == "negotiate" and options.password is not None
    try:
        return blocking(lambda: ticket_for(options), limit.half() if has_another_way else limit)
    except NotReturned as error:
        raise TicketRefused(
            BackendUnavailable(
                f"no Kerberos server has answered within connect_timeout ({options.connect_timeout:g} s)",
                exhausted=True,
                hint="Look at the network, and at the servers in krb5.conf or in the name service.",
            )
        ) from error


def _by_ticket(connection: SmbConnection, options: SmbOptions, ticket: Ticket, limit: Deadline) -> Any:
    # With nothing but the ticket, spnego negotiates Kerberos or fails; as for NTLM, Windows wants it wrapped.
    session = _session(connection, options, [ticket.credential], None, "negotiate")
    try:
        blocking(session.connect, limit)  # a cache that cannot be written to makes it ask the Kerberos server again
    except NotReturned as error:
        raise smb.SMBConnectionClosed("the server did not answer in time") from error
    except smb.SMBAuthenticationError as error:
        reason = getattr(error.__cause__, "base_error", None) or error
        raise not_taken(reason, ticket.principal, options.host) from error
    except smb.SMBResponseException as error:
        refusal = _refusal_of_ticket(error, ticket.principal, options)
        if refusal is None:
            raise
        raise refusal from error
    finally:
        ticket.discard()
    return session


def _session(connection: SmbConnection, options: SmbOptions, user: Any, password: Secret | None, protocol: Any) -> Any:
    return Session(
        connection,
        username=user,
        password=None if password is None else password.reveal(),
        require_encryption=options.encrypt is True,
        auth_protocol=protocol,
    )


def _refusal_of_account(error: Exception, account: str, options: SmbOptions) -> StoreError | None:
    """The error that the server's answer to a password stands for; None for an answer that is not about the account."""
    if isinstance(error, smb.LogonFailure):
        return AccessDenied(
            f"the server refuses {account} or its password", hint="Check the user name, the domain and the password."
        )
    status = int(error.status)  # type: ignore[attr-defined]
    if status == INVALID_PARAMETER and options.password == Secret(""):
        return AccessDenied(
            f"{account} has an empty password, with which nobody can log on", hint="Give the account a password."
        )
    if status in ACCOUNT_REFUSED:
        return AccessDenied(f"the server refuses {account}: {ACCOUNT_REFUSED[status]}", hint="Ask the server's keeper.")
    if status == ACCESS_DENIED:
        return AccessDenied(f"the server refuses {account}", hint="Ask the server's keeper.")
    return None


def _refusal_of_ticket(error: Exception, principal: str, options: SmbOptions) -> StoreError | None:
    """The error that the server's answer to a ticket stands for; None for an answer that is not about the ticket."""
    status = int(error.status)  # type: ignore[attr-defined]
    what = f"the Kerberos ticket of {principal}"
    if status in {ACCESS_DENIED, NO_SUCH_USER}:
        return AccessDenied(
            f"the server knows no account for {what}",
            hint="Have the server map it to an account: winbind does, or a username map.",
        )
    if status == TIME_DIFFERENCE:
        return AccessDenied(
            f"the server refuses {what}: its clock differs by more than Kerberos allows",
            hint="Set the server's clock, with NTP for instance: 5 minutes are allowed.",
        )
    if status in ACCOUNT_REFUSED:
        return AccessDenied(f"the server refuses {what}: {ACCOUNT_REFUSED[status]}", hint="Ask the server's keeper.")
    if isinstance(error, smb.LogonFailure) or status in NOT_A_TICKET:
        return AccessDenied(
            f"the server refuses {what} (status {status:#010x})",
            hint=f"Look at the server's clock, and whether its keytab has the present key of cifs/{options.host}.",
        )
    return None
