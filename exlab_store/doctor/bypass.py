"""The files of a store as other programs see them: by their paths, or as the backend's plugin knows to reach them.

Some questions cannot be asked through a store: what happens when another program keeps a document open, whether a
flush takes the time that a disk needs. Only files in the doctor's own folder are touched, and nothing here knows
which backend keeps the store: an entry point in the group ``exlab_store.bypasses``, named after the URL scheme, points
to a callable ``(location, options) -> Bypass``. It is optional.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from exlab_store.keys import lock_key
from exlab_store.opening.offers import offers_of
from exlab_store.signal_handlers import came_from_signal_handler, mode_at

if TYPE_CHECKING:
    import io
    from collections.abc import Mapping

    from exlab_store.location import Location

__all__ = ["GROUP", "NO_FOLDER", "Bypass", "Open", "OpenToWrite", "find_bypass", "time_flushes"]

GROUP = "exlab_store.bypasses"

NO_FOLDER = "the doctor's folder is not there"


class Open(Protocol):
    """A file that is kept open."""

    def close(self) -> None:
        """Closes it."""
        ...


class OpenToWrite(Open, Protocol):
    """A file that is being written."""

    def write(self, data: bytes, /) -> object:
        """Hands bytes to the storage, and waits until it has them."""
        ...

    def flush(self) -> None:
        """Asks the storage to put them where a power cut does not reach them, and waits for its answer."""
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

    def open_to_write(self, key: str) -> OpenToWrite:
        """Makes a file, or empties it."""
        ...

    def exists(self, folder: str) -> bool:
        """Whether a folder is there."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of all files in a folder, at any depth."""
        ...

    def remove(self, folder: str) -> None:
        """Removes a folder and all that is in it."""
        ...


class _Flushed:
    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.write = file.write
        self.close = file.close

    def flush(self) -> None:
        os.fsync(self._file.fileno())


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

    def open_to_write(self, key: str) -> OpenToWrite:
        """As `Bypass.open_to_write`."""
        return _Flushed(open(self._path(key), "wb", buffering=0))

    def exists(self, folder: str) -> bool:
        """As `Bypass.exists`."""
        return stat.S_ISDIR(mode_at(self._path(folder)))

    def names(self, folder: str) -> list[str]:
        """As `Bypass.names`."""
        return [name for _, _, names in os.walk(self._path(folder)) for name in names]

    def remove(self, folder: str) -> None:
        """As `Bypass.remove`."""
        import shutil

        shutil.rmtree(self._path(folder), ignore_errors=True)

    def _path(self, key: str) -> str:
        return os.path.join(self._directory, *key.split("/"))


def time_flushes(bypass: Bypass, key: str, size: int, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """How long a file takes to be flushed: with new bytes, and again with nothing new.

    Args:
        bypass: The way to the file.
        key: The file; it is made.
        size: Its size in bytes.
        rounds: How often at most.
        seconds: For how long, two rounds at least.

    Returns:
        Milliseconds of the flushes with new bytes, and of those without.
    """
    data = os.urandom(size)  # a file system that compresses or deduplicates has to write it all the same
    dirty: list[float] = []
    clean: list[float] = []
    end = time.monotonic() + seconds
    while len(clean) < 2 or (len(clean) < rounds and time.monotonic() < end):
        with closing(bypass.open_to_write(key)) as file:
            file.write(data)
            for times in (dirty, clean):
                began = time.perf_counter()
                file.flush()
                times.append((time.perf_counter() - began) * 1000)
    return dirty, clean


def find_bypass(location: Location, options: Mapping[str, Any], folder: str) -> Bypass | str:
    """The other way to a store's files, proven by the doctor's own folder, whose name nobody can guess.

    Args:
        location: Where the store is.
        options: The options that it was opened with.
        folder: The folder.

    Returns:
        The way, or the reason why there is none.
    """
    path = location.local_path if location.scheme == "file" else location.path
    its_own = stat.S_ISDIR(mode_at(os.path.join(path, folder)))
    if its_own or (not location.host and stat.S_ISDIR(mode_at(path))):
        return LocalFiles(path)
    try:
        for offer in offers_of(GROUP):
            if offer.name == location.scheme and offer.fault is None:
                found: Bypass = offer.entry.load()(location, options)
                return found if found.exists(folder) else NO_FOLDER
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed"
    except (Exception, SystemExit) as error:  # each storage has its own; the text may show what it was given
        if came_from_signal_handler(error):
            raise
        return f"it cannot be opened ({type(error).__name__})"
    return f"no installed plugin knows one for {location.scheme}:"
