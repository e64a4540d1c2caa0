"""The addresses of a server's name, within a deadline: a silent name server holds getaddrinfo for minutes."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from exlab_store_smb.wire.blocking import NotReturned, blocking

if TYPE_CHECKING:
    from exlab_store_smb.wire.deadline import Deadline

__all__ = ["Addresses", "NameNotResolved", "addresses_of"]

Addresses = list[tuple[Any, Any, int, str, Any]]


class NameNotResolved(OSError):
    """No name server has answered in time."""


def addresses_of(host: str, port: int, deadline: Deadline) -> Addresses:
    """Resolves a name.

    Args:
        host: A name or an address; one of IPv6 may stand in brackets.
        port: The port.
        deadline: Until when.

    Returns:
        What `socket.getaddrinfo` does: family, kind, protocol, a name, and the address.

    Raises:
        NameNotResolved: It took too long.
        OSError: The name is not known.
    """
    name = host.strip("[]")
    try:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name, not an address
    try:
        return blocking(lambda: socket.getaddrinfo(name, port, type=socket.SOCK_STREAM), deadline)
    except NotReturned as error:
        raise NameNotResolved(f"the name service has not answered for {name!r} in time") from error
