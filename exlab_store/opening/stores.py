"""`open_store`: from a location and the options of a site to an open store."""

from __future__ import annotations

import os
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import msgspec

from exlab_store.errors import GuaranteeNotMet, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hidden_location import hides_location, is_name
from exlab_store.hooks.calls import BackendHooks
from exlab_store.hooks.retrying import DEFAULT_RETRY, Retry
from exlab_store.ignored import flaw_of_pattern
from exlab_store.location import Location, url_of
from exlab_store.opening import registry
from exlab_store.secret import Secret, hidden, without_variables
from exlab_store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.calls import Backend

__all__ = ["open_store", "open_store_at"]


@overload
def open_store(
    location: str | os.PathLike[str],
    /,
    *,
    require: Guarantees | None = ...,
    observers: Sequence[object] = ...,
    retry: Retry | None = ...,
    create: bool = ...,
    config: str | os.PathLike[str] | None = ...,
    ignore: Sequence[str] | None = ...,
    **options: object,
) -> Store: ...
@overload
def open_store(
    *,
    backend: Backend,
    require: Guarantees | None = ...,
    observers: Sequence[object] = ...,
    retry: Retry | None = ...,
) -> Store: ...
@without_variables
@hides_location
def open_store(
    location: str | os.PathLike[str] | None = None,
    /,
    *,
    backend: Any = None,  # Any: among an overload's options, a backend may be of any type
    require: Guarantees | None = None,
    observers: Sequence[object] = (),
    retry: Retry | None = DEFAULT_RETRY,
    create: bool = False,
    config: str | os.PathLike[str] | None = None,
    ignore: Sequence[str] | None = None,
    **options: Any,
) -> Store:
    """Opens a store.

    Args:
        location: A URL (``file:///data/lab``, ``memory://``, or of any scheme that an installed backend serves) or
            the absolute path of a local directory; or ``@name`` or ``@name/folder``, a store of the site's
            configuration.
        backend: Instead of a location, a backend object: for tests and for programs that bring their own.
        require: What the backend must promise; see `Guarantees.at_least`.
        observers: Objects that wrap hooks, or names of installed observers, outermost first.
        retry: How operations are repeated that the backend was unavailable for; None for not at all.
        create: Accept a place that does not exist yet; the first write makes it.
        config: The configuration's file, for ``@name``; otherwise it is looked for.
        ignore: Names of files and folders that lists leave out, ``*`` at the end of one stands for anything; None for
            those of the configuration, or for `IGNORED`.
        options: The backend's own options.

    Returns:
        An open store; close it, or use it as a context manager.

    Raises:
        LocationError: The location is relative, malformed or missing, or an option is not known.
        UnknownScheme: No installed backend serves the URL's scheme.
        GuaranteeNotMet: The backend promises less than required; each shortfall is named.
        PluginError: The backend is broken, or two distributions serve the scheme.
        AccessDenied: The place may not be used.
        BackendUnavailable: The place cannot be reached.
        ConfigError: The configuration cannot be read or is wrong, or a password or an observer that it names is
            not there.
    """
    options = hidden(options)
    if backend is not None:
        if location is not None or options or create or config is not None or ignore is not None:
            raise TypeError("open_store takes a location with options, or a backend, not both")
        watching = [registry.open_observer(name, None) if isinstance(name, str) else name for name in observers]
        return _assembled(backend, None, require, watching, retry)
    if location is None:
        raise TypeError("open_store takes a location or a backend")
    if is_name(location):
        return _open_named(os.fspath(location), config, require, observers, retry, create, ignore, options)
    parsed = msgspec.structs.replace(Location.parse(location, create=create), ignore=_ignored(ignore))
    return open_store_at(parsed, require=require, observers=observers, retry=retry, options=options)


def _open_named(
    name: str,
    config: str | os.PathLike[str] | None,
    require: Guarantees | None,
    observers: Sequence[object],
    retry: Retry | None,
    create: bool,
    ignore: Sequence[str] | None,
    options: Mapping[str, object],
) -> Store:
    import_whole("exlab_store.opening.configuration")  # who gives URLs needs no configuration
    from exlab_store.opening.configuration import named_store

    try:
        entry, folder = named_store(name, config)
        location = msgspec.structs.replace(entry.location(folder, options), create=create)
        if ignore is not None:
            location = msgspec.structs.replace(location, ignore=_ignored(ignore))
    except StoreError as error:
        error.location = error.location or name
        raise
    return open_store_at(
        location,
        require=entry.require if require is None else entry.require.stricter(require),
        observers=(*entry.observers, *observers),
        retry=retry,
        options=hidden({**entry.options, **options}),
    )


def _ignored(patterns: Sequence[str] | None) -> tuple[str, ...] | None:
    if patterns is None:
        return None
    if isinstance(patterns, str):
        raise TypeError("ignore is a sequence of names, not one text")
    flaw = next((flaw for pattern in patterns if (flaw := flaw_of_pattern(pattern)) is not None), None)
    if flaw is not None:
        raise ValueError(f"ignore: {flaw}")
    return tuple(patterns)


@without_variables
def open_store_at(
    location: Location,
    *,
    require: Guarantees | None = None,
    observers: Sequence[object] = (),
    retry: Retry | None = DEFAULT_RETRY,
    options: Mapping[str, object] = MappingProxyType({}),
) -> Store:
    """As `open_store`, for a location that is parsed already."""
    options = hidden(options)
    secrets = _secrets(location, options)
    try:
        watching = [registry.open_observer(name, location) if isinstance(name, str) else name for name in observers]
        backend = registry.open_backend(location, options, secrets)
    except StoreError as error:
        raise error.at(None, location) from error.__cause__
    return _assembled(backend, location, require, watching, retry, secrets)


def _secrets(location: Location, options: Mapping[str, object]) -> tuple[Secret, ...]:
    """What must not be in any text: the password, and every option that may be one."""
    candidates = [location.secret, *options.values()]
    return tuple(secret for secret in candidates if isinstance(secret, Secret) and secret.reveal())


def _assembled(
    backend: Backend,
    location: Location | None,
    require: Guarantees | None,
    observers: Sequence[object],
    retry: Retry | None,
    secrets: tuple[Secret, ...] = (),
) -> Store:
    try:
        hooks = BackendHooks(backend, observers, secrets, partial(url_of, location))
        shortfalls = () if require is None else hooks.guarantees.shortfalls(require)
        if shortfalls:
            raise GuaranteeNotMet(
                [msgspec.structs.replace(each, reason=hooks.unclaimed.get(each.guarantee, "")) for each in shortfalls]
            )
    except StoreError as error:
        if location is not None and callable(getattr(backend, "close", None)):
            backend.close()
        raise error.at(None, location) from error.__cause__
    return Store(hooks, location, retry)
