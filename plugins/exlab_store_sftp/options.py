"""The options of an SFTP location, and their defaults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exlab_store import Location, LocationError, Secret
from exlab_store.backend import ensure_no_mode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SftpOptions", "options_of"]

_SECRET: Final = ("password", "passphrase")


class SftpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an SFTP location.

    What is not given here is taken from ``~/.ssh/config``, as ``ssh`` does: ``HostName``, ``User``, ``Port``,
    ``IdentityFile``, ``ProxyJump`` and others.

    Attributes:
        host: The server's name, address, or name in ``~/.ssh/config``.
        port: Its port; None for that of ``~/.ssh/config``, or 22.
        username: None for that of ``~/.ssh/config``, or of this process's account.
        password: None for keys and the agent alone. The server is asked for keys first.
        key_file: A private key; None for the agent's keys and the usual files in ``~/.ssh``.
        passphrase: Of the private key.
        agent: Whether the keys of a running agent are offered.
        known_hosts: A file of the server's keys; None for ``~/.ssh/known_hosts`` and ``/etc/ssh/ssh_known_hosts``.
        host_key: The server's only key, as a line of its ``.pub`` file: ``ssh-ed25519 AAAA...``.
        ssh_config: A file of the form of ``~/.ssh/config``; False for none.
        shell: False: no program is started on the server, so there are no locks and nothing is durable.
        timeout: Seconds in which an operation comes back, whatever the network does.
        connect_timeout: Seconds in which a connection must be made: the name resolved, the account let in.
        keepalive: Seconds of silence after which the server is asked whether it is there; a connection whose server
            does not answer three times is given up.
    """

    host: str
    port: int | None = None
    username: str | None = None
    password: Secret | None = None
    key_file: str | None = None
    passphrase: Secret | None = None
    agent: bool = True
    known_hosts: str | None = None
    host_key: str | None = None
    ssh_config: str | bool = True
    shell: bool = True
    timeout: float = 30.0
    connect_timeout: float = 10.0
    keepalive: float = 10.0

    def __post_init__(self) -> None:
        for name in ("timeout", "connect_timeout", "keepalive"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be a positive number of seconds")
        if self.known_hosts is not None and self.host_key is not None:
            raise ValueError("`known_hosts` and `host_key` are two answers to one question: give one")

    def __repr__(self) -> str:
        return f"SftpOptions(host={self.host!r}, port={self.port!r}, username={self.username!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # msgspec's own, which rich prefers to the above, has more than anybody needs to see.
        return [("host", self.host), ("port", self.port), ("username", self.username)]


def options_of(location: Location, options: Mapping[str, object]) -> SftpOptions:
    """The options of a location, checked.

    Args:
        location: Its URL; what is in it is not among the options.
        options: As they were given.

    Raises:
        LocationError: There is no server, or an option is not known, wrong, or given twice.
        NotSupported: A mode is asked for.
    """
    if not location.host:
        raise LocationError("an SFTP location names a server", hint="Write sftp://user@server/folder.")
    known = set(SftpOptions.__struct_fields__) - {"host"}
    ensure_no_mode(
        options,
        "the server chooses the permissions of documents",
        "Leave mode out, and give the account its umask there: ForceCommand internal-sftp -u 077, say.",
    )
    unknown = sorted(set(options) - known)
    if unknown:
        raise LocationError(
            f"an SFTP location has no option {', '.join(map(repr, unknown))}",
            hint=f"Known are {', '.join(sorted(known))}.",
        )
    given = {"port": location.port, "username": location.username, "password": location.secret}
    for name, value in given.items():
        if value is not None and name in options:
            raise LocationError(f"{name} is in the URL and among the options", hint="Give it once.")
    values: dict[str, Any] = {"host": location.host.strip("[]"), **options}
    values.update({name: value for name, value in given.items() if value is not None})
    for name in _SECRET:
        if isinstance(values.get(name), str):
            values[name] = Secret(values[name])
    for name in ("key_file", "known_hosts", "ssh_config"):
        path: object = values.get(name)
        if isinstance(path, str):
            values[name] = os.path.expanduser(path)
    for name in ("timeout", "connect_timeout", "keepalive"):
        if type(values.get(name)) is int:
            values[name] = float(values[name])
    try:
        checked = SftpOptions(**values)
        for name in SftpOptions.__struct_fields__:
            msgspec.convert(getattr(checked, name), _TYPES[name], strict=True)
    except (TypeError, ValueError) as error:
        raise LocationError(f"an option is wrong: {error}", hint="See SftpOptions in the reference.") from None
    return checked


_TYPES: Final[dict[str, Any]] = {
    "host": str,
    "port": int | None,
    "username": str | None,
    "password": Secret | None,
    "key_file": str | None,
    "passphrase": Secret | None,
    "agent": bool,
    "known_hosts": str | None,
    "host_key": str | None,
    "ssh_config": str | bool,
    "shell": bool,
    "timeout": float,
    "connect_timeout": float,
    "keepalive": float,
}
