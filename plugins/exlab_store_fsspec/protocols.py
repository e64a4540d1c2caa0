"""The protocols of fsspec that need something of their own: a package, a way to read, a place of the URL's parts."""

from __future__ import annotations

from typing import Final

import msgspec

from exlab_store_fsspec.ways import FlatWays, HttpWays, ReadOnlyWays, Ways
from exlab_store_fsspec.webdav import WebdavWays

__all__ = ["CACHING", "FsspecProtocol", "protocol_of"]


class FsspecProtocol(msgspec.Struct, frozen=True):
    """One protocol.

    Attributes:
        name: As fsspec names it.
        ways: How documents are read and written.
        package: What pip installs for it; empty where fsspec suffices.
        kept: Whether a file system serves more than one call; one that keeps an archive open does not see a new one.
        folders: Whether a store's folder can be looked at when the store is opened.
        instead: What serves the same storage with more guarantees; empty for nothing.
    """

    name: str
    ways: Ways = Ways()
    package: str = ""
    kept: bool = True
    folders: bool = True
    instead: str = ""


_KNOWN: Final = {
    each.name: each
    for each in (
        FsspecProtocol("webdav", WebdavWays(), "webdav4"),
        FsspecProtocol("http", HttpWays(), "aiohttp", folders=False),
        FsspecProtocol("https", HttpWays(), "aiohttp", folders=False),
        FsspecProtocol("memory", FlatWays(), instead="memory:"),
        FsspecProtocol("file", instead="file:"),
        FsspecProtocol("local", instead="file:"),
        FsspecProtocol("zip", ReadOnlyWays(), kept=False),
        FsspecProtocol("tar", ReadOnlyWays(), kept=False),
        FsspecProtocol("github", ReadOnlyWays(), "requests"),
        FsspecProtocol("gcs", package="gcsfs"),
        FsspecProtocol("gs", package="gcsfs"),
        FsspecProtocol("abfs", package="adlfs"),
        FsspecProtocol("az", package="adlfs"),
        FsspecProtocol("s3", package="s3fs"),
        FsspecProtocol("s3a", package="s3fs"),
        FsspecProtocol("hdfs", package="pyarrow"),
        FsspecProtocol("webhdfs", package="requests"),
        FsspecProtocol("sftp", package="paramiko"),
        FsspecProtocol("ssh", package="paramiko"),
        FsspecProtocol("smb", package="smbprotocol", instead="smb:"),
    )
}

CACHING: Final = frozenset({"blockcache", "cached", "filecache", "simplecache"})
"""Protocols that keep copies of what they read: a read would be of an older document."""


def protocol_of(name: str) -> FsspecProtocol:
    """What is known of a protocol.

    Args:
        name: As fsspec names it.
    """
    return _KNOWN.get(name) or FsspecProtocol(name)
