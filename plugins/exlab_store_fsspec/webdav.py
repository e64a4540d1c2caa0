"""WebDAV through webdav4, fsspec's client for it: a read and a write in one request each, and who the server is.

webdav4's own ``open`` asks for the document's properties before it reads, and its ``pipe_file`` sends four requests,
one of which lists the folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import quote

from exlab_store import InvalidKey
from exlab_store_fsspec.faults import FolderNotMade
from exlab_store_fsspec.ways import FsspecFileSystem, Ways, ensure_room_for

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["APACHE", "NGINX", "DavServer", "RefusedRequest", "WebdavWays", "identified"]

APACHE: Final = "Apache mod_dav_fs"
NGINX: Final = "nginx"

_PART: Final = 1 << 20
_CREATED: Final = frozenset({200, 201, 204})
_NO_FOLDER: Final = frozenset({404, 409})
_IS_THERE: Final = frozenset({201, 405})  # MKCOL says 405 where there is a folder already [RFC 4918 9.3.1]
# What mod_dav_fs, and nothing else, says of itself in its answer to OPTIONS.
_MOD_DAV_FS: Final = "<http://apache.org/dav/propset/fs/1>"
_PRODUCT: Final = re.compile(r"(?P<name>Apache|nginx)(?:/(?P<version>\d+(?:\.\d+){0,3}))?(?=\s|\Z)")


class RefusedRequest(Exception):
    """An answer that says no.

    Args:
        status_code: Its status.
    """

    def __init__(self, status_code: int) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code


class DavServer(NamedTuple):
    """The software that answers.

    Attributes:
        name: ``Apache mod_dav_fs``, ``nginx``, or empty text for any other.
        version: As it tells it; empty where it does not.
    """

    name: str
    version: tuple[int, ...] = ()


def identified(headers: Mapping[str, str]) -> DavServer:
    """The server, from its answer to OPTIONS.

    A proxy puts its own name into ``Server``, so the name alone says nothing. mod_dav_fs names its properties; nginx's
    own WebDAV is the only one of those tried that leaves out ``MS-Author-Via``.

    Args:
        headers: With names in any case, as httpx keeps them.
    """
    compliance = headers.get("dav", "")
    product = _PRODUCT.match(headers.get("server", ""))
    named = "" if product is None else product["name"]
    version = () if product is None or not product["version"] else _numbers(product["version"])
    if _MOD_DAV_FS in compliance:
        return DavServer(APACHE, version if named == "Apache" else ())
    if named == "nginx" and compliance and "ms-author-via" not in headers:
        return DavServer(NGINX, version)
    return DavServer("")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class WebdavWays(Ways):
    """GET and PUT on the connection of webdav4's client."""

    def path_of(self, root: str, key: str) -> str:
        """See `Ways`. It is quoted: httpx takes ``%41`` for what is quoted already, and ``#`` for a wrong path."""
        return quote(super().path_of(root, key))

    def server(self, file_system: FsspecFileSystem, path: str) -> DavServer:
        """Who serves a folder.

        Args:
            file_system: Of the calling thread.
            path: Of the folder.
        """
        client = _client(file_system)
        answer = client.http.request("OPTIONS", client.join_url(path, add_trailing_slash=True))
        return identified(answer.headers)

    def read(self, file_system: FsspecFileSystem, path: str) -> bytes:
        """See `Ways`: one GET, of which no more is taken than a document may have."""
        client = _client(file_system)
        with client.http.stream("GET", client.join_url(path), follow_redirects=False) as answer:
            if 300 <= answer.status_code < 400 and answer.headers.get("location", "").endswith("/"):
                raise InvalidKey("the key names a folder")
            if answer.status_code != 200:
                raise RefusedRequest(answer.status_code)
            parts = bytearray()
            for part in answer.iter_bytes(_PART):
                parts += part
                ensure_room_for(len(parts))
        return bytes(parts)

    def write(self, file_system: FsspecFileSystem, path: str, data: bytes) -> None:
        """See `Ways`: one PUT where the folder is there."""
        client, folder = _client(file_system), path.rpartition("/")[0]
        status = _status_of_put(client, path, data)
        # nginx says 500 where a document stands in the place of a folder.
        if status == 500 and self._is_document(file_system, folder):
            raise InvalidKey("a document has the name of one of its folders")
        if status in _NO_FOLDER:
            try:
                _make_folders(client, folder)
            except Exception as error:
                raise FolderNotMade from error
            status = _status_of_put(client, path, data)
        if status not in _CREATED:
            raise RefusedRequest(status)

    def _is_document(self, file_system: FsspecFileSystem, path: str) -> bool:
        try:
            return bool(self.look(file_system, path).get("type") == "file")
        except FileNotFoundError:
            return False


def _make_folders(client: Any, folder: str) -> None:
    """Makes a folder and those above it; most often the last one alone is missing."""
    missing: list[str] = []
    while folder.strip("/"):
        status = _status_of_mkcol(client, folder)
        if status in _IS_THERE:
            break
        if status not in _NO_FOLDER:
            raise RefusedRequest(status)
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    for each in reversed(missing):
        status = _status_of_mkcol(client, each)
        if status not in _IS_THERE:
            raise RefusedRequest(status)


def _status_of_put(client: Any, path: str, data: bytes) -> int:
    url = client.join_url(path)
    return int(client.http.request("PUT", url, content=data, follow_redirects=False).status_code)


def _status_of_mkcol(client: Any, folder: str) -> int:
    url = client.join_url(folder, add_trailing_slash=True)
    status = int(client.http.request("MKCOL", url, follow_redirects=False).status_code)
    if status == 403:
        # Apache says so when somebody else has made the folder at this moment; the second time it says 405.
        status = int(client.http.request("MKCOL", url, follow_redirects=False).status_code)
    return status


def _client(file_system: FsspecFileSystem) -> Any:
    return cast("Any", file_system).client
