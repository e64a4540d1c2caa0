"""The location of a store: a parsed URL or a local directory, which never shows a secret."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.errors import LocationError
from exlab_store.first_imports import import_whole
from exlab_store.hidden_location import is_text
from exlab_store.ignored import ignoring
from exlab_store.secret import Secret, set_field, without_variables

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Location", "redacted", "url_of"]

# Two letters at least: "C:\data" is a Windows path, not a URL of scheme "c".
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_AUTHORITY = re.compile(
    r"(?:(?P<username>[^:@]*)(?::(?P<password>.*))?@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@\[\]]*)(?::(?P<port>[0-9]*))?",
    re.DOTALL,
)
_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]+\](?=:|\Z)")
# \\\\server\\share, which the system of Windows opens itself, also in the form without a limit of the length.
_SHARE = re.compile(r"(?:[\\/]{2}\?[\\/]UNC[\\/]|[\\/]{2})([^\\/?.:@][^\\/?:@]*)(.*)", re.DOTALL | re.IGNORECASE)
_LONG = re.compile(r"[\\/]{2}\?[\\/](?=[A-Za-z]:)")
# What names a server: //server/share, \\\\server\share, \\\\?\UNC\server\share.
_NAMES_SERVER = re.compile(r"(?://(?!/)|\\\\(?!\\))(?:[?.][\\/]UNC[\\/])?(.+)", re.DOTALL | re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:(?:[/\\]|\Z)")
# In "file:///Z:/lab" the path of Windows begins behind the slash.
_SLASH_BEFORE_DRIVE = re.compile(r"\A/(?=[A-Za-z]:(?:[/\\]|\Z))")
_LOCAL = frozenset({"file", *(f"fsspec+{name}" for name in ("file", "local", "zip", "tar"))})
_PORT = re.compile(r"0*([0-9]{1,5})")  # int() refuses thousands of digits in its own words
# Half of a surrogate pair stands for a byte that is not UTF-8, and no encoder takes it.
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSAFE_IN_PATH = re.compile(r"[%?#\x00-\x1f\x7f\ud800-\udfff]")
_UNSAFE_BESIDE_COLON = re.compile(r"[%?#@\x00-\x1f\x7f\ud800-\udfff]")
_UNSAFE_IN_USER = re.compile(r"[%?#/:@\x00-\x1f\x7f\ud800-\udfff]")


def _unquoted(text: str, errors: str = "strict") -> str | None:
    """The text without its %XX; None if they are not UTF-8, as the decoder's error would hold the text."""
    if "%" not in text:
        return text
    import_whole("urllib.parse")  # 14 ms to import, and few locations need it
    from urllib.parse import unquote

    try:
        return unquote(text, errors=errors)
    except UnicodeDecodeError:
        return None


def _quoted(text: str, unsafe: re.Pattern[str]) -> str:
    # Only what would not parse back is quoted, so that names in messages stay readable.
    return unsafe.sub(_percent, text)


def _percent(match: re.Match[str]) -> str:
    character = match[0]
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", errors))


def redacted(text: str) -> str:
    """A text that may be a malformed location, without what may be a password in it.

    Args:
        text: What somebody has given as a location.
    """
    # Greedy: what is malformed may have a slash, a question mark or another "@" in its password. Not a regular
    # expression: that took 8 s for 200,000 colons.
    start, end = text.find(":"), text.rfind("@")
    return text if start < 0 or end < start else f"{text[:start]}:***@{text[end + 1 :]}"


class _Fields(msgspec.Struct, frozen=True):
    scheme: str
    host: str = ""
    path: str = ""
    port: int | None = None
    username: str | None = None
    password: str | Secret | None = None
    create: bool = False
    ignore: tuple[str, ...] | None = None
    watch_interval: float | None = None


