"""Each thing that may be wrong with a server, an account or a table has an error of its own, without a secret."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import lacking
from postgresql_server import ROLE, PostgresqlServer, free_port
from waiting import eventually

from exlab_store import (
    AccessDenied,
    BackendUnavailable,
    GuaranteeNotMet,
    Guarantees,
    InvalidKey,
    LocationError,
    NotSupported,
    StorageFull,
    Store,
    StoreError,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter

KEY = "folder/a.json"


def refused(kind: type[StoreError], url: str, *, match: str, hint: str = "", **options: Any) -> None:
    with pytest.raises(kind, match=match) as caught, open_store(url, retry=None, **options):
        pass
    assert type(caught.value) is kind
    assert caught.value.hint
    assert hint in caught.value.hint
    assert str(options.get("password")) not in str(caught.value)
    assert caught.value.location


def test_a_wrong_password_is_access_denied(postgresql: PostgresqlServer) -> None:
    options = postgresql.options() | {"password": "kit-Wrong-4711"}
    refused(AccessDenied, postgresql.url(), match="refuses the account.*password", hint="password", **options)


def test_a_missing_password_is_access_denied(postgresql: PostgresqlServer) -> None:
    options = postgresql.options(passfile="/dev/null")
    del options["password"]
    refused(AccessDenied, postgresql.url(), match="no password", **options)


@pytest.mark.skipif(os.name == "nt", reason="about pipes in the file system")
@pytest.mark.parametrize("option", ["sslrootcert", "sslcert", "sslkey"])
def test_a_pipe_in_the_place_of_a_certificate_holds_nobody_up(tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    options = {option: str(tmp_path / "pipe")}
    refused(LocationError, "postgresql://nobody@127.0.0.1:1/lab", match=f"`{option}`", hint="another", **options)


def test_an_unknown_role_is_access_denied(postgresql: PostgresqlServer) -> None:
    refused(AccessDenied, postgresql.url(user="nobody"), match="refuses the account", **postgresql.options())


def test_a_missing_database_is_a_wrong_location(postgresql: PostgresqlServer) -> None:
    url = postgresql.url(database="nowhere")
    refused(LocationError, url, match='"nowhere" does not exist', hint="createdb", **postgresql.options())


def test_a_missing_table_is_a_wrong_location_and_reading_makes_none(postgresql: PostgresqlServer) -> None:
    options = postgresql.options()
    refused(LocationError, postgresql.url(), match="no table public.t_", hint="exlab-store init", **options)
    with open_store(postgresql.url(), create=True, **options) as store:
        assert not store.exists(KEY)
        assert store.list_keys() == []
        assert store.list_folder() is not None
        refused(LocationError, postgresql.url(), match="no table", **options)
        store.lock(KEY).release()
    with open_store(postgresql.url(), **options) as store:
        store.atomic_write(KEY, b"1")


def test_a_table_of_another_program_is_refused(postgresql: PostgresqlServer) -> None:
    options = postgresql.options()
    postgresql.execute(f"create table {options['table']} (id int)")
    refused(LocationError, postgresql.url(), match="is not one of exlab-store", hint="table", **options)


def test_a_missing_schema_is_a_wrong_location(postgresql: PostgresqlServer) -> None:
    options = postgresql.options(schema="nowhere")
    with (
        open_store(postgresql.url(), create=True, **options) as store,
        pytest.raises(LocationError, match="no schema 'nowhere'"),
    ):
        store.atomic_write(KEY, b"1")


def test_a_table_that_goes_away_is_said_and_is_found_again(postgresql: PostgresqlServer) -> None:
    options = postgresql.options()
    with open_store(postgresql.url(), create=True, **options) as store:
        store.atomic_write(KEY, b"1")
    with open_store(postgresql.url(), retry=None, **options) as store:
        postgresql.execute(f"alter table {options['table']} rename to away_{options['table']}")
        for operate in (lambda: store.read_snapshot(KEY), lambda: store.atomic_write(KEY, b"2"), store.list_keys):
            with pytest.raises(BackendUnavailable, match="table of the documents is gone"):
                operate()
        postgresql.execute(f"alter table away_{options['table']} rename to {options['table']}")
        store.atomic_write(KEY, b"3")
        assert store.read_snapshot(KEY).data == b"3"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgresql://server", "names a database"),
        ("postgresql://server/lab/a.lock", "not a valid folder"),
    ],
)
def test_a_location_that_cannot_be_meant_is_refused(url: str, match: str) -> None:
    refused(LocationError, url, match=match)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tabel": "x"}, "no option 'tabel'"),
        ({"table": "a b"}, "table"),
        ({"timeout": 0}, "timeout"),
        ({"sslmode": "verify"}, "sslmode"),
        ({"port": 70000}, "port"),
        ({"max_connections": 1}, "max_connections"),
    ],
)
def test_an_option_that_is_wrong_is_refused(options: dict[str, Any], match: str) -> None:
    refused(LocationError, "postgresql://server/lab", match=match, **options)


def test_what_is_given_twice_is_refused() -> None:
    refused(LocationError, "postgresql://lab@server/lab", match="username is in the URL", username="lab")


def test_a_server_that_is_away_is_unavailable(postgresql: PostgresqlServer) -> None:
    url = postgresql.url(port=free_port())
    refused(BackendUnavailable, url, match="cannot be reached", **postgresql.options(connect_timeout=5.0))


def test_a_role_that_may_only_read_reads_and_is_told_so(postgresql: PostgresqlServer) -> None:
    options, reader = postgresql.options(), f"r_{secrets.token_hex(4)}"
    with open_store(postgresql.url(), create=True, **options) as store:
        store.atomic_write(KEY, b"1")
    postgresql.execute(f"create role {reader} login password '{postgresql.password}'")
    refused_all = ["permission denied", "AccessDenied"]
    with open_store(postgresql.url(user=reader), **options) as store, pytest.raises(AccessDenied, match=refused_all[0]):
        store.read_snapshot(KEY)
    postgresql.execute(f"grant select on {options['table']} to {reader}")
    with open_store(postgresql.url(user=reader), **options) as store:
        assert store.read_snapshot(KEY).data == b"1"
        for operate in (
            lambda: store.atomic_write(KEY, b"2"),
            lambda: store.lock(KEY),
            lambda: store.delete(KEY),
            lambda: store.update(KEY, lambda _: b"2"),
        ):
            with pytest.raises(AccessDenied, match="permission denied"):
                operate()


def test_a_role_whose_transactions_are_read_only_is_told_so(postgresql: PostgresqlServer) -> None:
    options, reader = postgresql.options(), f"r_{secrets.token_hex(4)}"
    with open_store(postgresql.url(), create=True, **options) as store:
        store.atomic_write(KEY, b"1")
    postgresql.execute(f"create role {reader} login superuser password '{postgresql.password}'")
    postgresql.execute(f"alter role {reader} set default_transaction_read_only = on")
    with open_store(postgresql.url(user=reader), **options) as store:
        assert store.read_snapshot(KEY).data == b"1"
        with pytest.raises(AccessDenied, match="read-only transaction"):
            store.atomic_write(KEY, b"2")


def test_a_database_of_another_encoding_is_refused(postgresql: PostgresqlServer) -> None:
    with suppress(Exception):
        postgresql.execute("create database latin encoding 'LATIN1' template template0", database="postgres")
    url = postgresql.url(database="latin")
    refused(LocationError, url, match="encoding LATIN1", hint="UTF8", **postgresql.options())


def test_a_document_that_is_too_big_is_refused_and_the_stored_one_stays(postgresql: PostgresqlServer) -> None:
    with open_store(postgresql.url(), create=True, **postgresql.options()) as store:
        store.atomic_write(KEY, b"1")
        with pytest.raises(InvalidKey):
            store.atomic_write(f"{KEY}/below", b"1")
        with pytest.raises(InvalidKey):
            store.atomic_write("folder", b"1")
        assert store.list_keys() == [KEY]


# Settings of the server


@pytest.mark.parametrize(
    ("settings", "durable"),
    [
        ({"fsync": "off"}, False),
        ({"full_page_writes": "off"}, False),
        ({"synchronous_commit": "off"}, False),
        ({"synchronous_commit": "local"}, True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_durable_is_claimed_by_what_the_server_says(
    settings: dict[str, str], durable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with PostgresqlServer(settings) as server:
        options = server.options()
        with open_store(server.url(), create=True, **options) as store:
            assert store.guarantees.durable is durable
            store.atomic_write(KEY, b"1")
        if not durable:
            (name,) = settings
            assert f"durable is not claimed: {name} = off" in caplog.text
            with pytest.raises(GuaranteeNotMet, match="durable"):
                open_store(server.url(), require=Guarantees.at_least(durable=True), **options)


def test_an_unlogged_table_is_not_durable(postgresql: PostgresqlServer) -> None:
    options = postgresql.options()
    with open_store(postgresql.url(), create=True, **options) as store:
        store.atomic_write(KEY, b"1")
    postgresql.execute(f"alter table {options['table']} set unlogged")
    with open_store(postgresql.url(), connect_timeout=9.0, **options) as store:
        assert not store.guarantees.durable


def test_a_full_disk_is_said_and_the_stored_document_stays(needs_root: None, tmp_path: Path) -> None:
    disk = Path(f"/mnt/exlab-store-{secrets.token_hex(4)}")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", disk], check=True)
    try:
        settings = {"max_wal_size": "32MB", "min_wal_size": "32MB", "wal_recycle": "off"}
        with (
            PostgresqlServer(settings, disk / "data") as server,
            open_store(server.url(), create=True, **server.options()) as store,
        ):
            store.atomic_write(KEY, b"1")
            ballast = server.data / "ballast"
            ballast.write_bytes(b"x" * (_free(disk) - (6 << 20)))
            with pytest.raises(StorageFull):
                write_until_full(store)
            ballast.unlink()
            assert len(store.read_snapshot(KEY).data) in {1, 4 << 20}
            store.atomic_write(KEY, b"2")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        disk.rmdir()


def write_until_full(store: Store) -> None:
    for _ in range(8):
        store.atomic_write(KEY, os.urandom(4 << 20))


def _free(path: Path) -> int:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("right", "wrong"):
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / f"{name}.key",
                "-out", folder / f"{name}.crt",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


@contextmanager
def secured(certificates: Path) -> Iterator[PostgresqlServer]:
    server = PostgresqlServer({"ssl": "on"})
    try:
        server.initialise()
        for suffix, name in (("key", "server.key"), ("crt", "server.crt")):
            path = server.data / name
            path.write_bytes((certificates / f"right.{suffix}").read_bytes())
            path.chmod(0o600)
            if os.geteuid() == 0:
                owner = server.data.stat()
                os.chown(path, owner.st_uid, owner.st_gid)
        server.start()
        server.execute("create database lab", database="postgres")
        yield server
    finally:
        server.close()


def test_a_certificate_that_is_not_the_right_one_is_refused(certificates: Path) -> None:
    with secured(certificates) as server:
        options = server.options(sslmode="verify-full")
        with open_store(server.url(), create=True, sslrootcert=str(certificates / "right.crt"), **options) as store:
            store.atomic_write(KEY, b"1")
        refused(
            NotSupported,
            server.url(),
            match="no safe connection.*certificate",
            hint="sslrootcert",
            sslrootcert=str(certificates / "wrong.crt"),
            **options,
        )


def test_a_server_without_tls_is_refused_where_that_is_wanted(postgresql: PostgresqlServer) -> None:
    refused(NotSupported, postgresql.url(), match="does not support SSL", **postgresql.options(sslmode="require"))


# What stands before a server, or behind it


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_connection_pool_before_the_server_is_refused(
    postgresql: PostgresqlServer, open_folder: Path, mode: str
) -> None:
    with open_store(postgresql.url(), create=True, **postgresql.options()) as store:
        store.atomic_write(KEY, b"1")
    with _pgbouncer(postgresql, open_folder, mode) as port:
        refused(
            NotSupported, postgresql.url(port=port), match="connection pool", hint="own address", **postgresql.options()
        )


@contextmanager
def _pgbouncer(server: PostgresqlServer, folder: Path, mode: str) -> Iterator[int]:
    program = next((path for path in ("/usr/sbin/pgbouncer", "/usr/bin/pgbouncer") if os.path.exists(path)), None)
    if program is None:
        lacking("install pgbouncer to see that it is refused: apt-get install pgbouncer")
        raise AssertionError
    port = free_port()
    (folder / "users").write_text(f'"{ROLE}" "{server.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = {mode}\n"
        "unix_socket_dir =\n"
    )
    account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    process = subprocess.Popen([*account, program, folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, cwd="/")
    try:
        import psycopg

        def answers() -> bool:
            with suppress(psycopg.OperationalError):
                psycopg.connect(
                    host="127.0.0.1", port=port, user=ROLE, password=server.password, dbname="lab", connect_timeout=5
                ).close()
                return True
            return False

        eventually(answers)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_a_read_replica_reads_and_refuses_everything_else(postgresql: PostgresqlServer) -> None:
    with PostgresqlServer({"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        options = primary.options()
        with open_store(primary.url(), create=True, **options) as store:
            store.atomic_write(KEY, b"1")
            with primary.replica() as replica, open_store(replica.url(), retry=None, **options) as copy:
                assert copy.guarantees == Guarantees(atomic_replace=True, lists=True, watch="polled")
                eventually(lambda: copy.read_snapshot(KEY).data == b"1")
                with pytest.raises(AccessDenied, match="read replica"):
                    copy.atomic_write(KEY, b"2")
                with pytest.raises(NotSupported):
                    copy.lock(KEY)
                store.atomic_write(KEY, b"2")
                eventually(lambda: copy.read_snapshot(KEY).data == b"2")


# What is checked at the commit


def test_a_commit_that_is_refused_is_no_acknowledged_write_and_no_answer_to_what_follows(
    postgresql: PostgresqlServer,
) -> None:
    options = postgresql.options()
    table = options["table"]
    with open_store(postgresql.url(), create=True, retry=None, **options) as store:
        for key in ("a.json", "b.json"):
            store.atomic_write(key, key.encode())
        postgresql.execute(
            f"create function {table}_refuse() returns trigger language plpgsql as "
            "$$ begin if new.data = 'new'::bytea then raise exception 'not at the commit'; end if; return null; end $$"
        )
        postgresql.execute(
            f"create constraint trigger refuse after insert or update on {table} "
            f"deferrable initially deferred for each row execute function {table}_refuse()"
        )
        for operate in (
            lambda: store.atomic_write("a.json", b"new"),
            lambda: store.atomic_write("c.json", b"new"),
            lambda: store.update("a.json", lambda _: b"new"),
        ):
            with pytest.raises(BackendUnavailable, match="not at the commit"):
                operate()
            assert [store.read_snapshot(key).data for key in ("a.json", "b.json")] == [b"a.json", b"b.json"]


# Several hosts


def test_a_host_that_is_silent_does_not_keep_the_next_from_being_asked(postgresql: PostgresqlServer) -> None:
    options = postgresql.options(port=postgresql.port, username=ROLE, host="127.0.0.2,127.0.0.1", connect_timeout=4.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.2", postgresql.port))
        silent.listen()
        with open_store("postgresql:///lab", create=True, retry=None, **options) as store:
            store.atomic_write(KEY, b"1")


def test_what_each_of_several_hosts_has_said_is_told(postgresql: PostgresqlServer) -> None:
    options = postgresql.options(username=ROLE, host="127.0.0.2,127.0.0.3", connect_timeout=4.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.2", 0))
        silent.listen()
        with pytest.raises(BackendUnavailable) as caught:
            open_store("postgresql:///lab", retry=None, port=silent.getsockname()[1], **options)
    assert "127.0.0.2: the server does not answer" in caught.value.message
    assert "127.0.0.3: the server cannot be reached" in caught.value.message


# Sessions of others


def test_a_role_that_does_not_see_whose_session_has_a_number_does_not_end_it(postgresql: PostgresqlServer) -> None:
    """A process number may be used again; a role with pg_signal_backend could end the new session."""
    import psycopg
    from exlab_store_postgresql.outcome import _END

    role = f"signals_{secrets.token_hex(4)}"
    postgresql.execute(f"create role {role} login password 'svc' in role pg_signal_backend")
    postgresql.execute(f"create role other_{role} login password 'svc'")

    def connected(user: str) -> Any:
        return psycopg.connect(
            host="127.0.0.1", port=postgresql.port, user=user, password="svc", dbname="lab", autocommit=True
        )

    with connected(f"other_{role}") as other, connected(role) as mine:
        found = psycopg.RawCursor(mine).execute(_END.text, [other.info.backend_pid, 1, 1000]).fetchall()
        assert found == [(None,)]
        assert other.execute("select 1").fetchall() == [(1,)]
