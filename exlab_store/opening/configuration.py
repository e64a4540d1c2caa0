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
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from exlab_store.errors import ConfigError, LocationError
from exlab_store.first_imports import import_whole
from exlab_store.location import redacted
from exlab_store.opening.refused_settings import refused_setting
from exlab_store.opening.secrets import SecretSource
from exlab_store.opening.store_entry import StoreEntry
from exlab_store.secret import without_variables
from exlab_store.signal_handlers import came_from_signal_handler, mode_at
from exlab_store.small_files import UnreadableFile, read_small_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "FILE_NAME",
    "VARIABLE",
    "Candidate",
    "Configuration",
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


class Configuration(msgspec.Struct, frozen=True):
    """A configuration as it was read.

    Attributes:
        path: The file.
        found: Why this file and no other: the `Candidate.called` that led to it.
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
            found: Who named the file, as in `Candidate.called`.

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
    import_whole("tomllib")  # only those who have a configuration need it
    import tomllib

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
        # Options and sources of passwords are one setting each; a requirement is one for each guarantee.
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
        refusal = refused_setting(path, f"stores.{name}", error)
    else:
        return _beside(path, entry)
    raise refusal  # out here: its context would keep what stands in the file


def _beside(path: str, entry: StoreEntry) -> StoreEntry:
    if isinstance(entry.password, SecretSource) and entry.password.file is not None:
        # Beside the configuration, wherever the program that reads it was started.
        file = os.path.join(os.path.dirname(path), os.path.expanduser(entry.password.file))
        return msgspec.structs.replace(entry, password=msgspec.structs.replace(entry.password, file=file))
    return entry


class Candidate(msgspec.Struct, frozen=True):
    """A file that may hold the configuration.

    Attributes:
        called: What it is called in a sentence.
        path: The file.
        must_exist: Whether it was asked for by name, so that no other is read.
    """

    called: str
    path: str
    must_exist: bool = False


def candidates() -> list[Candidate]:
    """Where a configuration is looked for, in order."""
    import_whole("platformdirs")
    import platformdirs

    named = os.environ.get(VARIABLE)
    if named:
        return [Candidate(f"the environment variable {VARIABLE}", named, must_exist=True)]
    # Windows alone has folders of authors, which the program has none of, and an account's that follow it about.
    account = platformdirs.user_config_path(_FOLDER, appauthor=False, roaming=True)
    machine = platformdirs.site_config_path(_FOLDER, appauthor=False)
    return [
        Candidate("the working directory", FILE_NAME),
        Candidate("this account's configuration", str(account / FILE_NAME)),
        Candidate("this machine's configuration", str(machine / FILE_NAME)),
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
    return next((found for found in candidates() if found.must_exist or stat.S_ISREG(mode_at(found.path))), None)


def fingerprint() -> tuple[str, bytes] | None:
    """Tells the configuration that is in force from every other: its path and a digest; None where there is none.

    Raises:
        ConfigError: It cannot be read.
    """
    import_whole("hashlib")  # of the backends, only those that compute versions need it
    from hashlib import sha256

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
