"""A PostgreSQL server of the tests, from the machine's own package: in a temporary folder, on a free port."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from conftest import lacking
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROLE, DATABASE = "lab", "lab"


def _programs() -> Path:
    """The folder of initdb and postgres; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        lacking("install PostgreSQL to test its backend: apt-get install postgresql")
        raise AssertionError
    return Path(initdb).resolve().parent


def _as_server() -> list[str]:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class PostgresqlServer:
    """A server with one database and one role, which owns it and has a password.

    Args:
        settings: Of ``postgresql.conf``.
        data: The folder of the data, for a server on a disk of its own; None for a temporary one.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, data: Path | None = None) -> None:
        self.password = secrets.token_urlsafe(12)
        self.port = free_port()
        self._programs = _programs()
        # What a flush takes is not what the tests are about.
        memory = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 2 << 30 else None
        self.directory = Path(tempfile.mkdtemp(prefix="exlab-store-postgresql-", dir=memory))
        self.directory.chmod(0o755)
        self.data = data or self.directory / "data"
        self.data.mkdir(exist_ok=True)
        self.settings = {
            "listen_addresses": "127.0.0.1", "shared_buffers": "16MB", "max_wal_size": "128MB", **(settings or {}),
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._kept: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.initialise()
            self.start()
            self.execute(f"create database {DATABASE}", database="postgres")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def initialise(self) -> None:
        password = self.directory / "password"
        password.write_text(self.password)
        password.chmod(0o644)
        self._own(self.data)
        subprocess.run(
            [
                *_as_server(), self._programs / "initdb", "-D", self.data, "-U", ROLE, "--no-locale", "-E", "UTF8",
                "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}",
            ],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")
        path.chmod(0o700)

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        settings = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_server(), self._programs / "postgres", "-D", self.data, "-p", str(self.port),
                    "-k", self.data, *settings,
                ],
                stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return self._asked("select 1", "postgres").returncode == 0

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-4000:]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: by default at once and in order (SIGINT); SIGQUIT leaves a recovery to the next start."""
        self._forget_connections()
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def crash(self) -> None:
        """Kills the server and all of its processes, as a crash of the machine would."""
        self._forget_connections()
        process, self._process = self._process, None
        assert process is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in [process.pid, *map(int, children)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait(60)
        for pid in map(int, children):  # they hold the shared memory until they have gone
            eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]

    def close(self) -> None:
        try:
            self.stop(signal.SIGQUIT)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, *folders: str, port: int | None = None, user: str | None = ROLE, database: str = DATABASE) -> str:
        """Where the database is, without the password."""
        account = f"{user}@" if user else ""
        return "/".join([f"postgresql://{account}127.0.0.1:{port or self.port}/{database}", *folders])

    def options(self, table: str | None = None, **more: Any) -> dict[str, Any]:
        """The options of a store: the password, and a table that is its own."""
        return {"password": self.password, "table": table or f"t_{secrets.token_hex(8)}", **more}

    def connection(self, database: str = DATABASE) -> Any:
        """A connection of psycopg, beside the stores'."""
        import psycopg

        return psycopg.connect(
            host=str(self.data), port=self.port, user=ROLE, dbname=database, autocommit=True, connect_timeout=10
        )

    def execute(self, statement: str, *values: object, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """What a statement returns, for the administrator."""
        with self._turn:
            connection = self._kept.pop(database, None)
            if connection is None or connection.closed:
                connection = self.connection(database)
            cursor = connection.execute(statement, values or None)
            self._kept[database] = connection
            return list(cursor.fetchall()) if cursor.description else []

    def _forget_connections(self) -> None:
        with self._turn:
            while self._kept:
                self._kept.popitem()[1].close()

    @contextmanager
    def replica(self) -> Iterator[PostgresqlServer]:
        """A hot standby, which repeats what this server does."""
        copy = PostgresqlServer()
        copy.password = self.password
        try:
            copy._own(copy.data)
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write("local replication all trust\n")
            self.execute("select pg_reload_conf()")
            subprocess.run(
                [
                    *_as_server(), self._programs / "pg_basebackup", "-h", self.data, "-p", str(self.port), "-U", ROLE,
                    "-D", copy.data, "-R", "-X", "stream", "--no-sync", "-c", "fast",
                ],
                check=True, capture_output=True, cwd="/",
            )  # fmt: skip
            copy.start()
            yield copy
        finally:
            copy.close()

    def _asked(self, statement: str, database: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                self._programs / "psql", "-h", self.data, "-p", str(self.port), "-U", ROLE, "-d", database,
                "-qtAc", statement,
            ],
            capture_output=True, check=False,
        )  # fmt: skip

    def end_clients(self, *, only: str = "true") -> int:
        """Ends the sessions of the stores; how many."""
        return len(
            self.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
                f"where application_name = 'exlab-store' and backend_type = 'client backend' and {only}"
            )
        )

    def holders(self) -> list[int]:
        """The processes of the server whose sessions hold a lock of a document."""
        return [
            pid for (pid,) in self.execute("select distinct pid from pg_locks where locktype = 'advisory' and granted")
        ]


@contextmanager
def running_postgresql(
    settings: Mapping[str, str] | None = None, data: Path | None = None
) -> Iterator[PostgresqlServer]:
    with PostgresqlServer(settings, data) as found:
        yield found
