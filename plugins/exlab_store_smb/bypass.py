"""The files of a share as other programs see them, for the doctor: through fsspec's own ``smb:`` filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.implementations.smb import SMBFileSystem

from exlab_store import without_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exlab_store import Location

__all__ = ["ShareFiles", "open_bypass"]


@without_variables
def open_bypass(location: Location, options: Mapping[str, Any]) -> ShareFiles:
    """Opens the share once more, over a connection that has nothing to do with the store's.

    Args:
        location: Where the store is.
        options: The options that it was opened with.
    """
    # fsspec would keep it, with its password, for the life of the process.
    return ShareFiles(SMBFileSystem(**{**_account(location), **options}, skip_instance_cache=True), location.path)


def _account(location: Location) -> dict[str, Any]:
    account = {
        "host": location.host,
        "port": location.port,
        "username": location.username,
        "password": location.password,
    }
    return {name: value for name, value in account.items() if value is not None}


class ShareFiles:
    """Files of a share; each method is as the doctor's `Bypass` says.

    Args:
        file_system: fsspec's.
        path: The store's path in it.
    """

    directory: str | None = None

    def __init__(self, file_system: Any, path: str) -> None:
        self._files = file_system
        self._root = path.rstrip("/")

    def exists(self, folder: str) -> bool:
        """Whether a folder is there."""
        return bool(self._files.exists(self._path(folder)))

    def hold(self, key: str) -> Any:
        """Keeps a document open for reading; others may read and write it meanwhile."""
        return self._files.open(self._path(key), "rb", share_access="rw")

    def open_to_write(self, key: str) -> _Settled:
        """Makes a file, or empties it."""
        path = self._path(key)
        return _Settled(self._files, path, self._files.open(path, "wb", share_access="rw"))

    def modified(self, key: str) -> float:
        """When a document was last written, by the server's clock, in seconds since 1970."""
        return float(self._files.modified(self._path(key)).timestamp())

    def take_lock_away(self, key: str) -> bool:
        """Does nothing: a server's lock ends with the connection of its holder instead."""
        del key
        return False

    def names(self, folder: str) -> list[str]:
        """The names of all files in a folder, at any depth."""
        names: list[str] = []
        for entry in self._files.ls(self._path(folder), detail=True):
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            names += self.names(f"{folder}/{name}") if entry["type"] == "directory" else [name]
        return names

    def remove(self, folder: str) -> None:
        """Removes a folder and all that is in it."""
        if self.exists(folder):
            self._remove(self._path(folder))

    def _remove(self, path: str) -> None:
        for entry in self._files.ls(path, detail=True):
            name = str(entry["name"]).rstrip("/")
            if entry["type"] == "directory":
                self._remove(name)
            else:
                self._files.rm_file(name)
        self._files.rmdir(path)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


class _Settled:
    """A file whose writes have reached the server when they return."""

    def __init__(self, file_system: Any, path: str, file: Any) -> None:
        self._files, self._path, self._file = file_system, path, file

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._files.exists(self._path)  # one round trip

    def flush(self) -> None:
        getattr(self._file, "raw", self._file).flush()  # the buffer's own does not pass the request on

    def close(self) -> None:
        self._file.close()
