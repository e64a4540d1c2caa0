"""The stores of a site, named in one file, ``exlab-store.toml``.

For example::

    [stores.catalogue]
    url = "smb://nas01/lab/.exlab-wizard"
    username = "svc-exlab"
    password = { keyring = "exlab-wizard", user = "nas" }
    require = { durable = true, lock_scope = "site" }
    observers = ["log"]
    options = { timeout = 10 }
"""

from __future__ import annotations

import logging
import os
import stat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import msgspec

from exlab_store.errors import ConfigError, LocationError
from exlab_store.guarantees import ConditionalWrite, Fresh, Guarantees, LockRelease, LockScope
from exlab_store.ignored import flaw_of_pattern
from exlab_store.location import Location, redacted
from exlab_store.opening.secrets import SecretSource
from exlab_store.opening.small_files import UnreadableFile, read_small_file
from exlab_store.secret import Secret, set_field, without_variables
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "FILE_NAME",
    "VARIABLE",
    "Candidate",
    "Configuration",
    "StoreEntry",
    "candidates",
    "find_configuration",
    "fingerprint",
    "named_store",
]

FILE_NAME: Final = "exlab-store.toml"
VARIABLE: Final = "EXLAB_STORE_CONFIG"
_FOLDER: Final = "exlab-store"

# A site of a thousand stores has a tenth of it.
_LARGEST: Final = 1 << 20

_log = logging.getLogger("exlab_store")


