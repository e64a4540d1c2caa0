"""One SSH connection: made in time, known to be to the right server, and never used by a forked child."""

from __future__ import annotations

import asyncio
import os
import stat
import traceback
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import asyncssh

from exlab_store import AccessDenied, BackendUnavailable, LocationError, StoreError
from exlab_store.backend import in_forked_child, mode_at
from exlab_store_sftp.host_keys import TrustedKeys
from exlab_store_sftp.key_files import ensure_file, key_in
from exlab_store_sftp.server_shell import NoShell, ServerShell

if TYPE_CHECKING:
    from exlab_store import Secret
    from exlab_store_sftp.options import SftpOptions
    from exlab_store_sftp.time_limit import TimeLimit

__all__ = ["Connection", "connect"]

# OpenSSH allows ten sessions on a connection (MaxSessions), and one is that of SFTP.
_MOST_SHELLS: Final = 8
_CONFIGURATIONS: Final = ("~/.ssh/config", "/etc/ssh/ssh_config")
_UNANSWERED: Final = 3  # questions whether the server is there

_all: WeakSet[Connection] = WeakSet()


class Connection:
    """A connection. `connect` makes one.

    Args:
        ssh: asyncssh's.

    Attributes:
        ssh: The same.
        shells: The processes on the server that belong to it.
    """

    def __init__(self, ssh: asyncssh.SSHClientConnection) -> None:
        self.ssh = ssh
        self.shells: set[ServerShell] = set()
        self._files: asyncssh.SFTPClient | None = None
        self._most_shells = _MOST_SHELLS
        self._of_this_process = True
        _all.add(self)

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as this side knows."""
        return self._of_this_process and not self.ssh.is_closed()

    @property
    def has_room(self) -> bool:
        """Whether a further process may be started over it."""
        self.shells = {shell for shell in self.shells if shell.alive}
        return self.alive and len(self.shells) < self._most_shells

    async def files(self) -> asyncssh.SFTPClient:
        """The SFTP session, begun when it is first asked for.

        Raises:
            LocationError: The server offers no SFTP.
            BackendUnavailable: The connection has ended.
        """
        if self._files is None:
            try:
                self._files = await self.ssh.start_sftp_client(path_errors="surrogateescape")
            except (asyncssh.Error, OSError) as error:
                await asyncio.sleep(0)  # the end of the connection may be told behind the end of the session
                if self.ssh.is_closed() or "Connection lost" in str(error):
                    raise BackendUnavailable(f"the connection has ended: {error}") from error
                raise LocationError(
                    f"the server offers no SFTP: {error}",
                    hint="Its sshd_config needs the line: Subsystem sftp internal-sftp",
                ) from error
        return self._files

    def uses(self, files: asyncssh.SFTPClient) -> bool:
        """Whether an SFTP session is this connection's."""
        return self._files is files

    async def start_shell(self, root: str) -> ServerShell:
        """Starts a process on the server.

        Args:
            root: The store's folder.

        Raises:
            NoShell: There is none to be had over this connection.
            ConnectionGone: It has ended.
        """
        try:
            shell = await ServerShell.start(self.ssh, root)
        except NoShell:
            self._most_shells = len(self.shells)
            raise
        self.shells.add(shell)
        return shell

    def abort(self) -> None:
        """Ends it at once."""
        if self._of_this_process:
            self.ssh.abort()

    async def close(self) -> None:
        """Ends it in order."""
        if self._of_this_process:
            self.ssh.close()
            await self.ssh.wait_closed()

    def leave_to_parent(self) -> None:
        """In a forked child: lets go of the socket, which would keep the parent's locks alive, without closing it."""
        self._of_this_process = False
        for shell in self.shells:
            shell.leave_to_parent()
        socket: Any = self.ssh.get_extra_info("socket")
        if socket is not None and (number := socket.fileno()) >= 0:
            # Another file gets the number: an object of the event loop would close it a second time one day.
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            os.close(nothing)


