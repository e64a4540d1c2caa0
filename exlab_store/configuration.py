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

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from exlab_store.errors import ConfigError, LocationError
from exlab_store.guarantees import Guarantees
from exlab_store.location import Location
from exlab_store.secret_sources import SecretSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FILE_NAME", "VARIABLE", "Configuration", "StoreEntry", "find_configuration", "named_store", "places"]

FILE_NAME: Final = "exlab-store.toml"
VARIABLE: Final = "EXLAB_STORE_CONFIG"
_FOLDER: Final = "exlab-store"


class StoreEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One store of a configuration.

    Attributes:
        url: A URL, or the absolute path of a local directory.
        username: The account.
        password: Where its password is kept; or, better not, the password itself.
        require: What the store must promise; opening it fails otherwise.
        observers: Names of installed observers, outermost first.
        options: The backend's own options.
    """

    url: str
    username: str | None = None
    password: SecretSource | str | None = None
    require: Guarantees = Guarantees()
    observers: tuple[str, ...] = ()
    options: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        parsed = Location.parse(self.url)
        if self.username is not None and parsed.username is not None:
            raise ValueError("the user name stands in `url` and in `username`: give it once")
        if self.password is not None and parsed.password is not None:
            raise ValueError("the password stands in `url` and in `password`: give it once, and not in `url`")
        for name in ("username", "password"):
            if name in self.options:
                raise ValueError(f"`{name}` belongs beside `options`, not into it")

    def __repr__(self) -> str:
        return f"StoreEntry(url={str(Location.parse(self.url))!r})"

    @property
    def warning(self) -> str | None:
        """What the keeper of the file should know, or None."""
        if isinstance(self.password, str) or Location.parse(self.url).password is not None:
            return "its password stands in the file in clear; keep it in a keyring, a file or the environment"
        return None

    def location(self, folder: str = "") -> Location:
        """Where the store is, with its account; the password is fetched now.

        Args:
            folder: A folder below the store, ``/``-separated.

        Raises:
            ConfigError: The password is not where the configuration says.
        """
        parsed = Location.parse(self.url)
        username = parsed.username if self.username is None else self.username
        password = self.password if self.password is not None else parsed.password
        if isinstance(password, SecretSource):
            password = password.fetch(username)
        path = f"{parsed.path.rstrip('/')}/{folder}" if folder else parsed.path
        return replace(parsed, username=username, password=password, path=path)


class Configuration(msgspec.Struct, frozen=True):
    """A configuration as it was read.

    Attributes:
        path: The file.
        stores: By name.
    """

    path: str
    stores: dict[str, StoreEntry]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Configuration:
        """Reads a file.

        Args:
            path: The file.

        Raises:
            ConfigError: It cannot be read or is wrong; the message names the file, the key, and what was expected.
        """
        import tomllib  # only those who have a configuration need it

        text = os.fspath(path)
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"the configuration cannot be read: {error.strerror}", location=text) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the configuration is not TOML: {error}", location=text, hint="Mend the file at that place."
            ) from None  # the decoder's frames hold the whole text
        return cls(text, dict(_entries(text, content)))

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


def _entries(path: str, content: Mapping[str, object]) -> Iterator[tuple[str, StoreEntry]]:
    stores = content.get("stores", {})
    unknown = [name for name in content if name != "stores"]
    if unknown or not isinstance(stores, dict):
        field = unknown[0] if unknown else "stores"
        raise ConfigError(
            f"unexpected {field!r}", field=field, location=path, hint="Expected are tables [stores.NAME]."
        )
    for name, value in cast("dict[str, object]", stores).items():
        try:
            yield name, msgspec.convert(value, StoreEntry)
        except LocationError as error:
            raise ConfigError(
                f"stores.{name}.url is wrong: {error.message}",
                field=f"stores.{name}.url",
                location=path,
                hint=error.hint,
            ) from None
        except msgspec.ValidationError as error:
            # "Expected `str`, got `int` - at `$.url`": the text names types and keys, never a value.
            what, _, where = str(error).partition(" - at `$")
            field = f"stores.{name}{where.rstrip('`')}"
            raise ConfigError(f"{field} is wrong: {what}", field=field, location=path) from None


def places() -> list[tuple[str, str]]:
    """Where a configuration is looked for, in order: what each place is called, and the file."""
    import platformdirs

    found = [(f"the environment variable {VARIABLE}", os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    found.append(("the working directory", FILE_NAME))
    found.append(("this account's configuration", str(platformdirs.user_config_path(_FOLDER) / FILE_NAME)))
    found.append(("this machine's configuration", str(platformdirs.site_config_path(_FOLDER) / FILE_NAME)))
    return found


def find_configuration(path: str | os.PathLike[str] | None = None) -> Configuration:
    """Reads the configuration that is in force.

    Args:
        path: The file, if it is known; otherwise the first of `places` that exists. A file that the environment
            names must exist.

    Raises:
        ConfigError: There is none, or it is wrong.
    """
    if path is not None:
        return Configuration.read(path)
    candidates = places()
    for what, candidate in candidates:
        if VARIABLE in what or os.path.isfile(candidate):
            return Configuration.read(candidate)
    looked = "; ".join(f"{what} ({candidate})" for what, candidate in candidates)
    raise ConfigError("there is no configuration of stores", hint=f"Looked for in: {looked}.")


def named_store(name: str, path: str | os.PathLike[str] | None = None) -> tuple[StoreEntry, str]:
    """The store that ``@name`` or ``@name/folder`` stands for.

    Args:
        name: As it was given.
        path: The configuration's file, if it is known.

    Returns:
        The entry, and the folder below the store.

    Raises:
        LocationError: There is no such store, or the name is none.
        ConfigError: There is no configuration, or it is wrong.
    """
    store, _, folder = name.removeprefix("@").partition("/")
    segments = [segment for segment in folder.split("/") if segment]
    if not store or ".." in segments or "." in segments:
        raise LocationError(f"{name!r} names no store", hint="Write @name or @name/folder.")
    return find_configuration(path).entry(store), "/".join(segments)
