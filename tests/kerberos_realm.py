"""A real Kerberos realm for tests: MIT's KDC on loopback, with everything it keeps below one directory."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Self

from conftest import lacking
from samba_server import HOST, PATIENCE, SambaServer, find_smbd
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REALM = "SITE.TEST"
DOMAIN = "SITE"  # what Windows calls the same
SERVER = "localhost"  # the name that the file server has a key for

_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_PROGRAMS = {"krb5kdc": "krb5-kdc", "kadmin.local": "krb5-admin-server", "kinit": "krb5-user", "faketime": "faketime"}

# TCP alone, as one port is reserved: the first message over UDP would go to whoever has that port.
_KRB5_CONF = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
    {settings}
[realms]
    {realm} = {{
        kdc = {host}:{port}
    }}
[domain_realm]
    localhost = {realm}
    127.0.0.1 = {realm}
"""
# Without disable_pac, smbd 4.17 refuses the tickets of a KDC of version 1.20: STATUS_BAD_TOKEN_TYPE.
_KDC_CONF = """\
[kdcdefaults]
    kdc_listen = ""
    kdc_tcp_listen = {host}:{port}
[realms]
    {realm} = {{
        database_name = {directory}/principal
        key_stash_file = {directory}/stash
        acl_file = {directory}/acl
        disable_pac = true
        max_life = 10h
        default_principal_flags = +preauth
        supported_enctypes = aes256-cts:normal
    }}
[logging]
    kdc = FILE:{directory}/kdc.log
"""


def lacking_programs() -> list[str]:
    """The Debian packages of what is not installed."""
    return [package for program, package in _PROGRAMS.items() if shutil.which(program, path=_PLACES) is None]


