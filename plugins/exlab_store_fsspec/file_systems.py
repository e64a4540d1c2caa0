"""From a location to file systems of fsspec: the class, its options, and the store's folder as the class names it."""

from __future__ import annotations

import warnings
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

import msgspec
from fsspec.dircache import DirCache
from fsspec.registry import available_protocols, get_filesystem_class

from exlab_store import LocationError, UnknownScheme, without_variables
from exlab_store.backend import how_to_install, import_whole
from exlab_store_fsspec.options import FsspecOptions, StorageOptions
from exlab_store_fsspec.protocols import CACHING, protocol_of
from exlab_store_fsspec.ways import HttpWays

if TYPE_CHECKING:
    from exlab_store import Location
    from exlab_store_fsspec.protocols import FsspecProtocol
    from exlab_store_fsspec.ways import FsspecFileSystem

__all__ = ["FileSystems", "end", "file_systems_of"]

_ARCHIVES = {"zip": (".zip",), "tar": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")}


class FileSystems(msgspec.Struct, frozen=True):
    """What makes the file systems of one store.

    Attributes:
        protocol: What they speak.
        root: The store's folder.
        kind: fsspec's class.
        options: For the class.
    """

    protocol: FsspecProtocol
    root: str
    kind: type[Any]
    options: StorageOptions

    @without_variables
    def make(self) -> FsspecFileSystem:
        """A file system that nobody else uses, and that keeps nothing of what it lists.

        Raises:
            LocationError: The class does not take the options.
        """
        try:
            made = self.kind(**self.options.reveal(), skip_instance_cache=True)
        except TypeError as error:
            raise LocationError(
                f"the options do not fit fsspec's {self.kind.__name__}: {type(error).__name__}",
                hint="Look up its options in fsspec's documentation, and give them as storage_options.",
            ) from None
        # Not every class takes use_listings_cache as an option.
        made.dircache = DirCache(use_listings_cache=False)
        self.protocol.ways.prepare(made)
        return cast("FsspecFileSystem", made)


def end(file_system: FsspecFileSystem) -> None:
    """Frees the connections of a file system.

    Args:
        file_system: One that nobody uses any more.
    """
    made = cast("Any", file_system)
    for owner in (getattr(getattr(made, "client", None), "http", None), getattr(made, "ftp", None), made):
        close = getattr(owner, "close", None)
        if callable(close):
            with suppress(Exception):
                close()
            return


@without_variables
def file_systems_of(location: Location, given: FsspecOptions) -> FileSystems:
    """What a location names.

    Args:
        location: ``fsspec+PROTOCOL://[user[:password]@]host[:port]/path``.
        given: The options.

    Raises:
        UnknownScheme: fsspec has no such protocol, or it needs a package that is not installed.
        LocationError: The location lacks something, or the protocol keeps copies of documents.
    """
    protocol = protocol_of(location.scheme.partition("+")[2])
    kind = _class_of(protocol)
    if protocol.name == "webdav":
        root, options = _of_webdav(location, given)
    elif protocol.name in _ARCHIVES and "fo" not in given.storage_options:
        root, options = _of_archive(location, protocol.name, given)
    else:
        root, options = _of_url(location, protocol.name, kind, given)
    return FileSystems(protocol, root, kind, StorageOptions({**options, **given.storage_options.reveal()}))


def _class_of(protocol: FsspecProtocol) -> type[Any]:
    name = protocol.name
    if name in CACHING:
        raise LocationError(
            f"fsspec's {name!r} keeps copies of documents, and a read would be of an older one",
            hint="Name the protocol that it reads from.",
        )
    known = available_protocols()
    if name not in known:
        similar = get_close_matches(name, known, n=1)
        raise UnknownScheme(
            f"fsspec has no protocol {name!r}",
            hint=f"Is it {similar[0]!r}?"
            if similar
            else "Write fsspec+PROTOCOL://..., with one of fsspec's protocols.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's packages
            if name == "webdav":
                # By its name: a frozen application has what is imported so, and not what fsspec looks up.
                import_whole("webdav4.fsspec")
                from webdav4.fsspec import WebdavFileSystem

                return cast("type[Any]", WebdavFileSystem)
            return cast("type[Any]", get_filesystem_class(name))
    except ImportError as error:
        raise UnknownScheme(
            f"fsspec's {name!r} needs a package that is not installed",
            hint=how_to_install(protocol.package or f"fsspec's {name!r}", None if protocol.package else str(error)),
        ) from error


def _of_webdav(location: Location, given: FsspecOptions) -> tuple[str, dict[str, object]]:
    if not location.host and "base_url" not in given.storage_options:
        raise LocationError("a WebDAV location names a server", hint="Write fsspec+webdav://user@server/folder.")
    port = "" if location.port is None else f":{location.port}"
    options: dict[str, object] = {
        "base_url": f"{'https' if given.tls else 'http'}://{location.host}{port}",
        "timeout": given.timeout,
        "retry": False,  # the core repeats what is safe to repeat
    }
    if given.username is not None:
        options["auth"] = (given.username, "" if given.password is None else given.password.reveal())
    return location.path or "/", options


def _of_archive(location: Location, name: str, given: FsspecOptions) -> tuple[str, dict[str, object]]:
    """The archive is the first segment with its suffix; what follows is a folder in it."""
    _refuse_account(given, name)
    segments = location.path.split("/")
    for number, segment in enumerate(segments):
        if segment.lower().endswith(_ARCHIVES[name]):
            archive = "/".join(segments[: number + 1])
            return "/".join(segments[number + 1 :]), {"fo": archive}
    raise LocationError(
        f"the location names no {name} archive",
        hint=f"Write fsspec+{name}:///data/archive{_ARCHIVES[name][0]}, or storage_options = {{ fo = ... }}.",
    )


def _of_url(location: Location, name: str, kind: type[Any], given: FsspecOptions) -> tuple[str, dict[str, object]]:
    """As fsspec's class itself reads the URL; the account is left out of it, and handed over as options."""
    port = "" if location.port is None else f":{location.port}"
    url = f"{name}://{location.host}{port}{location.path}"
    try:
        options: dict[str, object] = dict(kind._get_kwargs_from_urls(url))  # noqa: SLF001  # as fsspec.core does
        root = str(kind._strip_protocol(url))  # noqa: SLF001
    except (TypeError, ValueError) as error:
        raise LocationError(f"fsspec's {kind.__name__} cannot read the location") from error
    is_web = isinstance(protocol_of(name).ways, HttpWays)
    if is_web:
        _refuse_account(given, name, hint="Give storage_options = { headers = { Authorization = ... } } instead.")
    if given.username is not None:
        options["username"] = given.username
    if given.password is not None:
        options["password"] = given.password.reveal()
    if name == "ftp":
        options["timeout"] = given.timeout
    if is_web:
        import_whole("aiohttp")  # which fsspec's class needs itself
        from aiohttp import ClientTimeout

        options["encoded"] = True
        options["client_kwargs"] = {"timeout": ClientTimeout(total=given.timeout)}
    return root, options


def _refuse_account(
    given: FsspecOptions, name: str, *, hint: str = "Leave the user name and the password out."
) -> None:
    if given.username is not None or given.password is not None:
        raise LocationError(f"fsspec's {name!r} takes no account", hint=hint)
