"""Real web servers for tests: Apache and nginx with WebDAV on loopback, with all that they keep below one directory."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from conftest import lacking
from waiting import comes_to

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST: Final = "127.0.0.1"
Kind = Literal["apache", "nginx"]
KINDS: Final[tuple[Kind, ...]] = ("apache", "nginx")

_PLACES: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_PACKAGES: Final = {"apache": ("apache2", "apache2"), "nginx": ("nginx", "libnginx-mod-http-dav-ext")}
_DAV_EXT: Final = Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")
_APACHE_MODULES: Final = Path("/usr/lib/apache2/modules")
_USER, _GROUP = "nobody", "nogroup"
_PATIENCE: Final = 10.0

_APACHE: Final = """\
ServerRoot {directory}
ServerName localhost
Listen {host}:{port}
PidFile {directory}/run/pid
ErrorLog {directory}/error.log
DefaultRuntimeDir {directory}/run
{modules}
{user}
DavLockDB {directory}/run/DavLock
DocumentRoot {root}
<Directory {root}>
    Dav On
    {settings}
    AuthType Basic
    AuthName dav
    AuthUserFile {directory}/htpasswd
    Require valid-user
</Directory>
"""
_APACHE_LOADS: Final = "mpm_event authz_core authn_core authn_file authz_user auth_basic dav dav_fs".split()

_NGINX: Final = """\
load_module {module};
{user}
daemon off;
pid {directory}/run/pid;
error_log {directory}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/run/body;
    proxy_temp_path {directory}/run/proxy;
    fastcgi_temp_path {directory}/run/fastcgi;
    uwsgi_temp_path {directory}/run/uwsgi;
    scgi_temp_path {directory}/run/scgi;
    client_max_body_size 64m;
    server {{
        listen {host}:{port};
        root {root};
        auth_basic dav;
        auth_basic_user_file {directory}/htpasswd;
        location / {{
            dav_methods PUT DELETE MKCOL COPY MOVE;
            dav_ext_methods PROPFIND OPTIONS;
            create_full_put_path on;
            {settings}
        }}
    }}
}}
"""


class WebServer:
    """One server with its own port, account and folder.

    Args:
        kind: Which.
        directory: For everything that it keeps.
        settings: More lines for its configuration.

    Attributes:
        port: On 127.0.0.1.
        root: The folder that it serves.
        user: Its only account.
        password: The account's.
    """

    def __init__(self, kind: Kind, directory: Path, settings: str = "") -> None:
        self.kind = kind
        self.directory = directory
        self.root = directory / "root"
        self.user, self.password = "lab", f"pass-{secrets.token_hex(8)}"
        self._settings = settings
        self._reservation = socket.socket()
        # A socket that is bound but does not listen keeps others off the port; a server that reuses addresses gets it.
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind((HOST, 0))
        self.port: int = self._reservation.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        for folder in (self.root, directory / "run"):
            folder.mkdir()
            self.give(folder)
        hashed = subprocess.run(
            ["openssl", "passwd", "-apr1", self.password], capture_output=True, text=True, check=True
        ).stdout.strip()
        (directory / "htpasswd").write_text(f"{self.user}:{hashed}\n")
        (directory / "htpasswd").chmod(0o644)

    def give(self, path: Path) -> None:
        """Gives a file or folder to the server's account."""
        if os.geteuid() == 0:
            shutil.chown(path, _USER, _GROUP)

    def location(self, *folder: str, port: int | None = None, protocol: str = "webdav") -> str:
        """The location of a folder, with the account."""
        path = "/".join(["", *folder])
        return f"fsspec+{protocol}://{self.user}:{self.password}@{HOST}:{port or self.port}{path}"

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        is_root = os.geteuid() == 0
        if self.kind == "apache":
            configuration = self.directory / "httpd.conf"
            modules = "\n".join(f"LoadModule {name}_module {_APACHE_MODULES}/mod_{name}.so" for name in _APACHE_LOADS)
            user = f"User {_USER}\nGroup {_GROUP}" if is_root else ""
            configuration.write_text(self._filled(_APACHE, modules=modules, user=user))
            command = [_program("apache"), "-f", str(configuration), "-DFOREGROUND"]
        else:
            configuration = self.directory / "nginx.conf"
            user = f"user {_USER} {_GROUP};" if is_root else ""
            configuration.write_text(self._filled(_NGINX, module=_DAV_EXT, user=user))
            command = [_program("nginx"), "-c", str(configuration), "-e", str(self.directory / "error.log")]
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        if not comes_to(self._answers, _PATIENCE):
            said = (self.directory / "output").read_text(errors="replace")
            self.stop()
            raise RuntimeError(f"{self.kind} does not listen: {said}")

    def _filled(self, template: str, **parts: object) -> str:
        return template.format(
            directory=self.directory, host=HOST, port=self.port, root=self.root, settings=self._settings, **parts
        )

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self.directory / "output").read_text(errors="replace"))
        with socket.socket() as probe:
            # Of the two ends of a connection to a free port, both may be this one.
            return probe.connect_ex((HOST, self.port)) == 0 and probe.getsockname() != probe.getpeername()

    @property
    def pid(self) -> int:
        """Its first process, the parent of the others."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ends it and all its processes."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """Frees the port."""
        self._reservation.close()


def _program(kind: Kind) -> str:
    name, package = _PACKAGES[kind]
    found = shutil.which(name, path=_PLACES)
    if found is None or (kind == "nginx" and not _DAV_EXT.exists()):
        lacking(f"install {kind} to try WebDAV on it: apt-get install {package}")
    assert found is not None
    return found


@contextmanager
def running_web_server(kind: Kind, settings: str = "") -> Iterator[WebServer]:
    """Starts a server; not in tmp_path, which is closed to other accounts.

    Args:
        kind: Which.
        settings: More lines for its configuration.
    """
    _program(kind)
    with tempfile.TemporaryDirectory(prefix="exlab-store-web-") as directory:
        Path(directory).chmod(0o755)
        server = WebServer(kind, Path(directory), settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            server.close()
