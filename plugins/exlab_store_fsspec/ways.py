"""The ways to read, write and delete a document with a file system of fsspec, in whole documents."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from exlab_store import InvalidKey, NotSupported
from exlab_store_fsspec.faults import FolderNotMade

if TYPE_CHECKING:
    from typing import IO

__all__ = [
    "LARGEST",
    "FlatWays",
    "FsspecFileSystem",
    "HttpWays",
    "ReadOnlyWays",
    "StreamedWays",
    "Ways",
    "ensure_room_for",
]

LARGEST: Final = 256 << 20
"""Bytes of a document, beyond which it is not read: what a server sends must not fill this machine's memory."""

_PART: Final = 1 << 20


class FsspecFileSystem(Protocol):
    """What is used of fsspec's ``AbstractFileSystem``."""

    def cat_file(self, path: str) -> bytes:
        """The bytes of a file."""
        ...

    def pipe_file(self, path: str, value: bytes) -> None:
        """Writes a file."""
        ...

    def open(self, path: str, mode: str, **options: Any) -> IO[bytes]:
        """Opens a file."""
        ...

    def rm_file(self, path: str) -> None:
        """Removes a file."""
        ...

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Makes a folder and those above it."""
        ...

    def info(self, path: str) -> dict[str, Any]:
        """What is known of a file or a folder."""
        ...

    def ls(self, path: str, detail: bool = True) -> list[dict[str, Any]]:
        """What is in a folder."""
        ...

    def invalidate_cache(self) -> None:
        """Forgets the folders that were listed."""
        ...


def ensure_room_for(size: object) -> None:
    """Refuses a document that is too large to be read.

    Args:
        size: Its bytes, as the storage says or as they were counted; None for unknown.

    Raises:
        NotSupported: It is larger than `LARGEST`.
    """
    if isinstance(size, int) and size > LARGEST:
        raise NotSupported(f"the document has more than {LARGEST >> 20} MiB, which is more than a document may have")


class Ways:
    """The calls of fsspec that take or give a whole document: most object stores make one request of each.

    Attributes:
        writes: Whether documents are written and deleted.
        lists: Whether folders are listed.
    """

    writes = True
    lists = True

    def path_of(self, root: str, key: str) -> str:
        """The path of a key.

        Args:
            root: The store's folder, as fsspec names it.
            key: A valid key, or empty text for the store itself.
        """
        if not key:
            return root
        return f"{root.rstrip('/')}/{key}" if root else key  # in an archive, a path does not begin with a slash

    def prepare(self, file_system: FsspecFileSystem) -> None:
        """Called once for each file system that was made; fsspec's cache of folders is emptied before each look.

        Args:
            file_system: A new one.
        """
        file_system.invalidate_cache()

    def look(self, file_system: FsspecFileSystem, path: str) -> dict[str, Any]:
        """What is known of a file or a folder at this moment.

        Args:
            file_system: Of the calling thread.
            path: From `path_of`.
        """
        file_system.invalidate_cache()
        return file_system.info(path)

    def entries(self, file_system: FsspecFileSystem, path: str) -> list[dict[str, Any]]:
        """What is in a folder at this moment.

        Args:
            file_system: Of the calling thread.
            path: From `path_of`.
        """
        file_system.invalidate_cache()
        return file_system.ls(path, detail=True)

    def read(self, file_system: FsspecFileSystem, path: str) -> bytes:
        """Reads a document.

        Args:
            file_system: Of the calling thread.
            path: From `path_of`.
        """
        ensure_room_for(self.look(file_system, path).get("size"))
        return bytes(file_system.cat_file(path))

    def write(self, file_system: FsspecFileSystem, path: str, data: bytes) -> None:
        """Writes a document; the folders above it are made where they are missing.

        Args:
            file_system: Of the calling thread.
            path: From `path_of`.
            data: The whole document.
        """
        with suppress(FileNotFoundError):
            file_system.pipe_file(path, data)
            return
        try:
            file_system.makedirs(path.rpartition("/")[0], exist_ok=True)
        except Exception as error:
            raise FolderNotMade from error
        file_system.pipe_file(path, data)

    def delete(self, file_system: FsspecFileSystem, path: str) -> None:
        """Deletes a document.

        Args:
            file_system: Of the calling thread.
            path: From `path_of`.

        Raises:
            DocumentNotFound: There is none; some storage systems would say nothing.
            InvalidKey: It is a folder, which some would delete with all that is in it.
        """
        if self.look(file_system, path).get("type") == "directory":
            raise InvalidKey("the key names a folder")
        file_system.rm_file(path)
        file_system.invalidate_cache()


class FlatWays(Ways):
    """For fsspec's memory, in which a name may be a document and a folder at once, and then loses one of them in lists.

    Its ``open`` gives all readers one file with one position, and so the halves of two documents.
    """

    def read(self, file_system: FsspecFileSystem, path: str) -> bytes:
        """See `Ways`: what is there is in one dictionary."""
        return bytes(file_system.cat_file(path))

    def write(self, file_system: FsspecFileSystem, path: str, data: bytes) -> None:
        """See `Ways`."""
        try:
            kind = self.look(file_system, path).get("type")
        except FileNotFoundError:
            kind = None
        if kind == "directory":
            raise InvalidKey("the key names a folder")
        super().write(file_system, path, data)


class StreamedWays(Ways):
    """Reads a document from one answer, part by part, up to the bound.

    Args:
        options: For ``open``.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options

    def read(self, file_system: FsspecFileSystem, path: str) -> bytes:
        """See `Ways`."""
        with file_system.open(path, "rb", **self._options) as stream:
            parts = bytearray()
            while part := stream.read(_PART):
                parts += part
                ensure_room_for(len(parts))
        return bytes(parts)


class HttpWays(StreamedWays):
    """For web servers: one GET for each document, whose name is quoted, as ``50%25 #1`` is no URL.

    fsspec's ``info`` says of whatever fails, of a server that is away too, that there is no such file.
    """

    writes = False
    lists = False

    def __init__(self) -> None:
        # Without a block size of 0, the file is read in ranges, which may be of several documents; without a size,
        # which is used for nothing else, `info` is asked for it.
        super().__init__(block_size=0, size=LARGEST)

    def path_of(self, root: str, key: str) -> str:
        """See `Ways`; the class is told that paths are quoted."""
        return super().path_of(root, quote(key))

    def look(self, file_system: FsspecFileSystem, path: str) -> dict[str, Any]:
        """See `Ways`; what has failed is told, and not what ``info`` makes of it."""
        try:
            return super().look(file_system, path)
        except FileNotFoundError as error:
            reason = error.__cause__ or error
        raise reason  # out here, as its context would be the error itself


class ReadOnlyWays(StreamedWays):
    """For what only gives documents away."""

    writes = False
