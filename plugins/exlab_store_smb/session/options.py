"""The options of an SMB location, and their defaults."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from exlab_store import Secret  # noqa: TC001  # msgspec reads the annotations

__all__ = ["SmbOptions"]


class SmbOptions(msgspec.Struct, frozen=True, kw_only=True):
    r"""The options of an SMB location.

    Attributes:
        host: The server's name or address.
        port: Its port, 445 unless given.
        username: ``user``, ``DOMAIN\user``, ``user@realm`` or fsspec's ``workgroup;user``; None for the account of the
            Kerberos ticket. A session is never anonymous.
        password: None for a Kerberos ticket.
        domain: The account's domain or workgroup, where the user name has none.
        encrypt: True: everything is encrypted, or nothing is done. False and None: only if the server demands it.
        require_signing: Refuse a server that does not sign, as guests' sessions cannot be signed.
        auth_protocol: ``negotiate`` takes Kerberos where there is a ticket, otherwise NTLM.
        timeout: Seconds in which an operation comes back, whatever the network does.
        connect_timeout: Seconds in which a connection must be made: the name resolved, a Kerberos server asked, the
            account let in, the share opened. A server whose disks are asleep may need 60.
        idle_timeout: Seconds after which a connection that nobody uses is ended; the next operation makes it again.
        one_round_trip: A document is replaced in one round trip where the share has room. A server goes on to the
            rename even when it could not store the data, so False (two round trips: the rename is asked for when the
            data is known to be there) belongs where a quota limits this account that the share's free space does
            not show, as on btrfs.
    """

    host: str
    port: int = 445
    username: str | None = None
    password: Secret | None = None
    domain: str | None = None
    encrypt: bool | None = None
    require_signing: bool = True
    auth_protocol: Literal["negotiate", "kerberos", "ntlm"] = "negotiate"
    timeout: float = 30.0
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    one_round_trip: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError("`port` must be between 1 and 65535")
        for name in ("timeout", "connect_timeout", "idle_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be a positive number of seconds")

    @property
    def domain_and_user(self) -> tuple[str | None, str | None]:
        """The account's domain or workgroup, if any is given, and the user name; ``user@realm`` is left as it is."""
        if self.username is None:
            return None, None
        workgroup, semicolon, user = self.username.rpartition(";")
        domain = workgroup if semicolon else self.domain
        if "@" in user:
            return None, user
        before, backslash, name = user.partition("\\")
        return (before, name) if backslash else (domain or None, user)

    @property
    def account(self) -> str | None:
        """The user name as NTLM wants it."""
        domain, user = self.domain_and_user
        return f"{domain}\\{user}" if domain else user

    def __repr__(self) -> str:
        return f"SmbOptions(host={self.host!r}, port={self.port}, username={self.username!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own, which rich prefers to the above, as for the variables in a traceback, has the password.
        return [("host", self.host), ("port", self.port), ("username", self.username)]
