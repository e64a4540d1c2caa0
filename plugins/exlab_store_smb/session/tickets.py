"""Kerberos tickets for a file server: from the cache, a keytab or a password, and why there is none.

GSSAPI has one error for all that can be wrong, and each part is mended by somebody else: the user's ticket, the
password, the name of the file server, a clock, the Kerberos server.
"""

from __future__ import annotations

import importlib
import weakref
from typing import TYPE_CHECKING, Any

from spnego import CredentialCache, KerberosCCache

from exlab_store import AccessDenied, BackendUnavailable, NotSupported, Secret, StoreError
from exlab_store.backend import how_to_install

if TYPE_CHECKING:
    from exlab_store_smb.session.options import SmbOptions

__all__ = ["Ticket", "TicketRefused", "not_taken", "principal_of", "ticket_for", "tickets_are_possible"]

_lacking: ImportError | None = None
gssapi: Any = None
krb5: Any = None
try:  # compiled against the libraries of MIT Kerberos, so that not every installation has them
    gssapi, krb5 = importlib.import_module("gssapi"), importlib.import_module("krb5")
except ImportError as _error:
    _lacking = _error

# Codes of MIT Kerberos [RFC 4120 7.5.9 and krb5_err.et], counted from here.
_BASE = -1765328384
_ACCOUNT_EXPIRED = 1
_CLIENT_UNKNOWN = 6
_SERVER_UNKNOWN = 7
_REVOKED = 18
_PASSWORD_EXPIRED = 23
_PREAUTHENTICATION_FAILED = 24
_BAD_INTEGRITY = 31
_TICKET_EXPIRED = 32
_TICKET_NOT_YET_VALID = 33
_SKEW = 37
_SKEW_IN_REPLY = 147
_NO_SERVER_KNOWN = 154
_NO_SERVER_ANSWERS = 156
_REALM_NOT_FOUND = 220
_NO_DEFAULT_REALM = 224

# GSSAPI's own, where it has one [RFC 2744 3.9.1].
_NO_CREDENTIALS = 7 << 16
_CREDENTIALS_EXPIRED = 11 << 16

# With another attempt, be it by NTLM, the server would count a second wrong password, and lock the account earlier.
_FINAL = frozenset({_ACCOUNT_EXPIRED, _REVOKED, _PASSWORD_EXPIRED, _PREAUTHENTICATION_FAILED, _BAD_INTEGRITY})

_REFUSED = {
    _PREAUTHENTICATION_FAILED: ("its password is wrong", "Check the user name, the realm and the password."),
    _BAD_INTEGRITY: ("its password is wrong", "Check the user name, the realm and the password."),
    _CLIENT_UNKNOWN: ("it does not exist", "Check the user name and the realm; Kerberos writes user@REALM."),
    _REVOKED: ("it is disabled or locked out", "Ask the keeper of the domain."),
    _PASSWORD_EXPIRED: ("its password has expired", "Change the password, with kpasswd for instance."),
    _ACCOUNT_EXPIRED: ("it has expired", "Ask the keeper of the domain."),
}


