"""One store of a configuration: its URL, its account, what it must promise, and where its password is kept."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import msgspec

from exlab_store.guarantees import Guarantees
from exlab_store.ignored import flaw_of_pattern
from exlab_store.location import Location
from exlab_store.opening.secrets import SecretSource
from exlab_store.secret import Secret, set_field

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StoreEntry"]


class _EntryFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # As they are written; a `StoreEntry` has a `Secret` in the place of a password in clear, and of a URL with one.
    url: str
    username: str | None = None
    password: SecretSource | str | None = None
    require: Guarantees = Guarantees()
    observers: tuple[str, ...] = ()
    ignore: tuple[str, ...] | None = None
    watch_interval: float | None = None
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
        watch_interval: Seconds from one look of a watch to the next, where the storage does not tell of changes.
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
        if self.watch_interval is not None and not 0 < self.watch_interval < float("inf"):
            raise ValueError(f"`watch_interval` must be positive and finite, not {self.watch_interval!r}")
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
        return msgspec.structs.replace(
            parsed,
            username=username,
            password=password,
            path=path,
            ignore=self.ignore,
            watch_interval=self.watch_interval,
        )