class _Client(asyncssh.SSHClient):
    """What asyncssh asks when it logs on; the password is given at the moment in which it is wanted."""

    def __init__(self, password: Secret | None, trusted: TrustedKeys) -> None:
        self._password = password
        self._trusted = trusted
        self._tries = 0

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called for a key that is not trusted: it stays so."""
        del host, addr, port
        self._trusted.note_shown(key)
        return False

    def password_auth_requested(self) -> str | None:
        """The password, once: a server asks again for one that it has refused."""
        self._tries += 1
        return None if self._password is None or self._tries > 1 else self._password.reveal()

    def kbdint_auth_requested(self) -> str | None:
        """The same over questions and answers, as servers ask that use PAM."""
        self._tries += 1
        return None if self._password is None or self._tries > 2 else ""

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> Any:
        """The password for the one question that is not shown while it is answered."""
        del name, instructions, lang
        if self._password is None:
            return None
        return [self._password.reveal() for _ in prompts]


async def connect(options: SftpOptions, deadline: TimeLimit) -> Connection:
    """Makes a connection.

    Args:
        options: The server and the account.
        deadline: Until when; ``connect_timeout`` holds beside it.

    Raises:
        AccessDenied: The server's key is not known, or it refuses the account.
        LocationError: An option or ``~/.ssh/config`` is wrong.
        BackendUnavailable: The server cannot be reached.
    """
    allowed = min(options.connect_timeout, deadline.remaining())
    trusted: TrustedKeys | None = None
    try:
        async with asyncio.timeout(allowed):
            settings = asyncssh.SSHClientConnectionOptions(
                host=options.host,
                **_given(port=options.port, username=options.username),
                **_config(options),
                client_keys=[_private_key(options)] if options.key_file is not None else (),
                passphrase=None if options.passphrase is None else options.passphrase.reveal(),
                **({} if options.agent else {"agent_path": None}),
            )
            named: Any = settings.known_hosts
            trusted = TrustedKeys(options, [name for name in named or () if isinstance(name, str)])
            try:
                return Connection(await _logged_on(options, settings, trusted, allowed))
            except (asyncssh.Error, OSError) as error:
                if not trusted.may_have_changed(error):
                    raise
            # It has no key of a kind that is known: it is asked to show the one that it has.
            return Connection(await _logged_on(options, settings, trusted, allowed, server_host_key_algs="default"))
    except StoreError:
        raise
    except Exception as error:
        refusal = _refused(error, options, allowed, trusted)
        traceback.clear_frames(error.__traceback__)  # asyncssh has what it logs on with in its variables
        raise refusal from error


async def _logged_on(
    options: SftpOptions,
    settings: asyncssh.SSHClientConnectionOptions,
    trusted: TrustedKeys,
    allowed: float,
    **more: Any,
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        options.host,
        **_given(port=options.port),
        options=settings,
        config=None,
        known_hosts=trusted,
        client_factory=lambda: _Client(options.password, trusted),
        keepalive_interval=options.keepalive,
        keepalive_count_max=_UNANSWERED,
        login_timeout=allowed,
        compression_algs=None,
        agent_forwarding=False,
        x11_forwarding=False,
        **more,
    )


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _config(options: SftpOptions) -> dict[str, Any]:
    if options.ssh_config is False:
        return {"config": None}
    if options.ssh_config is not True:
        ensure_file("ssh_config", options.ssh_config)
        return {"config": [options.ssh_config]}
    found = [os.path.expanduser(name) for name in _CONFIGURATIONS]
    return {"config": [name for name in found if stat.S_ISREG(mode_at(name)) and os.access(name, os.R_OK)] or None}


def _private_key(options: SftpOptions) -> asyncssh.SSHKey:
    # Not asyncssh.read_private_key: it waits for the writer of a pipe, and no deadline ends that.
    return asyncssh.import_private_key(
        key_in(str(options.key_file)), None if options.passphrase is None else options.passphrase.reveal()
    )


def _refused(error: Exception, options: SftpOptions, allowed: float, trusted: TrustedKeys | None) -> StoreError:
    """The error of a store for a connection that could not be made."""
    if trusted is not None and (untrusted := trusted.refused(options.host, error)) is not None:
        return untrusted
    no_passphrase = isinstance(error, asyncssh.KeyImportError) and "assphrase" in str(error)
    if isinstance(error, asyncssh.KeyEncryptionError) or no_passphrase:
        return AccessDenied(
            "the private key is encrypted, and the passphrase is missing or wrong",
            hint="Give passphrase, or load the key into an agent with ssh-add.",
        )
    if isinstance(error, asyncssh.KeyImportError):
        return LocationError("`key_file` is no private key", hint="Name the file without .pub.")
    if isinstance(error, asyncssh.PermissionDenied):
        account = f"the account {options.username}" if options.username else "this account"
        return AccessDenied(
            f"the server refuses {account}: no key and no password that it was offered is right",
            hint="Add the public key to the account's authorized_keys there, or give key_file, passphrase or password.",
        )
    if isinstance(error, asyncssh.ConfigParseError):
        return LocationError(f"the SSH configuration is wrong: {error}", hint="Correct it, or give ssh_config=False.")
    if isinstance(error, TimeoutError):
        return BackendUnavailable(
            f"the server has not let this client in within {allowed:.3g} s",
            hint="Look at the network and the server; a slow one needs a larger connect_timeout.",
        )
    if isinstance(error, (ValueError, TypeError)) and not isinstance(error, asyncssh.Error):
        return LocationError(f"the connection cannot be made: {error}", hint="Look at the options and ~/.ssh/config.")
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return BackendUnavailable(
        f"the server cannot be reached: {reason}", hint="Look at the server's name and port, the network, and sshd."
    )


def _leave_all_to_parent() -> None:
    for connection in list(_all):
        connection.leave_to_parent()
    _all.clear()


in_forked_child(_leave_all_to_parent)