class TicketRefused(Exception):
    """There is no ticket.

    Args:
        error: Why.
        final: Whether the account itself was refused, so that its password may not be tried in another way.
    """

    def __init__(self, error: StoreError, *, final: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.final = final


class Ticket:
    """A ticket for one file server.

    Args:
        principal: Whose it is.
        credential: Where spnego finds it.
        discard: Deletes the ticket's cache; called at the latest when the last reference to the ticket is gone.
    """

    def __init__(self, principal: str, credential: Any, discard: Any = lambda: None) -> None:
        self.principal = principal
        self.credential = credential
        self.discard = weakref.finalize(self, discard)


def tickets_are_possible() -> bool:
    """Whether the extra ``kerberos`` is installed."""
    return _lacking is None


def principal_of(options: SmbOptions, default_realm: str | None) -> str | None:
    r"""What Kerberos calls the account: ``user@REALM``.

    Args:
        options: With the account. ``DOMAIN\user`` is the user of the default realm ``DOMAIN.SITE.EXAMPLE``, as Active
            Directory's short name of a domain is the first part of the long one, unless it was chosen otherwise.
        default_realm: Of this machine.

    Returns:
        None where no user name is given. Without a realm where there is none.
    """
    domain, user = options.domain_and_user
    if user is None:
        return None
    name, at, realm = user.rpartition("@")
    if at:
        # Windows has user@site.example too, and realms are in capital letters.
        return f"{name}@{default_realm}" if default_realm and realm.upper() == default_realm.upper() else user
    if not domain:
        return f"{user}@{default_realm}" if default_realm else user
    is_short_name = default_realm and domain.upper() == default_realm.partition(".")[0].upper()
    return f"{user}@{default_realm if is_short_name else domain.upper()}"


def ticket_for(options: SmbOptions) -> Ticket:
    """Gets a ticket; blocks, as long as the Kerberos libraries like, while a Kerberos server is asked.

    With a password it is a new one, in memory. Without it is that of the cache (``kinit``), which the libraries get
    themselves where KRB5_CLIENT_KTNAME names a keytab.

    Args:
        options: The server and the account.

    Raises:
        TicketRefused: There is none.
        NotSupported: The extra ``kerberos`` is not installed.
    """
    if _lacking is not None:
        raise NotSupported(f"Kerberos cannot be used: {_lacking}", hint=how_to_install("exlab-store[kerberos]"))
    context = krb5.init_context()
    principal = None
    try:
        principal = principal_of(options, _default_realm(context))
        if options.password is None:
            return _cached(context, principal, options.host)
        if principal is None:
            raise TicketRefused(AccessDenied("a password needs a user name", hint="Give username as well."))
        return _fresh(context, principal, options.password, options.host)
    except (krb5.Krb5Error, gssapi.raw.GSSError) as error:
        code = _code_of(error)
        if options.password is None and not principal:
            principal = _principal_of_cache(context)
        raise TicketRefused(_sentence(error, code, options, principal), final=code in _FINAL) from error


def not_taken(error: Exception, principal: str, host: str) -> AccessDenied:
    """The error for a ticket that the file server does not take, as the token says that it answers with.

    Args:
        error: GSSAPI's, of reading that token.
        principal: Whose ticket it is.
        host: The server.
    """
    if _code_of(error) in {_SKEW, _TICKET_NOT_YET_VALID, _TICKET_EXPIRED}:
        return AccessDenied(
            f"the server refuses the Kerberos ticket of {principal}: its clock and that of the Kerberos server differ"
            " by more than Kerberos allows",
            hint="Set both clocks, with NTP for instance: 5 minutes are allowed.",
        )
    return AccessDenied(
        f"the server refuses the Kerberos ticket of {principal}: {_text_of(error)}",
        hint=f"Look whether the server's keytab has the present key of cifs/{host}, and at its log.",
    )


def _default_realm(context: Any) -> str | None:
    try:
        return str(krb5.get_default_realm(context).decode())
    except krb5.Krb5Error:
        return None


def _cached(context: Any, principal: str | None, host: str) -> Ticket:
    credentials = None  # the libraries choose, among several tickets, by the server's realm
    if principal is not None:
        name = gssapi.Name(principal, gssapi.NameType.user)
        credentials = gssapi.Credentials(name=name, usage="initiate", mechs=[gssapi.MechType.kerberos])
    _ask_for(host, credentials)
    return Ticket(principal or _principal_of_cache(context) or "this account", CredentialCache(username=principal))


def _fresh(context: Any, principal: str, password: Secret, host: str) -> Ticket:
    how = krb5.get_init_creds_opt_alloc(context)
    krb5.get_init_creds_opt_set_canonicalize(how, True)
    client = krb5.parse_name_flags(context, principal.encode())
    granting = krb5.get_init_creds_password(context, client, how, password=password.reveal().encode(errors="replace"))
    cache = krb5.cc_new_unique(context, b"MEMORY")
    name = f"MEMORY:{cache.name.decode()}"
    ticket = Ticket(principal, KerberosCCache(ccache=name), lambda: krb5.cc_destroy(context, cache))
    krb5.cc_initialize(context, cache, granting.client)
    krb5.cc_store_cred(context, cache, granting)
    credentials = gssapi.raw.acquire_cred_from(
        {b"ccache": name.encode()}, mechs=[gssapi.MechType.kerberos], usage="initiate"
    )
    _ask_for(host, gssapi.Credentials(base=credentials.creds))
    return ticket


def _ask_for(host: str, credentials: Any) -> None:
    """Gets the ticket for the server into the cache, where the session then finds it."""
    server = gssapi.Name(f"cifs@{host}", gssapi.NameType.hostbased_service)
    gssapi.SecurityContext(name=server, creds=credentials, mech=gssapi.MechType.kerberos, usage="initiate").step()


def _principal_of_cache(context: Any) -> str | None:
    try:
        return str(krb5.cc_get_principal(context, krb5.cc_default(context)))
    except krb5.Krb5Error:
        return None


def _code_of(error: Any) -> int:
    if getattr(error, "maj_code", None) == _CREDENTIALS_EXPIRED:
        return _TICKET_EXPIRED
    code = int(getattr(error, "err_code", None) or getattr(error, "min_code", None) or _BASE)
    return (code - 2**32 if code > 0 else code) - _BASE  # C has the minor code as an unsigned number


def _text_of(error: Exception) -> str:
    return str(error).rpartition("): ")[2]


def _sentence(error: Exception, code: int, options: SmbOptions, principal: str | None) -> StoreError:
    realm = (principal or "").rpartition("@")[2] or "of this machine"
    if code in {_PREAUTHENTICATION_FAILED, _BAD_INTEGRITY} and options.password is None:
        return AccessDenied(
            f"the Kerberos server refuses the keytab of {principal or 'this machine'}: its key is not valid any more",
            hint="Make the keytab again; a change of the password makes it invalid.",
        )
    if code in _REFUSED:
        why, hint = _REFUSED[code]
        if options.auth_protocol == "negotiate":
            hint += " For an account of the file server's own, give auth_protocol='ntlm'."
        return AccessDenied(f"the Kerberos server refuses the account {principal}: {why}", hint=hint)
    if code == _SERVER_UNKNOWN:
        return AccessDenied(
            f"Kerberos knows no file server by the name {options.host!r} (cifs/{options.host})",
            hint="Give the name that the server has in the domain, not an alias or an address, or have the alias"
            " registered there (setspn).",
        )
    if code == _TICKET_EXPIRED:
        return AccessDenied(
            f"the Kerberos ticket of {principal or 'this account'} has expired",
            hint="Get a new one with kinit, or name a keytab in KRB5_CLIENT_KTNAME: then it is renewed by itself.",
        )
    if code in {_SKEW, _SKEW_IN_REPLY, _TICKET_NOT_YET_VALID}:
        return AccessDenied(
            "the clocks of this machine and of the Kerberos server differ by more than Kerberos allows",
            hint="Set the clock, with NTP for instance: 5 minutes are allowed.",
        )
    if code == _NO_SERVER_ANSWERS:
        return BackendUnavailable(
            f"no Kerberos server of the realm {realm} answers",
            hint="Look at the network, and at the servers in krb5.conf or in the name service.",
        )
    if code in {_NO_SERVER_KNOWN, _REALM_NOT_FOUND}:
        return BackendUnavailable(
            f"no Kerberos server of the realm {realm} is known",
            hint="Check the realm, which is written in capital letters, and its entries in krb5.conf or in the name"
            " service.",
        )
    if code == _NO_DEFAULT_REALM:
        return AccessDenied(
            "Kerberos has no default realm on this machine",
            hint="Write the user name as user@REALM, or set default_realm in krb5.conf.",
        )
    if getattr(error, "maj_code", None) == _NO_CREDENTIALS:
        return AccessDenied(
            f"there is no Kerberos ticket{f' of {principal}' if principal else ''}",
            hint="Get one with kinit, name a keytab in KRB5_CLIENT_KTNAME, or give username and password.",
        )
    return AccessDenied(f"Kerberos gives no ticket: {_text_of(error)}", hint="kinit, kvno and KRB5_TRACE tell more.")
