"""The options of a PostgreSQL location, their defaults, and what libpq is told of them."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from exlab_store.backend import LocationError, Secret, ensure_no_mode, is_key, mode_at, without_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store.backend import Location

__all__ = ["PostgresqlOptions", "options_of"]

# Short enough for what is put behind it; PostgreSQL cuts a name after 63 bytes, in silence.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_PASSED_ON: Final = ("sslmode", "sslrootcert", "sslcert", "sslkey", "passfile", "target_session_attrs")


class PostgresqlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a PostgreSQL location. What is None is what libpq makes of its environment (``PGSSLMODE``, ...).

    Attributes:
        database: The database's name.
        host: The server's name or address, or the folder of its Unix socket; None for libpq's own (``PGHOST``).
        port: Its port; None for libpq's own, 5432.
        username: The role; None for libpq's own, the account's name.
        password: None for a password file (``~/.pgpass``), Kerberos, a certificate, or none at all.
        sslmode: ``verify-full`` checks the server's certificate and name; libpq's own, ``prefer``, checks neither.
        sslrootcert: The file of the authority that has signed the server's certificate, or ``system``.
        sslcert: The file of the client's certificate.
        sslkey: The file of its key.
        passfile: The password file.
        target_session_attrs: Of several hosts, which one is taken, as ``read-write``.
        schema: The schema that has the table.
        table: The table's name.
        timeout: Seconds in which an operation comes back, whatever the network does.
        connect_timeout: Seconds in which a connection must be made.
        idle_timeout: Seconds after which a connection that nobody uses is not used again.
        max_connections: Connections that the stores of this process have to one server at most. A lock that is held
            or waited for has one of its own; two are kept for everything else.
    """

    database: str
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: Secret | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    passfile: str | None = None
    target_session_attrs: str | None = None
    schema: str = "public"
    table: str = "exlab_documents"
    timeout: float = 30.0
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    max_connections: int = 20

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError("`port` must be between 1 and 65535")
        for name in ("timeout", "connect_timeout", "idle_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be a positive number of seconds")
        for name in ("schema", "table"):
            if not _NAME.fullmatch(getattr(self, name)):
                raise ValueError(f"`{name}` must be up to 40 letters, digits and underscores")
        if self.max_connections < 3:
            raise ValueError("`max_connections` must be at least 3")
        if not self.database or "\0" in self.database:
            raise ValueError("the database has no name")

    @property
    def statement_timeout(self) -> float:
        """Seconds for one exchange with the server: what is left then is for finding out whether it happened."""
        return self.timeout / 2

    def parameters(self) -> dict[str, Any]:
        """What libpq takes, without the password.

        A network that is dead, or a machine that is gone, ends the connection after 19 s without data, and after the
        option ``timeout`` with data that nobody acknowledges.
        """
        found: dict[str, Any] = {
            "dbname": self.database,
            "application_name": "exlab-store",
            "client_encoding": "UTF8",
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": max(1, int(self.timeout * 1000)),
        }
        given: dict[str, Any] = {"host": self.host, "port": self.port, "user": self.username}
        given |= {name: getattr(self, name) for name in _PASSED_ON}
        return found | {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        return f"PostgresqlOptions({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # What a struct has by itself would show the password.
        return [(name, getattr(self, name)) for name in ("host", "port", "username", "database", "schema", "table")]


@without_variables
def options_of(location: Location, given: Mapping[str, object]) -> tuple[PostgresqlOptions, str]:
    """Reads a location and the options that came with it.

    Args:
        location: ``postgresql://[user[:password]@][host][:port]/database[/folder]``.
        given: The fields of `PostgresqlOptions` but ``database``.

    Returns:
        The options, and the folder of documents: empty text for the whole table.

    Raises:
        LocationError: There is no database in it, the folder is no valid key, or an option is not known or wrong.
        NotSupported: A mode is asked for.
    """
    database, _, folder = location.path.strip("/").partition("/")
    if not database:
        raise LocationError(
            "a PostgreSQL location names a database", hint="Write postgresql://user@server/database/folder."
        )
    if folder and not is_key(folder):
        raise LocationError("what follows the database is not a valid folder")
    of_location = {
        "host": location.host.strip("[]") or None,
        "port": location.port,
        "username": location.username,
        "password": location.secret,
    }
    of_location = {name: value for name, value in of_location.items() if value is not None}
    twice = sorted(of_location.keys() & given.keys())
    if twice:
        raise LocationError(f"{twice[0]} is in the URL and among the options", hint="Give it once.")
    ensure_no_mode(given, "a database has no file permissions", "Leave mode out, and grant rights on the table.")
    merged: dict[str, Any] = {**given, **of_location, "database": database}
    password = merged.get("password")
    if isinstance(password, str):
        merged["password"] = Secret(password)
    unknown = sorted(given.keys() - set(PostgresqlOptions.__struct_fields__) | given.keys() & {"database"})
    if unknown:
        raise LocationError(
            f"postgresql: has no option {unknown[0]!r}",
            hint=f"It has {', '.join(name for name in PostgresqlOptions.__struct_fields__ if name != 'database')}.",
        )
    secret = merged.pop("password", None)
    if secret is not None and not isinstance(secret, Secret):
        raise LocationError("the option 'password' is not text")
    try:
        options = msgspec.convert(merged, PostgresqlOptions, strict=True)
    except msgspec.ValidationError as error:
        raise LocationError(f"an option is wrong: {error}", hint="See the options of postgresql:.") from None
    _ensure_files(options)
    return msgspec.structs.replace(options, password=secret), folder


def _ensure_files(options: PostgresqlOptions) -> None:
    """Refuses pipes and folders: libpq opens them, waits for the writer of a pipe, and no deadline ends that."""
    for name in ("sslrootcert", "sslcert", "sslkey"):
        path = getattr(options, name)
        mode = mode_at(path) if path else 0
        if mode and not stat.S_ISREG(mode):
            raise LocationError(f"`{name}` is {path!r}, which is no regular file", hint="Name another file.")