class Location(_Fields, frozen=True):
    """A place that holds documents. One with a password is not pickled and not encoded.

    Attributes:
        scheme: In lower case; ``file`` for a local directory. It chooses the backend.
        host: The server, or for ``memory`` the name of the shared store; may be empty.
        path: Decoded, starts with ``/``, has no empty segments and no trailing ``/``; empty for none.
        port: The server's port, or None for the scheme's own.
        username: Decoded, or None where the URL has none.
        password: Decoded, or None where the URL has none; it is kept as a `Secret`, which ``secret`` gives.
        create: The caller accepts a place that does not exist yet: the first write makes it. Backends
            whose places cannot be missing ignore it.
        ignore: Names of files and folders that are no documents, such as a NAS's recycle bin; None for
            `exlab_store.IGNORED`.
        watch_interval: Seconds from one look of a watch to the next, where the storage does not tell of changes; None
            for 1.
    """

    def __post_init__(self) -> None:
        given = super().password
        if isinstance(given, str):
            set_field(_Fields, "password", self, Secret(given))

    @property
    def secret(self) -> Secret | None:
        """The password as it is kept; a variable with it, or an object that holds it, shows nothing."""
        return super().password  # type: ignore[return-value]  # text has become a Secret

    @property  # type: ignore[misc]  # in the place of the field, which stays the constructor's argument
    def password(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The password in clear: for the call that logs on."""
        secret = self.secret
        return None if secret is None else secret.reveal()

    @classmethod
    @without_variables
    def parse(cls, location: str | os.PathLike[str], *, create: bool = False) -> Location:
        """Reads a URL, or the path of a local directory.

        Args:
            location: ``scheme://[user[:password]@]host[:port]/path``, ``scheme:/path``, or an absolute path.
                In a URL, ``%XX`` is decoded; a query or a fragment is refused. In a path nothing is decoded.
            create: See `Location`.

        Raises:
            LocationError: It is relative, malformed or empty.
        """
        text = os.fspath(location)
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # a path may be bytes
            raise LocationError(f"a location is text or a path, not {type(text).__name__}")
        if "\0" in text:
            raise LocationError("the location has a NUL character", location=redacted(text.replace("\0", "")))
        url = _SCHEME.fullmatch(text) if is_text(location) else None
        if url is None:
            other = None if is_text(location) else _SCHEME.fullmatch(text)
            if other is not None:
                raise _url_in_a_path(other[1], other[2])
            share = _SHARE.match(text) if os.name == "nt" else None
            if share is not None:
                return cls("file", host=share[1], path=_tidy(share[2].replace("\\", "/")), create=create)
            return cls("file", path=_local_path(text), create=create)
        return _parse_url(url[1].lower(), url[2], create=create)

    @property
    def ignores(self) -> Callable[[str], bool]:
        """Tells whether the name of a file or folder is ignored: a backend lists none, and walks into none."""
        return ignoring() if self.ignore is None else ignoring(self.ignore)

    @property
    def shared(self) -> bool:
        """Whether the location names a place that another opener of the same location reaches too."""
        return bool(self.host or self.path)

    @property
    def name(self) -> str:
        """The last segment of the path, or empty text."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder that holds this location; the location itself at the top."""
        return msgspec.structs.replace(self, path=self.path.rpartition("/")[0] or ("" if self.host else self.path[:1]))

    @property
    def local_path(self) -> str:
        r"""The path as programs of this system name it, where the scheme is ``file``.

        On Windows that is ``C:\lab``, and ``\\server\share\lab`` where the location has a server.
        """
        if os.name != "nt":
            return self.path
        if self.host not in {"", "localhost"}:
            return f"\\\\{self.host}{self.path}".replace("/", "\\")
        path = self.path.removeprefix("/").replace("/", "\\")
        return f"{path}\\" if path.endswith(":") else path

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # What a struct has by itself would show the password.
        return [(name, getattr(self, name)) for name in ("scheme", "host", "path", "port", "username")]

    def __repr__(self) -> str:
        return f"Location({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __str__(self) -> str:
        user = ""
        if self.username is not None:
            user = _quoted(self.username, _UNSAFE_IN_USER) + ("" if self.secret is None else ":***") + "@"
        port = "" if self.port is None else f":{self.port}"
        # Beside a ":" in the server part, an "@" in the path would look like the end of a user info.
        unsafe = _UNSAFE_BESIDE_COLON if port or self.secret is not None else _UNSAFE_IN_PATH
        return f"{self.scheme}://{user}{_quoted(self.host, _SURROGATE)}{port}{_quoted(self.path, unsafe)}"


def _url_in_a_path(scheme: str, rest: str) -> LocationError:
    rest = rest.replace("\\", "/") if rest.startswith("\\") else rest  # as a path object of Windows has it
    named = f"{'///' if scheme.lower() in _LOCAL else '//'}{rest.lstrip('/')}"
    url, shown = f"{scheme}:{named}", _shown(scheme, named)
    return LocationError(
        "the path is relative; a path object is never taken for a URL, as it keeps only one of two slashes",
        location=shown if shown != url else f"{scheme}:{rest}",
        hint=f"Give the URL as text: {url if shown == url else f'{scheme}://...'}.",
    )


def _share_meant(named: str) -> str:
    """The URL of a share that was written as Windows does it; an example where it has a user, or no server."""
    named = named.replace("\\", "/")
    if "@" in named:
        return "smb://user@server/share/folder"
    server = named.partition("/")[0]
    # A colon ends a name, and "\\\\.\pipe" and "\\\\?\Volume{...}" name what is on this machine.
    if ":" in server or server in {"", ".", "?"}:
        return "smb://server/share/folder"
    return f"smb://{_quoted(named, _UNSAFE_IN_PATH)}"


def _meant_otherwise(text: str, shown: str) -> LocationError | None:
    """The error for what is a location somewhere else: in a shell, on Windows, in a file manager."""
    text = _LONG.sub("", text, count=1)
    share = _NAMES_SERVER.match(text)
    if share is not None:
        # POSIX leaves open what two slashes mean, and Linux takes them for one: documents would land on this machine.
        return LocationError(
            "this names a share of a server, and no local folder",
            location=shown,
            hint=f"Write {_share_meant(share[1])}, or give the path where it is mounted.",
        )
    if os.name != "nt" and _DRIVE.match(text):
        return LocationError(
            "this is a path of Windows, and the program runs on another system",
            location=shown,
            hint="Write smb://server/share/folder, or give the path where the share is mounted on this machine.",
        )
    if text.startswith("~"):
        return LocationError(
            "the path is relative: a shell puts the home folder in place of '~', and a program does not",
            location=shown,
            hint="Write the home folder out, or give os.path.expanduser(path).",
        )
    return None


def _local_path(text: str) -> str:
    if os.name == "nt":
        text = _LONG.sub("", text, count=1)
    otherwise = _meant_otherwise(text, redacted(text))
    if otherwise is not None:
        raise otherwise
    if os.name == "nt":
        text = text.replace("\\", "/")
        text = text if text.startswith("/") else f"/{text}"
        absolute = re.match(r"/[A-Za-z]:/", text) is not None
    else:
        absolute = text.startswith("/")
    if text.startswith("@"):
        raise LocationError(
            "this is the name of a store in a site's configuration, which has no path of its own",
            location=redacted(text),
            hint="Give a URL or a path.",
        )
    if not absolute:
        raise LocationError(
            "the path is relative" if text else "the location is empty",
            location=redacted(text) or None,
            hint="Give an absolute path or a URL: a store outlives the working directory it was opened in.",
        )
    return _tidy(text)


def _tidy(path: str) -> str:
    # ".." stays: what it means depends on symbolic links, which only the storage system can follow.
    segments = [segment for segment in path.split("/") if segment not in {"", "."}]
    return "/" + "/".join(segments) if segments else "/"


def _looks_cut(authority: str, path: str) -> bool:
    """Whether what stands before the first slash may be the beginning of a user info: ``user:2024/Spring@host``."""
    return ":" in authority and "@" in path and not _ADDRESS.fullmatch(authority)


def _shown(scheme: str, rest: str) -> str:
    """The URL as an error shows it: of what may be a user info with a password, nothing after its first colon."""
    if not rest.startswith("//"):
        return redacted(f"{scheme}:{rest}")
    authority = re.split("[/?#]", rest[2:], maxsplit=1)[0]
    user, colon, after = authority.partition(":")
    may_be_port = "@" in after or (after.isascii() and after.isdigit())
    if colon and not _ADDRESS.match(authority) and not (may_be_port and "@" not in rest[2 + len(authority) :]):
        return f"{scheme}://{user}:***"
    return f"{scheme}:{redacted(rest)}"


def _parse_url(scheme: str, rest: str, *, create: bool) -> Location:
    shown = _shown(scheme, rest)

    def refuse(reason: str, hint: str | None = None) -> LocationError:
        return LocationError(reason, location=shown, hint=hint)

    if "?" in rest or "#" in rest:
        raise refuse(
            "a location has no query and no fragment",
            "Write %3F for '?' and %23 for '#'; pass options as arguments.",
        )
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        path = slash + path
    else:
        authority, path = "", rest
        if path and not path.startswith("/"):
            otherwise = _meant_otherwise(path, shown) if scheme in _LOCAL else None
            server = "" if scheme in _LOCAL else "server"
            raise otherwise or refuse("the URL's path is relative", f"Write {scheme}://{server}/path.")
    if _looks_cut(authority, path):
        raise refuse(
            "the URL's password has a character that ends the server part, or the path has an '@'",
            "In the password, write %2F for '/', %3F for '?', %23 for '#' and %40 for '@'; in the path, %40 for '@'.",
        )
    # No protocol but local files allows ":" in a name; a password that has got into the path would be shown.
    if scheme != "file" and redacted(path) != path:
        raise refuse("the URL has a user where its path is", f"Write {scheme}://user:password@host/path.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise refuse("the URL's server part is malformed", "Write it as user:password@host:port, with %40 for '@'.")
    digits = _PORT.fullmatch(parts["port"]) if parts["port"] else None
    port = None if digits is None else int(digits[1])
    if parts["port"] and (port is None or not 0 < port < 65536):
        raise refuse("the URL's port is not between 1 and 65535")
    given = [parts["username"], parts["password"], path]
    decoded = [None if text is None else _unquoted(text) for text in given[:2]]
    # The names of POSIX are bytes, and a file URL gives them as they are.
    decoded.append(_unquoted(path, "surrogateescape" if scheme in _LOCAL and os.name != "nt" else "strict"))
    if any(text is None and before is not None for before, text in zip(given, decoded, strict=True)):
        raise refuse("the URL has a %XX that is not UTF-8")
    username, password, path = decoded[0], decoded[1], str(decoded[2])
    if "\0" in path:
        raise refuse("the URL has a NUL character")
    if scheme in _LOCAL and parts["host"] in {"", "localhost"}:
        otherwise = _meant_otherwise(_SLASH_BEFORE_DRIVE.sub("", path), shown)
        if otherwise is not None:
            raise otherwise
    path = _tidy(path) if path else ""
    if path == "/" and parts["host"]:
        path = ""
    host = "" if scheme == "file" and parts["host"] == "localhost" else parts["host"]
    return Location(scheme, host=host, path=path, port=port, username=username, password=password, create=create)


def url_of(location: Location | None, key: str) -> str:
    """The URL of a document, without secrets; the key alone where the store has no location."""
    if location is None:
        return key
    return f"{location}{key}" if location.path == "/" else f"{location}/{key}"
