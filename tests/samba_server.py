"""A real SMB server for tests: Debian's ``smbd`` on loopback, with everything it keeps below one directory."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
import weakref
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from process_group import members, signal_group
from samba_release import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds that a start or a stop may take on a machine that is busy with other tests

# Where distributions keep what an administrator starts; PATH seldom has it for anybody else.
_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

_ESTABLISHED, _LISTEN = "01", "0A"  # states of a TCP connection in /proc/net/tcp

# What a lab's server would say that cares for its documents. The keepalive frees the locks of a vanished client
# within eleven seconds; Linux's own two hours are the alternative.
_GLOBAL = MappingProxyType(
    {
        "server role": "standalone server",
        "workgroup": "LAB",
        "disable netbios": "yes",
        "interfaces": HOST,
        "bind interfaces only": "yes",
        "server min protocol": "SMB2",
        "map to guest": "never",
        "socket options": "TCP_NODELAY TCP_KEEPIDLE=5 TCP_KEEPINTVL=2 TCP_KEEPCNT=3",
        "strict sync": "yes",
        "posix locking": "yes",
        "map archive": "no",
        "load printers": "no",
        "printing": "bsd",
        "printcap name": "/dev/null",
        "disable spoolss": "yes",
        "idmap config * : backend": "tdb",
        "idmap config * : range": "100000-199999",
        "log level": "1",
    }
)
_SHARE = MappingProxyType({"read only": "no"})


def find_smbd() -> str | None:
    """The server's program, or None where it is not installed."""
    return shutil.which("smbd", path=_PLACES)


