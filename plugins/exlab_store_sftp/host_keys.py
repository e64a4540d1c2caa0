"""Whether the server is the one that it should be: its key is known, or nothing is done."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from exlab_store import AccessDenied, LocationError
from exlab_store.backend import mode_at
from exlab_store_sftp.key_files import ensure_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exlab_store_sftp.options import SftpOptions

__all__ = ["TrustedKeys"]

_FILES: Final = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


class TrustedKeys:
    """The keys that a server may have. asyncssh asks it, and it remembers what it has answered.

    Args:
        options: Of the location.
        configured: The files that ``~/.ssh/config`` names; None where it turns the check off, which is not done.

    Raises:
        LocationError: The key or the file that was given is none.
        AccessDenied: This account may not read the file.
    """

    def __init__(self, options: SftpOptions, configured: Sequence[str] | None = ()) -> None:
        self._files = [os.path.expanduser(name) for name in configured or _FILES]
        self._given: asyncssh.SSHKey | None = None
        self._trusted: list[asyncssh.SSHKey] = []
        self._revoked: list[asyncssh.SSHKey] = []
        self._shown: asyncssh.SSHKey | None = None
        self._asked = False
        if options.host_key is not None:
            try:
                self._given = asyncssh.import_public_key(options.host_key)
            except asyncssh.KeyImportError as error:
                raise LocationError(
                    "`host_key` is no public key", hint="Give the line of the server's ssh_host_..._key.pub."
                ) from error
        if options.known_hosts is not None:
            self._files = [options.known_hosts]
            ensure_file("known_hosts", options.known_hosts)

    def __call__(self, host: str, addr: str, port: int | None) -> Any:
        """The keys of a server, as asyncssh's argument ``known_hosts`` takes them."""
        self._asked = True
        if self._given is not None:
            self._trusted = [self._given]
            return [self._given], [], []
        names = [name for name in self._files if stat.S_ISREG(mode_at(name)) and os.access(name, os.R_OK)]
        found = asyncssh.match_known_hosts(asyncssh.read_known_hosts(names), host, addr, port)
        self._trusted, self._revoked = list(found[0]), list(found[2])
        return found

    def note_shown(self, key: asyncssh.SSHKey) -> None:
        """Remembers the key that the server has shown and that is not trusted.

        Args:
            key: The server's.
        """
        self._shown = key

    def may_have_changed(self, error: Exception) -> bool:
        """Whether the server may have ended the connection because it has no key of a kind that is known.

        Args:
            error: What asyncssh raised.
        """
        ended = isinstance(error, asyncssh.ConnectionLost | asyncssh.KeyExchangeFailed | ConnectionResetError)
        return ended and bool(self._trusted) and self._shown is None

    def refused(self, host: str, error: Exception) -> AccessDenied | None:
        """The error for a server that is not trusted; None if that is not what went wrong.

        Args:
            host: The server's name.
            error: What asyncssh raised.
        """
        if not isinstance(error, asyncssh.HostKeyNotVerifiable):
            return None
        shown = "" if self._shown is None else f" It has shown {_named(self._shown)}."
        if self._shown is not None and self._shown in self._revoked:
            return AccessDenied(
                "the server has shown a key that is revoked", hint=f"Ask who looks after the server.{shown}"
            )
        if self._trusted:
            wanted = " or ".join(sorted({_named(key) for key in self._trusted}))
            return AccessDenied(
                "the server's host key is another than the known one: it was set up anew, or this is another server",
                hint=f"Known is {wanted}.{shown} Ask who looks after the server, and only then correct "
                f"{self._where()}.",
            )
        return AccessDenied(
            f"the server's host key is unknown: {host} stands in no list of known hosts",
            hint=f"Compare the key with whoever looks after the server, and connect once with ssh, or add it to "
            f"{self._where()}, or give host_key.{shown}",
        )

    def _where(self) -> str:
        return "host_key" if self._given is not None else self._files[0]


def _named(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
