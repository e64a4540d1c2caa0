"""A real SSH server for tests: OpenSSH's ``sshd`` on loopback, with everything it keeps below one directory.

It listens on two ports: on one, its account has a shell; on the other, it has SFTP and nothing else
(``ForceCommand internal-sftp``).
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import pytest
from conftest import lacking
from wire_proxy import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wire_proxy import Direction

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds that a start may take on a machine that is busy with other tests
PASSPHRASE = "made-up-Passphrase-4711"

_WHERE = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

_SETTINGS = MappingProxyType(
    {
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "yes",
        "PrintMotd": "no",
        "Subsystem": "sftp internal-sftp",
        "MaxStartups": "200:30:400",
        "ClientAliveInterval": "2",
        "ClientAliveCountMax": "2",
        "LogLevel": "VERBOSE",
    }
)


class SshFraming:
    """How a `WireProxy` reads an SSH connection: what arrives at once is one message, as all of it is encrypted.

    Whatever the server sends next is taken for the answer.
    """

    def __init__(self, direction: Direction) -> None:
        del direction

    def length(self, incoming: bytearray) -> int:
        return len(incoming)

    def parse(self, data: bytes) -> Message:
        return Message(data, (f"({len(data)} bytes)",), frozenset({0}))


def find_sshd() -> str | None:
    """The server's program, or None where it is not installed."""
    return shutil.which("sshd", path=_WHERE)


class SshServer:
    """One ``sshd`` with its own ports, keys and settings.

    Args:
        directory: For everything that it keeps; every account may enter it.
        settings: For its sshd_config, beside or instead of the usual ones; an empty value takes one away.

    Attributes:
        port: With a shell, on 127.0.0.1.
        bare_port: Without one.
        root: A folder for documents.
        log: What sshd says.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self.directory = directory
        self.user = getpass.getuser()
        self.root = directory / "lab"
        self.root.mkdir(exist_ok=True)
        self.log = directory / "log"
        self._reservations = [_reserved() for _ in range(2)]
        self.port, self.bare_port = (each.getsockname()[1] for each in self._reservations)
        self._settings = {**_SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("host", "user"):
            self.make_key(directory / name)
        self.make_key(directory / "sealed", PASSPHRASE)
        keys = [Path(f"{directory / name}.pub").read_text() for name in ("user", "sealed")]
        (directory / "authorized_keys").write_text("".join(keys))
        (directory / "authorized_keys").chmod(0o644)
        host_key = self.host_key
        (directory / "known_hosts").write_text(
            "".join(f"[{HOST}]:{port} {host_key}\n" for port in (self.port, self.bare_port))
        )

    @staticmethod
    def make_key(path: Path, passphrase: str = "") -> None:
        """Makes a pair of keys."""
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", str(path)], check=True)

    @property
    def host_key(self) -> str:
        """The server's key, as option ``host_key`` takes it."""
        return " ".join((self.directory / "host.pub").read_text().split()[:2])

    @property
    def options(self) -> dict[str, Any]:
        """The options of a store on it."""
        return {
            "username": self.user,
            "key_file": str(self.directory / "user"),
            "known_hosts": str(self.directory / "known_hosts"),
            "ssh_config": False,
            "agent": False,
        }

    def url(self, folder: str = "", *, port: int | None = None) -> str:
        """The location of a folder below the root."""
        path = self.root / folder if folder else self.root
        return f"sftp://{HOST}:{port or self.port}{path}"

    # Life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for each in self._reservations:
            each.close()

    def start(self) -> None:
        """Starts sshd and returns when it says that it listens on both ports."""
        sshd = find_sshd()
        assert sshd is not None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # of its privilege separation
        settings = [f"{name} {value}" for name, value in self._settings.items() if value]
        (self.directory / "sshd_config").write_text(
            "\n".join(
                [
                    f"ListenAddress {HOST}:{self.port}",
                    f"ListenAddress {HOST}:{self.bare_port}",
                    f"HostKey {self.directory / 'host'}",
                    f"PidFile {self.directory / 'pid'}",
                    f"AuthorizedKeysFile {self.directory / 'authorized_keys'}",
                    *settings,
                    f"Match LocalPort {self.bare_port}",
                    "    ForceCommand internal-sftp",
                    "",
                ]
            )
        )
        said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # It ends with the process that started it, whatever ends that one.
            self._process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(self.directory / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stderr=log,
                process_group=0,
                preexec_fn=_end_with_parent,
            )
        over = time.monotonic() + PATIENCE
        while self.log.read_bytes()[said:].count(b"Server listening on ") < 2:
            if self._process.poll() is not None or time.monotonic() > over:
                raise RuntimeError(f"sshd does not listen: {self.log.read_text(errors='replace')}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends sshd and all of its connections."""
        process, self._process = self._process, None
        if process is not None:
            for pid in _descendants(process.pid):
                _send(pid, signal.SIGKILL)
            process.kill()
            process.wait(PATIENCE)

    # Its processes

    def connection_pids(self) -> list[int]:
        """The processes that serve connections; those that they have started are not among them."""
        return [] if self._process is None else _children(self._process.pid)

    def shell_pids(self) -> list[int]:
        """The processes of the plugin on the server."""
        assert self._process is not None
        return [pid for pid in _descendants(self._process.pid) if b"\0exlab-store-" in _command_line(pid)]

    def cut(self) -> None:
        """Ends all connections at once."""
        assert self._process is not None
        for pid in _descendants(self._process.pid):
            if b"exlab-store-" not in _command_line(pid):
                _send(pid, signal.SIGKILL)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _reserved() -> socket.socket:
    # A socket that is bound but does not listen keeps others off the port, though not sshd, which reuses addresses.
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind((HOST, 0))
    return reservation


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(after[1]) == pid:
                found.append(int(entry.name))
    return found


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


@contextmanager
def running_sshd(settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[SshServer]:
    """Starts a server; not in tmp_path, which is closed to other accounts."""
    if sys.platform != "linux":
        pytest.skip("the test server is managed through /proc")
    if find_sshd() is None:
        lacking("install Debian's package openssh-server: its sshd is the server of the SFTP tests")
    with tempfile.TemporaryDirectory(prefix="exlab-store-sshd-") as directory:
        Path(directory).chmod(0o755)
        with SshServer(Path(directory), settings) as server:
            yield server


def new_folder(server: SshServer) -> Path:
    """An empty folder for documents."""
    folder = server.root / uuid.uuid4().hex
    folder.mkdir()
    return folder