class SambaServer:
    """One ``smbd`` with its own port, accounts, shares and state.

    The port stays reserved between `stop` and `start`, so that a client finds the server again where it was. The
    server ends with the process that started it, whatever ends that one.

    Args:
        directory: For everything that it keeps.
        release: Where debootstrap has put another Debian release, whose smbd it is to be; see `samba_release`.
        global_settings: For its smb.conf.
        share_settings: Likewise, for the default share.

    Attributes:
        port: On 127.0.0.1.
        user: The account that owns the default share: the Unix user who runs the tests.
        password: Its password: random, and recognisable in a log that should not have it.
        share: The name of the default share.
        root: The directory that the default share exports.
        log: What smbd says.
        netbios_name: What it calls itself, and the domain of its own accounts.
    """

    def __init__(
        self,
        directory: Path,
        *,
        release: Path | None = None,
        global_settings: Mapping[str, str] = MappingProxyType({}),
        share_settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.directory = directory
        self._release = release
        self.user = "lab"
        self.password = _new_password()
        self.share = "lab"
        self.root = directory / "lab"
        self.log = directory / "log"
        self._reservation = socket.socket()
        # A socket that is bound but does not listen keeps others off the port, though not smbd, which reuses addresses.
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind((HOST, 0))
        self.port: int = self._reservation.getsockname()[1]
        self._close = weakref.finalize(self, self._reservation.close)
        self._global = dict(_GLOBAL)
        # Samba makes its ServerGuid of this name: a later server on the same port would be taken for this one.
        self.netbios_name = f"LAB-{secrets.token_hex(4)}".upper()
        self._global["netbios name"] = self.netbios_name
        for name in ("private dir", "lock directory", "state directory", "cache directory", "pid directory"):
            self._global[name] = str(directory / name.split()[0])
        self._global["log file"] = str(directory / "log.smbd")  # for its folder of core dumps; it logs to ours
        self._global["ncalrpc dir"] = str(directory / "ncalrpc")
        self._global["passdb backend"] = f"tdbsam:{directory / 'private' / 'passdb.tdb'}"
        self._global["username map"] = str(directory / "users")
        self._global["smb ports"] = str(self.port)
        self._global.update(global_settings)
        self._shares: dict[str, dict[str, str]] = {
            self.share: {"path": str(self.root), **_SHARE, **share_settings},
        }
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._close()

    def start(self) -> None:
        """Starts smbd and returns when it accepts connections.

        Raises:
            RuntimeError: It is not installed, it ended, or it does not listen; the message has its log.
        """
        if self._process is not None:
            raise RuntimeError("this server is running already")
        program = self._program("smbd")
        if not self._conf.exists():
            self._set_up()
        options = ["--foreground", "--no-process-group", "--debug-stdout", "--configfile", str(self._conf)]
        with self.log.open("ab") as log:
            # smbd ends when its standard input does, so it cannot outlive us. In a session of its own, one signal
            # reaches all of its processes and none of ours.
            self._process = subprocess.Popen(
                [*program, *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                ended = self._process.poll()
                self.kill()
                what = "does not listen" if ended is None else f"ended with status {ended}"
                raise RuntimeError(f"smbd {what}; its log:\n{self.log_text()}")
            time.sleep(0.001)

    def stop(self) -> None:
        """Ends the server in order, as an administrator would; its clients lose their connections."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends all processes of the server with SIGKILL: nothing is tidied up or flushed."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops the server and starts it again, on the same port and with the same data."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        deadline = time.monotonic() + PATIENCE
        signal_group(process.pid, number)
        while process.poll() is None or members(process.pid):
            if number is not signal.SIGKILL and time.monotonic() > deadline:
                number = signal.SIGKILL
                signal_group(process.pid, number)
            if number is signal.SIGKILL and process.poll() is not None:
                # A process that was being forked while the signal went round has missed it.
                signal_group(process.pid, number)
            time.sleep(0.001)
        assert process.stdin is not None
        process.stdin.close()

    def _listens(self) -> bool:
        # Whether *this* smbd listens. Connecting would tell as well, and leave behind a process that serves nobody.
        assert self._process is not None
        listening = {inode for state, inode in _sockets(self.port) if state == _LISTEN}
        return bool(listening & _socket_inodes(self._process.pid))

    # Configuration and accounts

    def conf_text(self) -> str:
        """The smb.conf as it stands."""
        sections = {"global": self._global, **self._shares}
        return "\n".join(
            "\n".join([f"[{name}]", *(f"    {key} = {value}" for key, value in settings.items()), ""])
            for name, settings in sections.items()
        )

    def log_text(self) -> str:
        """What smbd has said so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def add_share(self, name: str, path: Path, **settings: str) -> None:
        """Adds a share, or replaces one; connections that are made from now on see it.

        Args:
            name: The share.
            path: The directory; it is made where it is missing.
            settings: As in smb.conf, an underscore for each space: ``read_only="yes"``. For a file system that
                the test has mounted: restart the server, as one of another release sees only what was mounted before
                it; and unmount it when the server has stopped, or lazily; clients stand in it.
        """
        path.mkdir(parents=True, exist_ok=True)
        own = {key.replace("_", " "): value for key, value in settings.items()}
        self._shares[name] = {"path": str(path), **_SHARE, **own}
        if self._conf.exists():
            self._write_conf()

    def change_global(self, **settings: str) -> None:
        """Changes settings of the whole server, which is started again: it does not look at them for each connection.

        Args:
            settings: As for `add_share`.
        """
        self._global.update({key.replace("_", " "): value for key, value in settings.items()})
        if self._conf.exists():
            self._write_conf()
        if self._process is not None:
            self.restart()

    def add_account(self, user: str, unix_user: str = "daemon") -> dict[str, str]:
        """Adds an account that acts as another Unix user, which takes root's rights; its options are returned.

        Any name does for ``user``. A ``unix_user`` who is not the owner of ``root`` may read there and not write.
        Samba's guest, ``nobody``, cannot have a password.
        """
        if not self._conf.exists():
            self._set_up()
        password = _new_password()
        self._store_account(user, unix_user, password)
        return {"username": user, "password": password}

    @property
    def _conf(self) -> Path:
        return self.directory / "smb.conf"

    def _set_up(self) -> None:
        for name in ("private", "lock", "state", "cache", "pid", "ncalrpc", "lab"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        # Other accounts than the owner's come through here, whatever the umask.
        self.directory.chmod(0o755)
        self.root.chmod(0o755)
        self._write_conf()
        self._store_account(self.user, pwd.getpwuid(os.geteuid()).pw_name, self.password)

    def _write_conf(self) -> None:
        written = self._conf.with_suffix(".new")
        written.write_text(self.conf_text())
        written.replace(self._conf)  # smbd reads the file for each new connection and must not find half of it

    def _store_account(self, user: str, unix_user: str, password: str) -> None:
        with (self.directory / "users").open("a") as users:
            users.write(f"!{unix_user} = {user}\n")
        program = self._program("pdbedit")  # smbpasswd does the same, for root alone
        result = subprocess.run(
            [*program, "-s", str(self._conf), "-a", "-t", "-u", unix_user],
            input=f"{password}\n{password}\n",
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"pdbedit: {result.stdout}{result.stderr}")

    @property
    def version(self) -> tuple[int, int]:
        """Which Samba it is; 4.22 is the first that refuses to replace a file that somebody has open."""
        said = subprocess.run([*self._program("smbd"), "--version"], capture_output=True, text=True, check=True).stdout
        major, minor = said.split()[1].split(".")[:2]
        return int(major), int(minor)

    def _program(self, name: str) -> list[str]:
        if self._release is not None:
            return inside(self._release, name)
        program = shutil.which(name, path=_PLACES)
        if program is None:
            raise RuntimeError(f"{name} is not installed; Debian's packages are samba and samba-common-bin")
        return [program]

    # What a client is given

    @property
    def options(self) -> dict[str, str]:
        """The account, as options of a store."""
        return {"username": self.user, "password": self.password}

    def url(
        self,
        *segments: str,
        user: bool | str = True,
        password: bool | str = False,
        share: str | None = None,
        port: int | None = None,
    ) -> str:
        """The URL of a folder of the server.

        Args:
            segments: Names below the share.
            user: True for ``user``, False for none, or another one.
            password: Likewise.
            share: Another share than the default one.
            port: That of a proxy before the server.
        """
        name = self.user if user is True else user or ""
        secret = self.password if password is True else password or ""
        account = (quote(name, safe="") + (f":{quote(secret, safe='')}" if password else "") + "@") if name else ""
        path = "/".join(quote(segment, safe="") for segment in (share or self.share, *segments))
        return f"smb://{account}{HOST}:{port or self.port}/{path}"

    # Its processes

    def client_pids(self) -> list[int]:
        """The processes that serve a client now: the children that have an established connection.

        Samba lets one process serve all connections that have the same client GUID.
        """
        if self._process is None:
            return []
        established = self.established()
        return [pid for pid in self._children() if established & _socket_inodes(pid)]

    def kill_client(self, pid: int) -> None:
        """Kills one process that serves a client, and returns when it is gone: the client's connections are lost."""
        if pid not in self._children():
            raise ValueError(f"{pid} is not a process that serves a client")
        inodes = _socket_inodes(pid)
        os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        # A thread that it has for input and output may keep its sockets open for a moment longer than the process.
        while pid in members(self._process.pid) or inodes & self.established():
            time.sleep(0.001)

    def established(self) -> set[int]:
        """The inodes of its sockets that a client is connected to."""
        return {inode for state, inode in _sockets(self.port) if state == _ESTABLISHED}

    def holder_pids(self, path: Path, *, locked: bool = False) -> list[int]:
        """The processes that have a file or folder open.

        Args:
            path: It need not exist any more at the end of a test: then nobody holds it.
            locked: Only those that hold a byte-range lock on it, of a process or of an open file description.
        """
        try:
            found = path.stat()
        except FileNotFoundError:
            return []
        return [pid for pid in self._children() if _holds(pid, found, locked=locked)]

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        return [pid for pid in members(self._process.pid) if pid != self._process.pid]


def _new_password() -> str:
    return f"secret-{secrets.token_hex(8)}"


def _environment() -> dict[str, str]:
    # Samba's own databases need not survive a power cut. What clients ask it to flush it still flushes.
    return {**os.environ, "TDB_NO_FSYNC": "1"}


def _sockets(port: int) -> Iterator[tuple[str, int]]:
    """State and inode of each TCP socket on this local port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].rpartition(":")[2], 16) == port:
            yield words[3], int(words[9])


def _descriptors(pid: int) -> Iterator[tuple[str, os.stat_result]]:
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    for name in names:
        try:
            yield name, os.stat(f"{directory}/{name}")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def _socket_inodes(pid: int) -> set[int]:
    return {found.st_ino for _, found in _descriptors(pid) if stat.S_ISSOCK(found.st_mode)}


def _holds(pid: int, file: os.stat_result, *, locked: bool) -> bool:
    for name, found in _descriptors(pid):
        if not os.path.samestat(found, file):
            continue
        if not locked:
            return True
        try:
            information = Path(f"/proc/{pid}/fdinfo/{name}").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # /proc/locks would do for locks of processes, but gives no process for those of open file descriptions.
        if any(kind in line for line in information.splitlines() if line.startswith("lock:") for kind in _RANGES):
            return True
    return False


_RANGES = (" POSIX ", " OFDLCK ")
