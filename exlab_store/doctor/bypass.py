"""The files of a store as other programs see them: by their paths, or through fsspec.

Some questions cannot be asked through a store: what happens when another program keeps a document open, whether a
flush takes the time that a disk needs. Only files in the doctor's own folder are touched, and nothing here knows
which backend keeps the store.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from exlab_store.keys import lock_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exlab_store.location import Location

__all__ = ["NO_FOLDER", "Bypass", "Open", "find_bypass"]

NO_FOLDER = "the doctor's folder is not there"


class Open(Protocol):
    """A file that is kept open."""

    def close(self) -> None:
        """Closes it."""
        ...


class Bypass(Protocol):
    """Another way to the files of a store."""

    @property
    def directory(self) -> str | None:
        """The path of the store on this machine, or None."""
        ...

    def hold(self, key: str) -> Open:
        """Keeps a document open for reading, as a viewer would: others may read and write it meanwhile."""
        ...

    def modified(self, key: str) -> float:
        """When a document was last written, by the storage's clock, in seconds since 1970."""
        ...

    def take_lock_away(self, key: str) -> bool:
        """Removes a document's lock file from under its holder, where that is possible."""
        ...

    def time_flushes(self, key: str, size: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
        """Milliseconds of flushes of a file with so many new bytes, and of flushes with nothing new."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of all files in a folder, at any depth."""
        ...

    def remove(self, folder: str) -> None:
        """Removes a folder and all that is in it."""
        ...


class LocalFiles:
    """Files with a path on this machine, on a disk or a mount.

    Args:
        directory: The store's.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    @property
    def directory(self) -> str | None:
        """The store's directory."""
        return self._directory

    def hold(self, key: str) -> Open:
        """As `Bypass.hold`."""
        return open(self._path(key), "rb", buffering=0)

    def modified(self, key: str) -> float:
        """As `Bypass.modified`."""
        return os.stat(self._path(key)).st_mtime

    def take_lock_away(self, key: str) -> bool:
        """As `Bypass.take_lock_away`."""
        try:
            os.unlink(self._path(lock_key(key)))
        except OSError:
            return False
        return True

    def time_flushes(self, key: str, size: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
        """As `Bypass.time_flushes`."""
        times = _Flushes(size, rounds, seconds)
        while times.more:
            with open(self._path(key), "wb", buffering=0) as file:
                file.write(times.data)
                times.note(partial(os.fsync, file.fileno()))
        return times.dirty, times.clean

    def names(self, folder: str) -> list[str]:
        """As `Bypass.names`."""
        return [name for _, _, names in os.walk(self._path(folder)) for name in names]

    def remove(self, folder: str) -> None:
        """As `Bypass.remove`."""
        import shutil

        shutil.rmtree(self._path(folder), ignore_errors=True)

    def _path(self, key: str) -> str:
        return os.path.join(self._directory, *key.split("/"))


class RemoteFiles:
    """Files that fsspec reaches.

    Args:
        file_system: An fsspec filesystem.
        path: The store's path in it.
    """

    directory: str | None = None

    def __init__(self, file_system: Any, path: str) -> None:
        self._files = file_system
        self._root = path.rstrip("/")

    def hold(self, key: str) -> Open:
        """As `Bypass.hold`."""
        file: Open = self._open(key, "rb")
        return file

    def modified(self, key: str) -> float:
        """As `Bypass.modified`."""
        return float(self._files.modified(self._path(key)).timestamp())

    def take_lock_away(self, key: str) -> bool:
        """As `Bypass.take_lock_away`: a server's lock ends with the connection of its holder instead."""
        del key
        return False

    def time_flushes(self, key: str, size: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
        """As `Bypass.time_flushes`."""
        times = _Flushes(size, rounds, seconds)
        while times.more:
            with self._open(key, "wb") as file:
                file.write(times.data)
                self._files.exists(self._path(key))  # one round trip, so that the write has settled
                # The buffer's own flush() does not pass the request on.
                times.note(getattr(file, "raw", file).flush)
        return times.dirty, times.clean

    def names(self, folder: str) -> list[str]:
        """As `Bypass.names`."""
        names: list[str] = []
        for entry in self._files.ls(self._path(folder), detail=True):
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            names += self.names(f"{folder}/{name}") if entry["type"] == "directory" else [name]
        return names

    def remove(self, folder: str) -> None:
        """As `Bypass.remove`."""
        if self._files.exists(self._path(folder)):
            self._remove(self._path(folder))

    def _remove(self, path: str) -> None:
        for entry in self._files.ls(path, detail=True):
            name = str(entry["name"]).rstrip("/")
            if entry["type"] == "directory":
                self._remove(name)
            else:
                self._files.rm_file(name)
        self._files.rmdir(path)

    def _open(self, key: str, mode: str) -> Any:
        try:
            return self._files.open(self._path(key), mode, share_access="rw")
        except TypeError:  # the option is of protocols that know sharing
            return self._files.open(self._path(key), mode)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


class _Flushes:
    def __init__(self, size: int, rounds: int, seconds: float) -> None:
        self.data = os.urandom(size)  # a file system that compresses or deduplicates has to write it all the same
        self.dirty: list[float] = []
        self.clean: list[float] = []
        self._rounds = rounds
        self._end = time.monotonic() + seconds

    @property
    def more(self) -> bool:
        return len(self.clean) < 2 or (len(self.clean) < self._rounds and time.monotonic() < self._end)

    def note(self, flush: Callable[[], object]) -> None:
        for times in (self.dirty, self.clean):
            began = time.perf_counter()
            flush()
            times.append((time.perf_counter() - began) * 1000)


def find_bypass(location: Location, options: Mapping[str, Any], folder: str) -> Bypass | str:
    """The other way to a store's files, proven by the doctor's own folder, whose name nobody can guess.

    Args:
        location: Where the store is.
        options: The options that it was opened with.
        folder: The folder.

    Returns:
        The way, or the reason why there is none.
    """
    if os.path.isdir(os.path.join(location.path, folder)) or (not location.host and os.path.isdir(location.path)):
        return LocalFiles(location.path)
    account = {"host": location.host, "port": location.port, "username": location.username}
    given = {name: value for name, value in account.items() if value} | dict(options)
    if location.password is not None:
        given["password"] = location.password
    try:
        import fsspec  # pyright: ignore[reportMissingTypeStubs]

        # fsspec would keep it, with its password, for the life of the process.
        given["skip_instance_cache"] = True
        files: Any = fsspec.filesystem(location.scheme, **given)  # pyright: ignore[reportUnknownMemberType]
        if files.exists(f"{location.path.rstrip('/')}/{folder}"):
            return RemoteFiles(files, location.path)
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed"
    except Exception as error:  # of any kind: each filesystem has its own; the text may show what it was given
        return f"fsspec cannot open it ({type(error).__name__})"
    return NO_FOLDER