class _EntryFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # As they are written; a `StoreEntry` has a `Secret` in the place of a password in clear, and of a URL with one.
    url: str
    username: str | None = None
    password: SecretSource | str | None = None
    require: Guarantees = Guarantees()
    observers: tuple[str, ...] = ()
    ignore: tuple[str, ...] | None = None
    options: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class StoreEntry(_EntryFields, frozen=True, forbid_unknown_fields=True):
    """One store of a configuration. One with a password in clear is not pickled and not encoded.

    Attributes:
        url: A URL, or the absolute path of a local directory.
        username: The account.
        password: Where its password is kept; or, better not, the password itself.
        require: What the store must promise; opening it fails otherwise.
        observers: Names of installed observers, outermost first.
        ignore: Names of files and folders that lists leave out, instead of `exlab_store.IGNORED`.
        options: The backend's own options.
    """

    def __post_init__(self) -> None:
        parsed = Location.parse(self.url)
        if parsed.secret is not None:
            set_field(_EntryFields, "url", self, Secret(self.url))
        password = super().password
        if isinstance(password, str):
            set_field(_EntryFields, "password", self, Secret(password))
        for name in ("username", "password"):
            if getattr(self, name) in {"", Secret("")}:
                raise ValueError(f"`{name}` is empty: leave it out, or say what it is")
            if name in self.options:
                raise ValueError(f"`{name}` belongs beside `options`, not into it")
        for pattern in self.ignore or ():
            flaw = flaw_of_pattern(pattern)
            if flaw is not None:
                raise ValueError(f"`ignore` has a wrong name: {flaw}")
        if self.username is not None and parsed.username is not None:
            raise ValueError("the user name stands in `url` and in `username`: give it once")
        if self.password is not None and parsed.secret is not None:
            raise ValueError("the password stands in `url` and in `password`: give it once, and not in `url`")

    @property  # type: ignore[misc]  # in the place of the field, which stays the constructor's argument
    def url(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The URL as it is written: hand it on in the same expression, as it may have a password."""
        given = cast("str | Secret", super().url)
        return given.reveal() if isinstance(given, Secret) else given

    @property  # type: ignore[misc]  # likewise
    def password(self) -> SecretSource | Secret | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where the password is kept, or the password itself."""
        return super().password  # type: ignore[return-value]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # What a struct has by itself would show the options, any of which may be secret.
        return [("url", str(Location.parse(self.url)))]

    def __repr__(self) -> str:
        return f"StoreEntry(url={str(Location.parse(self.url))!r})"

    @property
    def in_clear(self) -> bool:
        """Whether the password stands in the configuration itself."""
        return isinstance(self.password, Secret) or Location.parse(self.url).secret is not None

    @property
    def warning(self) -> str | None:
        """What the keeper of the file should know, or None."""
        if self.in_clear:
            return "its password stands in the file in clear; keep it in a keyring, a file or the environment"
        return self.password.warning if isinstance(self.password, SecretSource) else None

    def location(self, folder: str = "", options: Mapping[str, object] = MappingProxyType({})) -> Location:
        """Where the store is, with its account; the password is fetched now.

        Args:
            folder: A folder below the store, ``/``-separated.
            options: A user name or a password among them is used instead of the configuration's.

        Raises:
            ConfigError: The password is not where the configuration says.
        """
        parsed = Location.parse(self.url)
        username = parsed.username if self.username is None else self.username
        if options.get("username") is not None:
            username = None
        password = self.password if self.password is not None else parsed.secret
        if options.get("password") is not None:
            password = None
        if isinstance(password, SecretSource):
            password = password.fetch(username)
        path = f"{parsed.path.rstrip('/')}/{folder}" if folder else parsed.path
        return msgspec.structs.replace(parsed, username=username, password=password, path=path, ignore=self.ignore)


class Configuration(msgspec.Struct, frozen=True):
    """A configuration as it was read.

    Attributes:
        path: The file.
        found: Why this file and no other: what the place is called where it was found.
        stores: By name.
        given: By name, the settings that stand in the file, with dots: ``require.durable``. The others are defaults.
    """

    path: str
    found: str
    stores: dict[str, StoreEntry]
    given: dict[str, frozenset[str]]

    @classmethod
    @without_variables
    def read(cls, path: str | os.PathLike[str], found: str = "the program") -> Configuration:
        """Reads a file.

        Args:
            path: The file.
            found: What the place is called where it was found.

        Raises:
            ConfigError: It cannot be read or is wrong; the message names the file, the key, and what was expected.
        """
        text = os.fspath(path)
        tables = _tables(text, _content(text, _stored(text, found)))
        return cls(
            text,
            found,
            {name: _entry(text, name, table) for name, table in tables.items()},
            {name: frozenset(_settings(table)) for name, table in tables.items()},
        )

    def entry(self, name: str) -> StoreEntry:
        """The store of a name.

        Args:
            name: Without the ``@``.

        Raises:
            LocationError: There is none; the hint says which there are.
        """
        found = self.stores.get(name)
        if found is None:
            known = ", ".join(f"@{known}" for known in sorted(self.stores)) or "none"
            raise LocationError(f"{self.path} names no store {name!r}", hint=f"It names {known}.")
        return found


def _stored(path: str, found: str) -> bytes:
    try:
        return read_small_file(path, _LARGEST)
    except UnreadableFile as error:
        raise ConfigError(
            f"the configuration cannot be read: {error.reason}",
            location=path if error.is_path else repr(path),
            hint=f"It was named by {found}; is it there, and may this account read it?",
        ) from error.__cause__


def _content(path: str, stored: bytes) -> dict[str, Any]:
    import tomllib  # only those who have a configuration need it

    try:
        # With or without the mark that some editors put at the beginning.
        return tomllib.loads(stored.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if came_from_signal_handler(error):
            raise
        if isinstance(error, RecursionError):
            what, hint = "is nested too deeply", "Is this the right file?"
        elif isinstance(error, (tomllib.TOMLDecodeError, UnicodeDecodeError)):
            # Its text names a byte or a character, and where.
            what, hint = f"is not TOML: {error}", "Mend the file at that place."
        else:
            # Of a number of thousands of digits, the reader of TOML says no more.
            what, hint = f"has a value that cannot be read: {error}", "Mend that value."
        refusal = ConfigError(f"the configuration {what}", location=path, hint=hint)
    raise refusal  # out here: its context would keep the text of the file


def _tables(path: str, content: Mapping[str, object]) -> dict[str, object]:
    unknown = [name for name in content if name != "stores"]
    stores = content.get("stores", {})
    if unknown or not isinstance(stores, dict):
        field = unknown[0] if unknown else "stores"
        raise ConfigError(
            f"{field!r} is not expected here", field=field, location=path, hint="Expected are tables [stores.NAME]."
        )
    tables = cast("dict[str, object]", stores)
    for name in tables:
        if not _nameable(name):
            raise ConfigError(
                f"{name!r} is no name for a store",
                field=f"stores.{name}",
                location=path,
                hint="Use letters, digits, - and _: a name is written as @name or @name/folder.",
            )
    return tables


def _nameable(name: str) -> bool:
    return bool(name.strip()) and not {"/", ":", "@"} & set(name)


def _settings(table: object, prefix: str = "") -> Iterator[str]:
    for name, value in cast("dict[str, object]", table).items():
        # Options and places of passwords are one setting each; a requirement is one for each guarantee.
        if name == "require" and not prefix:
            yield from _settings(value, "require.")
        elif name == "options" and not prefix:
            yield from (f"options.{option}" for option in cast("dict[str, object]", value))
        else:
            yield f"{prefix}{name}"


def _entry(path: str, name: str, table: object) -> StoreEntry:
    try:
        entry = msgspec.convert(table, StoreEntry)
    except msgspec.ValidationError as error:
        if error.__cause__ is not None and came_from_signal_handler(error.__cause__):
            raise error.__cause__ from None  # msgspec takes a ValueError for the entry's own
        refusal = _refused(path, f"stores.{name}", error)
    else:
        return _beside(path, entry)
    raise refusal  # out here: its context would keep what stands in the file


def _beside(path: str, entry: StoreEntry) -> StoreEntry:
    if isinstance(entry.password, SecretSource) and entry.password.file is not None:
        # Beside the configuration, wherever the program that reads it was started.
        file = os.path.join(os.path.dirname(path), os.path.expanduser(entry.password.file))
        return msgspec.structs.replace(entry, password=msgspec.structs.replace(entry.password, file=file))
    return entry


# What was expected, where msgspec says only that something else was found.
_FIELDS: Final = {
    "": StoreEntry.__struct_fields__,
    ".password": SecretSource.__struct_fields__,
    ".require": Guarantees.__struct_fields__,
}
_CHOICES: Final = {
    ".require.conditional_write": get_args(ConditionalWrite),
    ".require.lock_scope": get_args(LockScope),
    ".require.lock_release": get_args(LockRelease),
    ".require.fresh": get_args(Fresh),
}
_TOML: Final = {
    "`str | object | null`": "text, or a table with keyring, env or file",
    "`str | null`": "text",
    "`str`": "text",
    "`object`": "a table",
    "`array | null`": "a list",
    "`array`": "a list",
    "`bool`": "true or false",
    "`int`": "a number",
    "`float`": "a number",
}


def _refused(path: str, table: str, error: msgspec.ValidationError) -> ConfigError:
    """The error with the file, the key and what was expected there."""
    cause = error.__cause__
    if isinstance(cause, LocationError):
        field = f"{table}.url"
        return ConfigError(f"{field} is wrong: {cause.message}", field=field, location=path, hint=cause.hint)
    # "Expected `str`, got `int` - at `$.url`": the text names types and keys, and no value but one for a guarantee.
    what, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`")
    field = f"{table}{where}"
    hint = None
    if "unknown field" in what:
        field = f"{field}.{what.split('`')[1]}"
        message, hint = f"{field} is unknown", f"Expected: {', '.join(_FIELDS.get(where, ()))}."
    elif "missing required field" in what:
        field = f"{field}.{what.split('`')[1]}"
        message, hint = f"{field} is missing", "Give a URL (scheme://host/path) or an absolute path."
    elif where in _CHOICES:
        message = f"{field} is wrong"
        hint = f"Expected: {', '.join(map(repr, _CHOICES[where]))}."
    else:
        for written, meant in _TOML.items():
            what = what.replace(written, meant)
        message = f"{field} is wrong: {what[:1].lower()}{what[1:]}"
    return ConfigError(message, field=field, location=path, hint=hint)


class Candidate(msgspec.Struct, frozen=True):
    """A file that may hold the configuration.

    Attributes:
        called: What it is called in a sentence.
        path: The file.
        must_exist: Whether it was asked for by name, so that others are not looked at.
    """

    called: str
    path: str
    must_exist: bool = False


def candidates() -> list[Candidate]:
    """Where a configuration is looked for, in order."""
    import platformdirs

    named = os.environ.get(VARIABLE)
    if named:
        return [Candidate(f"the environment variable {VARIABLE}", named, must_exist=True)]
    return [
        Candidate("the working directory", FILE_NAME),
        Candidate("this account's configuration", str(platformdirs.user_config_path(_FOLDER) / FILE_NAME)),
        Candidate("this machine's configuration", str(platformdirs.site_config_path(_FOLDER) / FILE_NAME)),
    ]


def find_configuration(path: str | os.PathLike[str] | None = None) -> Configuration:
    """Reads the configuration that is in force.

    Args:
        path: The file, if it is known; otherwise the first of `candidates` that exists. A file that the environment
            names must exist.

    Raises:
        ConfigError: There is none, or it is wrong.
    """
    configuration = Configuration.read(path) if path is not None else _configuration_in_force()
    if configuration is None:
        raise ConfigError(_NONE, hint=_looked_for())
    return configuration


_NONE: Final = "there is no configuration of stores"


def _configuration_in_force() -> Configuration | None:
    candidate = _candidate_in_force()
    return None if candidate is None else Configuration.read(_absolute(candidate.path), candidate.called)


def _candidate_in_force() -> Candidate | None:
    return next((candidate for candidate in candidates() if candidate.must_exist or _is_file(candidate.path)), None)


def _is_file(path: str) -> bool:
    # As os.path.isfile, which would take what a signal handler raised for the file system's answer.
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError) as error:
        if came_from_signal_handler(error):
            raise
        return False


def fingerprint() -> tuple[str, bytes] | None:
    """Tells the configuration that is in force from every other: its path and a digest; None where there is none.

    Raises:
        ConfigError: It cannot be read.
    """
    from hashlib import sha256  # of the backends, only those that compute versions need it

    candidate = _candidate_in_force()
    if candidate is None:
        return None
    path = _absolute(candidate.path)
    return path, sha256(_stored(path, candidate.called)).digest()


def _looked_for() -> str:
    looked = "; ".join(f"{candidate.called} ({candidate.path})" for candidate in candidates())
    return f"Looked for in: {looked}. {VARIABLE} can name another file."


def _absolute(path: str) -> str:
    try:
        return os.path.join(os.getcwd(), path)
    except OSError as error:
        if came_from_signal_handler(error):
            raise
        return path  # the working directory is gone; an absolute path does without


def named_store(name: str, path: str | os.PathLike[str] | None = None) -> tuple[StoreEntry, str]:
    """The store that ``@name`` or ``@name/folder`` stands for; a warning about it is logged.

    Args:
        name: As it was given.
        path: The configuration's file, if it is known.

    Returns:
        The entry, and the folder below the store.

    Raises:
        LocationError: There is no such store, or no configuration at all, or the name is none.
        ConfigError: The configuration cannot be read or is wrong.
    """
    store, _, folder = name.removeprefix("@").partition("/")
    segments = [segment for segment in folder.split("/") if segment]
    shown = redacted(name)
    if not _nameable(store) or ".." in segments or "." in segments or "\0" in name or shown != name:
        raise LocationError("this names no store", location=repr(shown), hint="Write @name or @name/folder.")
    configuration = Configuration.read(path) if path is not None else _configuration_in_force()
    if configuration is None:
        raise LocationError(_NONE, hint=_looked_for())
    entry = configuration.entry(store)
    if entry.warning is not None:
        _log.warning("%s: stores.%s: %s", configuration.path, store, entry.warning)
    return entry, "/".join(segments)
