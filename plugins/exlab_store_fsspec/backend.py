"""The hooks of the fsspec backend: each document is a file of a file system that fsspec reaches."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from exlab_store import (
    BackendUnavailable,
    DocumentNotFound,
    Expectation,
    FolderItem,
    HeldLock,
    InvalidKey,
    Location,
    LocationError,
    LockOwner,
    NotSupported,
    Snapshot,
    Stat,
    StoreError,
    Version,
    WriteOutcomeUnknown,
    hookimpl,
    version_of,
    without_variables,
)
from exlab_store_fsspec.call_threads import CallThreads
from exlab_store_fsspec.claims import claims_of
from exlab_store_fsspec.faults import read_fault, translating, write_fault
from exlab_store_fsspec.file_systems import end, file_systems_of
from exlab_store_fsspec.folders import items_in, keys_below, stat_of
from exlab_store_fsspec.options import FsspecOptions
from exlab_store_fsspec.webdav import DavServer, WebdavWays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exlab_store_fsspec.file_systems import FileSystems
    from exlab_store_fsspec.ways import FsspecFileSystem

__all__ = ["FsspecBackend", "open_backend"]

T = TypeVar("T")


@without_variables
def open_backend(location: Location, options: Mapping[str, object]) -> FsspecBackend:
    """Opens a folder of a file system that fsspec reaches.

    Args:
        location: ``fsspec+PROTOCOL://[user[:password]@]host[:port]/path``, with a protocol of fsspec's; the folder must
            exist, unless ``location.create`` is set.
        options: The fields of `FsspecOptions`.

    Raises:
        UnknownScheme: fsspec has no such protocol, or it needs a package that is not installed.
        LocationError: The location or an option is wrong, or the folder does not exist.
        AccessDenied: The account is refused, or may not use the folder.
        BackendUnavailable: The server cannot be reached.
    """
    given = FsspecOptions.of(location, options)
    return FsspecBackend(file_systems_of(location, given), given, create=location.create, ignores=location.ignores)


def _nothing(_: str) -> bool:
    return False


class FsspecBackend:
    """Documents as files below a folder.

    Args:
        file_systems: Makes the file systems.
        options: Of the location.
        create: The folder may be missing; the first write makes it.
        ignores: Tells which names are ignored.
    """

    def __init__(
        self,
        file_systems: FileSystems,
        options: FsspecOptions,
        *,
        create: bool = False,
        ignores: Callable[[str], bool] = _nothing,
    ) -> None:
        self._protocol = file_systems.protocol
        self._ways = file_systems.protocol.ways
        self._root = file_systems.root
        self._options = options
        self._create = create
        self._ignores = ignores
        self._workers = CallThreads(partial(_made, file_systems, options), end, kept=file_systems.protocol.kept)
        self._dropped = weakref.finalize(self, self._workers.close)
        try:
            server = self._asked(self._look_at_root)
        except BaseException:
            self.close()
            raise
        self.guarantees, self.unclaimed = claims_of(self._protocol, server)

    def close(self) -> None:
        """Ends the connections that nobody uses at the moment, and each other one after its call."""
        self._dropped()

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """Reads the document in one request, where the protocol has one for that."""
        return Snapshot(self._asked(lambda file_system: self._ways.read(file_system, self._path(key))))

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:  # noqa: ARG002  # neither is claimed
        """Writes the document in one request, where the protocol has one for that."""
        self._ensure_writes()
        version = version_of(data)
        self._changed(lambda file_system: self._ways.write(file_system, self._path(key), data), version, "write")
        return version

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:  # noqa: ARG002  # neither is claimed
        """Looks whether it is a document, and deletes it."""
        self._ensure_writes()
        self._changed(lambda file_system: self._ways.delete(file_system, self._path(key)), None, "deletion")

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:  # noqa: ARG002
        """There are none."""
        raise NotSupported("fsspec has no locks", hint=self.unclaimed["lock_scope"])

    @hookimpl
    def list_keys(self, prefix: str) -> Iterator[str]:
        """Lists folder after folder; each has the time of an operation."""
        self._ensure_lists()
        return keys_below(prefix, self._items)

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:  # noqa: ARG002  # sizes come along
        """Lists one folder."""
        self._ensure_lists()
        return self._items(key)

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """Asks for size and time."""
        return stat_of(self._asked(lambda file_system: self._ways.look(file_system, self._path(key))))

    def _path(self, key: str) -> str:
        return self._ways.path_of(self._root, key)

    def _items(self, folder: str) -> list[FolderItem]:
        path = self._path(folder)
        try:
            found = self._asked(lambda file_system: self._ways.entries(file_system, path))
        except InvalidKey:
            return []  # it is a document
        except DocumentNotFound:
            if folder or self._create:
                return []
            raise BackendUnavailable(
                "the folder of the store is gone", hint="Make it again, or look whether another folder is served."
            ) from None
        return items_in(folder, path, found, self._ignores)

    def _look_at_root(self, file_system: FsspecFileSystem) -> DavServer | None:
        """Refuses a folder that is not there; tells who serves it, where the protocol can be asked."""
        if not self._protocol.folders:
            return None
        path = self._path("")
        try:
            info = self._ways.look(file_system, path)
        except FileNotFoundError:
            if not self._create:
                raise LocationError(
                    "there is no such folder", hint="Make it, or open the store with create=True."
                ) from None
            info = {}
        if info.get("type", "directory") != "directory":
            raise LocationError("the location names a file, and no folder", hint="Give the folder that it is in.")
        return self._ways.server(file_system, path) if isinstance(self._ways, WebdavWays) else None

    def _asked(self, call: Callable[[FsspecFileSystem], T]) -> T:
        """A call that changes nothing."""
        secrets = self._options.secrets

        @without_variables
        def run(file_system: FsspecFileSystem) -> T:
            return translating(lambda: call(file_system), lambda error: read_fault(error, secrets), secrets)

        return self._workers.run(run, self._options.timeout, self._late)

    def _changed(self, call: Callable[[FsspecFileSystem], None], intended: Version | None, what: str) -> None:
        """A call that changes a document."""
        secrets, whole = self._options.secrets, self.guarantees.atomic_replace

        def fault_of(error: Exception) -> StoreError:
            return write_fault(error, secrets, intended, whole=whole, what=what)

        @without_variables
        def run(file_system: FsspecFileSystem) -> None:
            translating(lambda: call(file_system), fault_of, secrets)

        def late() -> WriteOutcomeUnknown:
            return WriteOutcomeUnknown(
                f"the {what} has not ended within {self._options.timeout:g} s", intended=intended
            )

        self._workers.run(run, self._options.timeout, late)

    def _late(self) -> BackendUnavailable:
        return BackendUnavailable(
            f"there was no answer within {self._options.timeout:g} s",
            exhausted=True,
            hint="Look at the server and the network; the option timeout sets how long is waited.",
        )

    def _ensure_writes(self) -> None:
        if not self._ways.writes:
            raise NotSupported(self.unclaimed["deletes"], hint="Open the store with a protocol that writes.")

    def _ensure_lists(self) -> None:
        if not self.guarantees.lists:
            raise NotSupported(self.unclaimed["lists"], hint="Read documents by their keys.")

    def __repr__(self) -> str:
        return f"FsspecBackend({self._protocol.name!r}, {self._root!r})"


@without_variables
def _made(file_systems: FileSystems, options: FsspecOptions) -> FsspecFileSystem:
    def fault_of(error: Exception) -> StoreError:
        if isinstance(error, FileNotFoundError):  # of an archive
            return LocationError("there is no such file", hint="Give the path of an archive that exists.")
        return read_fault(error, options.secrets)

    return translating(file_systems.make, fault_of, options.secrets)
