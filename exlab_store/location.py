"""Where a store is: a parsed URL or local directory that never shows a secret."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.errors import LocationError
from exlab_store.ignored import ignoring

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Location", "redacted"]

# Two letters at least: "C:\data" is a Windows path, not a URL of scheme "c".
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_AUTHORITY = re.compile(
    r"(?:(?P<username>[^:@]*)(?::(?P<password>.*))?@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:@\[\]]*)(?::(?P<port>[0-9]*))?",
    re.DOTALL,
)
_UNSAFE_IN_PATH = re.compile(r"[%?#\x00-\x1f\x7f]")
_UNSAFE_IN_USER = re.compile(r"[%?#/:@\x00-\x1f\x7f]")


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # 14 ms to import, and few locations need it

    return unquote(text, errors="strict")


def _quoted(text: str, unsafe: re.Pattern[str]) -> str:
    # Only what would not parse back is quoted, so that names in messages stay readable.
    return unsafe.sub(lambda match: f"%{ord(match[0]):02X}", text)


def redacted(text: str) -> str:
    """A text that may be a malformed location, without what may be a password in it.

    Args:
        text: What somebody has given as a location.
    """
    # Greedy: what is malformed may have a slash, a question mark or another "@" in its password. Not a regular
    # expression: that took 8 s for 200,000 colons.
    start, end = text.find(":"), text.rfind("@")
    return text if start < 0 or end < start else f"{text[:start]}:***@{text[end + 1 :]}"


class Location(msgspec.Struct, frozen=True):
    """A place that holds documents.

    Attributes:
        scheme: In lower case; ``file`` for a local directory. It chooses the backend.
        host: The server, or for ``memory`` the name of the shared store; may be empty.
        path: Decoded, starts with ``/``, has no empty segments and no trailing ``/``; empty for none.
        port: The server's port, or None for the scheme's own.
        username: Decoded, or None where the URL has none.
        password: Decoded, or None where the URL has none. It is in no ``repr`` and no ``str``.
        create: The caller accepts a place that does not exist yet: the first write makes it. Backends
            whose places cannot be missing ignore it.
        ignore: Names of files and folders that are no documents, such as a NAS's recycle bin; None for
            `exlab_store.IGNORED`.
    """

    scheme: str
    host: str = ""
    path: str = ""
    port: int | None = None
    username: str | None = None
    password: str | None = None
    create: bool = False
    ignore: tuple[str, ...] | None = None

    @classmethod
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
        url = _SCHEME.fullmatch(text) if isinstance(location, str) else None
        if url is None:
            other = None if isinstance(location, str) else _SCHEME.fullmatch(text)
            if other is not None:
                raise _url_in_a_path(other[1], other[2])
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

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # What a struct has by itself would show the password.
        return [(name, getattr(self, name)) for name in ("scheme", "host", "path", "port", "username")]

    def __repr__(self) -> str:
        return f"Location({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __str__(self) -> str:
        user = ""
        if self.username is not None:
            user = _quoted(self.username, _UNSAFE_IN_USER) + ("" if self.password is None else ":***") + "@"
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{user}{self.host}{port}{_quoted(self.path, _UNSAFE_IN_PATH)}"


def _unless_secret(url: str, otherwise: str) -> str:
    return otherwise if "@" in url else url


def _url_in_a_path(scheme: str, rest: str) -> LocationError:
    return LocationError(
        "the path is relative; a path object is never taken for a URL, as it keeps only one of two slashes",
        location=redacted(f"{scheme}:{rest}"),
        hint=f"Give the URL as text: {_unless_secret(f'{scheme}://' + rest.lstrip('/'), f'{scheme}://...')}.",
    )


def _meant_otherwise(text: str) -> LocationError | None:
    """The error for what is a location somewhere else: in a shell, on Windows, in a file manager."""
    if re.match(r"//[^/]|\\\\[^\\]", text):
        # POSIX leaves open what two slashes mean, and Linux takes them for one: documents would land on this machine.
        url = _unless_secret("smb:" + text.replace("\\", "/"), "smb://user@server/share/folder")
        return LocationError(
            "this names a share of a server, and no local folder",
            location=redacted(text),
            hint=f"Write {url}, or give the path where it is mounted.",
        )
    if os.name != "nt" and re.match(r"[A-Za-z]:([/\\]|\Z)", text):
        return LocationError(
            "this is a path of Windows, and the program runs on another system",
            location=redacted(text),
            hint="Write smb://server/share/folder, or give the path where the share is mounted on this machine.",
        )
    if text.startswith("~"):
        return LocationError(
            "the path is relative: a shell puts the home folder in place of '~', and a program does not",
            location=redacted(text),
            hint="Write the home folder out, or give os.path.expanduser(path).",
        )
    return None


def _local_path(text: str) -> str:
    otherwise = _meant_otherwise(text)
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


def _parse_url(scheme: str, rest: str, *, create: bool) -> Location:
    shown = f"{scheme}:{redacted(rest)}" if rest.startswith("//") else redacted(f"{scheme}:{rest}")

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
            raise refuse("the URL's path is relative", f"Write {scheme}:///path for an absolute one.")
    # No protocol but local files allows ":" in a name; a password that has got into the path would be shown.
    if scheme != "file" and redacted(path) != path:
        raise refuse("the URL has a user where its path is", f"Write {scheme}://user:password@host/path.")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise refuse("the URL's server part is malformed", "Write it as user:password@host:port, with %40 for '@'.")
    port = int(parts["port"]) if parts["port"] else None
    if port is not None and not 0 < port < 65536:
        raise refuse("the URL's port is not between 1 and 65535")
    try:
        username = None if parts["username"] is None else _unquoted(parts["username"])
        password = None if parts["password"] is None else _unquoted(parts["password"])
        path = _unquoted(path)
    except UnicodeDecodeError:
        raise refuse("the URL has a %XX that is not UTF-8") from None
    if "\0" in path:
        raise refuse("the URL has a NUL character")
    path = _tidy(path) if path else ""
    if path == "/" and parts["host"]:
        path = ""
    host = "" if scheme == "file" and parts["host"] == "localhost" else parts["host"]
    return Location(scheme, host=host, path=path, port=port, username=username, password=password, create=create)