class KerberosRealm:
    """One KDC with its own port and accounts.

    Attributes:
        user: A principal's name, without the realm.
        principal: The same, with the realm.
        password: Its password.
        ticket: The file that keeps the user's ticket, named by KRB5CCNAME.
        environment: What a client's process needs to find the realm, and the ticket if there is one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.user = "alice"
        self.principal = f"{self.user}@{REALM}"
        self.password = f"secret-{secrets.token_hex(8)}"
        self.ticket = directory / "ticket"
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind((HOST, 0))
        self.port: int = self._reservation.getsockname()[1]
        self._close = weakref.finalize(self, self._reservation.close)
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "KRB5_CONFIG": str(directory / "krb5.conf"),
            "KRB5CCNAME": f"FILE:{self.ticket}",
        }

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.configure()
        (self.directory / "kdc.conf").write_text(
            _KDC_CONF.format(realm=REALM, host=HOST, port=self.port, directory=self.directory)
        )
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", secrets.token_hex(8))
        self._administer(
            f"addprinc -pw {self.password} {self.user}",
            f"addprinc -randkey cifs/{SERVER}",
            f"ktadd -norandkey -k {self.server_keytab} cifs/{SERVER}",
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._close()

    def configure(self, *, port: int | None = None, **settings: str) -> None:
        """Writes what clients read.

        Args:
            port: Of the KDC, if not its own.
            settings: Of the section libdefaults.
        """
        (self.directory / "krb5.conf").write_text(
            _KRB5_CONF.format(
                realm=REALM,
                host=HOST,
                port=port or self.port,
                settings="\n    ".join(f"{name} = {value}" for name, value in settings.items()),
            )
        )

    def start(self, clock: str | None = None) -> None:
        """Starts the KDC, and returns when it accepts connections.

        Args:
            clock: By how much its clock is wrong, as faketime wants it.

        Raises:
            RuntimeError: It does not; the message has its log.
        """
        wrong = [_program("faketime"), "-f", clock] if clock else []
        self._process = subprocess.Popen(
            [*wrong, _program("krb5kdc"), "-n", "-r", REALM, "-P", str(self.directory / "kdc.pid")],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            if self._is_listening():
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"krb5kdc does not listen; its log:\n{self.log_text()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Ends the KDC; its port refuses connections then."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # faketime's child too
            process.wait(PATIENCE)
            eventually(lambda: not self._is_listening())  # faketime's child may outlive it

    def _is_listening(self) -> bool:
        with socket.socket() as asked:
            # The port is one that the system gives to clients, too: a socket may meet itself there.
            return asked.connect_ex((HOST, self.port)) == 0 and asked.getsockname() != asked.getpeername()

    def log_text(self) -> str:
        """What the KDC has said so far."""
        log = self.directory / "kdc.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def wrong_passwords(self) -> int:
        """How often the KDC was shown a wrong password; at so many it would lock an account."""
        return len(re.findall(r"AS_REQ .* PREAUTH_FAILED", self.log_text()))

    def add_user(self, name: str, password: str) -> None:
        """Adds an account."""
        self._administer(f"addprinc -pw {password} {name}")

    def administer(self, command: str) -> None:
        """Runs a command of kadmin."""
        self._administer(command)

    @property
    def server_keytab(self) -> Path:
        """The file server's key."""
        return self.directory / "server.keytab"

    def keytab(self) -> Path:
        """A file with the user's key, made when it is first asked for."""
        path = self.directory / "user.keytab"
        if not path.exists():
            self._administer(f"ktadd -norandkey -k {path} {self.user}")
        return path

    def log_in(self, lifetime: str = "1h") -> None:
        """Gets the user a ticket, as kinit does.

        Args:
            lifetime: How long it is good for.
        """
        self._run("kinit", "-l", lifetime, self.principal, text=f"{self.password}\n")

    def log_out(self) -> None:
        """Throws the ticket away."""
        self.ticket.unlink(missing_ok=True)

    def _administer(self, *commands: str) -> None:
        self._run("kadmin.local", "-r", REALM, text="".join(f"{command}\n" for command in commands))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "KRB5_KDC_PROFILE": str(self.directory / "kdc.conf")}

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        result = subprocess.run(
            [_program(program), *arguments],
            input=text,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        # kadmin.local ends with 0 whatever became of its commands.
        if result.returncode or "while" in result.stderr:
            raise RuntimeError(f"{program}: {result.stdout}{result.stderr}")


def server_of(
    realm: KerberosRealm, directory: Path, *, settings: Mapping[str, str] = MappingProxyType({})
) -> SambaServer:
    """A file server that takes the tickets of a realm, and passwords too.

    Args:
        realm: The realm; its user is the Unix user who runs the tests.
        directory: Where the server keeps what it has.
        settings: More of smb.conf's section global.
    """
    directory.mkdir(parents=True, exist_ok=True)
    users = directory / "names"
    unix_user = pwd.getpwuid(os.geteuid()).pw_name
    names = ["lab", realm.user, realm.principal, f"{REALM}\\{realm.user}", f"{DOMAIN}\\{realm.user}"]
    users.write_text("".join(f"!{unix_user} = {name}\n" for name in names))
    return SambaServer(
        directory,
        global_settings={
            "realm": REALM,
            "workgroup": DOMAIN,
            "kerberos method": "dedicated keytab",
            "dedicated keytab file": f"FILE:{realm.server_keytab}",
            "gensec:require_pac": "no",
            "username map": str(users),
            **settings,
        },
    )


@contextmanager
def client_of(realm: KerberosRealm) -> Iterator[None]:
    """Makes this process a client of the realm: Kerberos reads the environment at each use."""
    before = {name: os.environ.get(name) for name in (*realm.environment, "KRB5_CLIENT_KTNAME")}
    os.environ.update(realm.environment)
    os.environ.pop("KRB5_CLIENT_KTNAME", None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _program(name: str) -> str:
    found = shutil.which(name, path=_PLACES)
    if found is None:
        raise RuntimeError(f"{name} is not installed; Debian's packages are {', '.join(_PROGRAMS.values())}")
    return found


class Site(NamedTuple):
    """A realm and a file server in it; this process is a client."""

    realm: KerberosRealm
    server: SambaServer

    def url(self, folder: str = "", *, host: str = SERVER, port: int | None = None) -> str:
        """The location of a folder, by the name that Kerberos knows the server by."""
        return f"smb://{host}:{port or self.server.port}/{self.server.share}/{folder}".rstrip("/")


@contextmanager
def running_site(**settings: str) -> Iterator[Site]:
    """Starts a realm and a file server; not in tmp_path, which is closed to other accounts."""
    if importlib.util.find_spec("gssapi") is None or importlib.util.find_spec("krb5") is None:
        lacking("install libkrb5-dev and gcc, then pip install 'exlab-store[kerberos]': tests/run.py does the latter")
    packages = lacking_programs() + ([] if find_smbd() else ["samba"])
    if packages:
        lacking(f"install Debian's packages {' '.join(packages)}: the Kerberos tests run a KDC and a file server")
    with tempfile.TemporaryDirectory(prefix="exlab-store-kerberos-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with (
            KerberosRealm(directory / "kdc") as realm,
            client_of(realm),
            server_of(realm, directory / "server", settings=settings) as server,
        ):
            yield Site(realm, server)
