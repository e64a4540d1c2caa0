"""The options of a location, and the texts among them that must not be shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store import LocationError, Secret
from exlab_store.backend import ensure_no_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exlab_store import Location

__all__ = ["FsspecOptions", "StorageOptions"]

_SHORTEST = 4
"""Characters of a text that is hidden from errors: ``***`` in the place of each ``us`` would help nobody."""


class StorageOptions:
    """The options for fsspec's class, of which any text may be a secret; they show their names alone.

    Args:
        given: The options.
    """

    __slots__ = ("_hidden",)

    def __init__(self, given: Mapping[str, object]) -> None:
        self._hidden = {name: _hidden(value) for name, value in given.items()}

    def reveal(self) -> dict[str, Any]:
        """The options as they were given: hand them on in the same expression."""
        return {name: _revealed(value) for name, value in self._hidden.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._hidden

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The texts that must not be in an error."""
        return tuple(found for value in self._hidden.values() for found in _secrets_in(value))

    def __repr__(self) -> str:
        return f"StorageOptions({', '.join(sorted(self._hidden))})"


class FsspecOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a location.

    Attributes:
        username: The account; a URL may have it instead.
        password: Its password; likewise.
        timeout: Seconds in which an operation comes back, whatever the network does.
        tls: False: WebDAV is spoken over ``http:``, and everybody on the way can read the password.
        storage_options: What fsspec's class for the protocol takes beside the location, as its documentation names it.
    """

    username: str | None = None
    password: Secret | None = None
    timeout: float = 30.0
    tls: bool = True
    storage_options: StorageOptions = StorageOptions({})

    def __post_init__(self) -> None:
        if not 0 < self.timeout < float("inf"):
            raise ValueError("`timeout` must be a positive number of seconds")

    @classmethod
    def of(cls, location: Location, options: Mapping[str, object]) -> FsspecOptions:
        """The options of a location and those beside it.

        Args:
            location: It may have a user name and a password.
            options: The fields of this class.

        Raises:
            LocationError: An option is not known, is of another type, or is given twice.
            NotSupported: A mode is asked for.
        """
        ensure_no_mode(
            options,
            "what fsspec reaches chooses the permissions of documents",
            "Leave mode out, and have the server set them.",
        )
        unknown = sorted(set(options) - set(cls.__struct_fields__))
        if unknown:
            raise LocationError(
                f"an fsspec location has no option {', '.join(map(repr, unknown))}",
                hint=f"Known are {', '.join(cls.__struct_fields__)}; what fsspec's own class takes goes into"
                " storage_options.",
            )
        for name, value in (("username", location.username), ("password", location.secret)):
            if value is not None and options.get(name) is not None:
                raise LocationError(f"{name} is in the URL and among the options", hint="Give it once.")
        password = options.get("password")
        taken: dict[str, Any] = dict(options)
        taken["username"] = options.get("username") or location.username
        if not isinstance(password, str | Secret | None):
            raise LocationError("the option password is not text")
        taken["password"] = Secret(password) if isinstance(password, str) else password or location.secret
        storage = options.get("storage_options") or {}
        if not isinstance(storage, dict):
            raise LocationError("storage_options must be a table", hint="Write storage_options = { name = value }.")
        if "timeout" in taken and isinstance(taken["timeout"], int) and not isinstance(taken["timeout"], bool):
            taken["timeout"] = float(taken["timeout"])
        taken["storage_options"] = StorageOptions(storage)
        for name, kind in (("username", str | None), ("timeout", float), ("tls", bool)):
            if name in taken and not isinstance(taken[name], kind):
                raise LocationError(f"the option {name} has another type than it must have")
        try:
            return cls(**taken)
        except ValueError as error:
            raise LocationError(str(error)) from None

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The texts that must not be in an error."""
        own = () if self.password is None else (self.password,)
        return (*own, *self.storage_options.secrets)

    def __repr__(self) -> str:
        return f"FsspecOptions(username={self.username!r}, storage_options={self.storage_options!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("username", self.username), ("storage_options", self.storage_options)]


def _hidden(value: object) -> object:
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, dict):
        return {name: _hidden(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):  # httpx takes no list for an account
        return type(value)(_hidden(inner) for inner in value)
    return value


def _revealed(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {name: _revealed(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_revealed(inner) for inner in value)
    return value


def _secrets_in(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        if len(value.reveal()) >= _SHORTEST:
            yield value
    elif isinstance(value, (dict, list, tuple)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _secrets_in(inner)
