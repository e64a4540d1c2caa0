"""The places that a site may choose among, with what each promises: the rows of "Choose a protocol for a site".

Those that a server keeps are opened on a real one. What a mount promises is asked of the backend, as it would see the
mount.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from exlab_store_fsspec.claims import claims_of as fsspec_claims_of
from exlab_store_fsspec.protocols import protocol_of
from exlab_store_memory import MemoryBackend
from exlab_store_posix.claims import claims_of
from exlab_store_posix.mounts import FileSystem, MountedFileSystem

from exlab_store import Guarantees, Store, open_store
from exlab_store.hooks.acceptance import effective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from web_servers import Kind

__all__ = ["COLUMNS", "NEEDS", "SERVED", "claimed_cells", "promised_without_server"]

COLUMNS: Final = (
    "atomic_replace",
    "durable",
    "conditional_write",
    "lock_scope",
    "lock_release",
    "fenced",
    "fresh",
    "watch",
)

_MOUNTS: Final = {
    "local disk": MountedFileSystem(FileSystem.LOCAL),
    "NFS 4 mount": MountedFileSystem(FileSystem.NFS, {"vers": "4.2", "local_lock": "none"}),
    "SMB mount": MountedFileSystem(FileSystem.SMB_MOUNT, {"vers": "3.1.1", "cache": "strict"}),
    "other network": MountedFileSystem(FileSystem.NETWORK),
    "FUSE, other": MountedFileSystem(FileSystem.UNKNOWN),
    "tmpfs": MountedFileSystem(FileSystem.VOLATILE),
}

NEEDS: Final = {
    "smb:": "a Windows or Samba server, an account, the extra `smb`",
    "postgresql:": "a PostgreSQL server, a role, the extra `postgresql`",
    "s3:": "S3, or a server that honours conditions on writes, a key, the extra `s3`",
    "sftp:, with a shell": "an SSH server with GNU coreutils and flock, an account with a shell, the extra `sftp`",
    "sftp:, without": "an SSH server, an account, the extra `sftp`",
    "local disk": "nothing",
    "NFS 4 mount": "root, to mount it",
    "SMB mount": "root, to mount it",
    "other network": "root, to mount it",
    "FUSE, other": "what mounts it",
    "tmpfs": "nothing",
    "memory:": "nothing",
    "fsspec+webdav:, nginx": "nginx with ngx_http_dav_ext_module, an account, the extra `fsspec`",
    "fsspec+webdav:, Apache": "Apache with mod_dav_fs, an account, the extra `fsspec`",
    "fsspec+, other": "the extra `fsspec`, and the protocol's package",
}
"""Every place, in the order of the table."""


def promised_without_server() -> dict[str, Guarantees]:
    """What the places promise that no server keeps; on Linux, which the caller sees to."""
    found = {name: claims_of(mount) for name, mount in _MOUNTS.items()}
    found["memory:"] = MemoryBackend.guarantees
    found["fsspec+, other"] = effective(fsspec_claims_of(protocol_of("ftp"), None)[0])
    return found


@contextmanager
def _smb(via: Callable[[int], int]) -> Iterator[Store]:
    from shared_samba import running_server

    with (
        running_server() as server,
        open_store(server.url(port=via(server.port)), password=server.password) as store,
    ):
        yield store


@contextmanager
def _s3(via: Callable[[int], int]) -> Iterator[Store]:
    from seaweed_server import HOST, running_seaweed

    with running_seaweed() as server:
        options = {**server.options, "endpoint": f"http://{HOST}:{via(server.port)}"}
        with open_store(server.folder(), **options) as store:
            yield store


@contextmanager
def _postgresql(via: Callable[[int], int]) -> Iterator[Store]:
    from postgresql_server import running_postgresql

    with (
        running_postgresql() as server,
        open_store(server.url(port=via(server.port)), create=True, **server.options()) as store,
    ):
        yield store


@contextmanager
def _sftp(via: Callable[[int], int], *, shell: bool) -> Iterator[Store]:
    from ssh_server import running_sshd

    with running_sshd() as server:
        port = via(server.port if shell else server.bare_port)
        # Its key, as its file of known hosts has the server's own ports.
        options = {**server.options, "known_hosts": None, "host_key": server.host_key}
        with open_store(server.url(port=port), **options) as store:
            yield store


@contextmanager
def _webdav(kind: Kind, via: Callable[[int], int]) -> Iterator[Store]:
    from web_servers import running_web_server

    with (
        running_web_server(kind) as server,
        open_store(server.location(port=via(server.port)), tls=False) as store,
    ):
        yield store


SERVED: Final[dict[str, Callable[[Callable[[int], int]], AbstractContextManager[Store]]]] = {
    "smb:": _smb,
    "postgresql:": _postgresql,
    "s3:": _s3,
    "sftp:, with a shell": lambda via: _sftp(via, shell=True),
    "sftp:, without": lambda via: _sftp(via, shell=False),
    "fsspec+webdav:, nginx": lambda via: _webdav("nginx", via),
    "fsspec+webdav:, Apache": lambda via: _webdav("apache", via),
}
"""What opens a store on a real server, by the place's name; given what makes the port of a proxy from the server's."""


def claimed_cells(guarantees: Guarantees) -> list[str]:
    """The guarantees as the table shows them.

    Args:
        guarantees: What a place promises.
    """
    words = {True: "yes", False: "no"}
    values = [getattr(guarantees, name) for name in COLUMNS]
    cells = [words.get(value, value) for value in values]
    if guarantees.lock_scope == "none":
        cells[COLUMNS.index("lock_release")] = "none"
    return cells
