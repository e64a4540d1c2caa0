"""The hooks of the posix backend: each document is a file."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from exlab_store import (
    ANY,
    DocumentNotFound,
    Expectation,
    FolderItem,
    HeldLock,
    KeyPattern,
    Leftover,
    LockOwner,
    Snapshot,
    Stat,
    StoreError,
    Version,
    WriteOutcomeUnknown,
    came_from_signal_handler,
    hookimpl,
    lock_key,
    suppress_unless_signalled,
    temporary_name,
    version_of,
)
from exlab_store.backend import ChangeSource, ensure_expected, ensure_folder_wanted, import_whole, mode_at
from exlab_store_posix.claims import claims_of
from exlab_store_posix.copying import copy_file
from exlab_store_posix.descriptors import discard
from exlab_store_posix.directories import Directories
from exlab_store_posix.encoding import base_of, checked, root_of
from exlab_store_posix.faults import did_not_happen, root_is_gone, translated
from exlab_store_posix.flushing import make_durable, reaches_disk
from exlab_store_posix.freshness import READ, ensure_stands, read_fresh, stat_fresh
from exlab_store_posix.leftovers import TreeSearch, remove_temporary
from exlab_store_posix.listing import Lister
from exlab_store_posix.locking import is_locked_here, take_lock
from exlab_store_posix.mounts import FileSystem, mount_of, nearest_directory
from exlab_store_posix.reading import AT_ONCE, ensure_file, not_a_document, read_at, read_file, stat_of
from exlab_store_posix.removing import remove_directory
from exlab_store_posix.replacing import CREATE, rename_over, write_out
from exlab_store_posix.system import calls

if sys.platform == "win32":
    from exlab_store_posix.windows.access import PRIVATE, give_mode, keep_access, replaced_by
else:
    from exlab_store_posix.access import PRIVATE, give_mode, keep_access, replaced_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store_posix.mounts import MountedFileSystem

__all__ = ["PosixBackend"]

_READ, _CREATE = (READ,), (CREATE,)


def _nothing(_: str) -> bool:
    return False


class PosixBackend:
    """Documents as files below a directory.

    Args:
        root: The directory, an absolute path.
        create: The directory may be missing; the first write makes it.
        ignores: Tells which names are ignored.
        mode: Permission bits of every document that is written; None for those of the document that is replaced, and
            0666 without the umask for a new one.
        mount: What holds the directory, where the caller knows it.
    """

    folds_case = False
    """Whether a name may find another one, so that each write has to look, right before it takes effect."""

    def __init__(
        self,
        root: str,
        *,
        create: bool = False,
        ignores: Callable[[str], bool] = _nothing,
        mode: int | None = None,
        mount: MountedFileSystem | None = None,
    ) -> None:
        self._ignores = checked(ignores)
        self._create = create
        self._mode = mode
        root = root_of(root)
        self._base = base_of(root)
        existing = nearest_directory(self._base)
        mount = mount or mount_of(existing)
        self._kind = mount.kind
        self._kinds = {os.stat(existing).st_dev: mount.kind}
        self.guarantees = claims_of(mount, flushes=reaches_disk(existing))
        self._lister = Lister(self._base, self._ignores, self._ensure_root)
        self._directories = Directories(root, create=create, durable=self.guarantees.durable)

    def close(self) -> None:
        """Does nothing: no descriptor is open between two calls."""

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """Reads a file through one descriptor; a replacement meanwhile does not touch the open one."""
        if self._kind.is_remote:
            return self._read_from_server(key)
        try:
            (descriptor,) = map(calls.open, (self._base + key,), _READ)  # in one step, see descriptors.py
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            raise DocumentNotFound("there is no such document", errno=error.errno) from error
        except OSError as error:
            raise translated(error, "read the document") from error
        try:
            # A second read shows that the first got all. To ask for the size and the kind first costs 0.5 us.
            data = read_at(descriptor, AT_ONCE, 0)
            if not data or len(data) == AT_ONCE or read_at(descriptor, 1, len(data)):
                data = read_file(descriptor)
        except OSError as error:
            if came_from_signal_handler(error):
                raise
            ensure_file(descriptor)  # what has no positions is none
            raise translated(error, "read the document") from error
        finally:
            try:
                os.close(descriptor)
            except OSError as error:  # what was read is read
                if came_from_signal_handler(error):
                    raise
        return Snapshot(data)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """Temporary file, fsync, checks, rename, fsync of the directory."""
        target = self._base + key
        directory, _, name = target.rpartition(os.sep)
        temporary = f"{directory}{os.sep}{temporary_name(name)}"
        file = parent = -1
        replaced = False
        try:
            try:
                old = replaced_by(target)
                # 0666, not mkstemp's 0600: other accounts of the share must be able to read a new document.
                born = (0o666 if old is None and self._mode is None else PRIVATE,)
                try:
                    (file,) = map(calls.open, (temporary,), _CREATE, born)  # in one step, see descriptors.py
                except FileNotFoundError as error:
                    if came_from_signal_handler(error):
                        raise
                    self._directories.make(directory)
                    (file,) = map(calls.open, (temporary,), _CREATE, born)
                if self._mode is not None:
                    give_mode(file, old, self._mode)
                elif old is not None:
                    keep_access(file, target, old)
                write_out(file, data)
                # The rest is done while the disk works. A directory that cannot be opened refuses the write here,
                # before anything has happened.
                parent = self._directories.open(directory)
                version = version_of(data)
                make_durable(file)
            except BaseException:
                discard(file)
                raise
            os.close(file)
            if lock is not None or expect is not ANY or self.folds_case:
                self._check(key, expect, lock)
            try:
                rename_over(temporary, target, self._kind, version)
            except OSError as error:
                if did_not_happen(error, remote=self._kind.is_remote):
                    raise
                raise _unknown("the rename failed", error, version) from error
            replaced = True
            self._directories.settle(parent)
        except BaseException as error:
            discard(parent)
            # What stood at the temporary file's name before is not ours to remove.
            in_the_way = isinstance(error, FileExistsError) and error.filename == temporary
            # The only copy there is, where an SMB server has deleted the document that was to be replaced.
            only_copy = isinstance(error, WriteOutcomeUnknown) and self._kind is FileSystem.SMB_MOUNT
            if not replaced and not in_the_way and not only_copy:
                # After a failed fsync the kernel may call the pages clean: this file is never tried again.
                _remove(temporary)
            if isinstance(error, StoreError) or not isinstance(error, OSError):
                raise
            if replaced:
                # The new document is visible, and a power cut may take it back.
                raise _unknown("the directory could not be synchronised", error, version_of(data)) from error
            raise translated(error, "write the document") from error
        if parent >= 0:
            try:
                os.close(parent)  # in this function: a signal's handler may run where another begins
            except OSError as error:  # what is durable stays so
                if came_from_signal_handler(error):
                    raise
        return version

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Takes ``<key>.lock``; missing folders are made."""
        path = self._base + lock_key(key)
        attempts = 20  # others may delete the folder, again and again
        try:
            while True:
                try:  # and no context manager: a strike within its exit would lose the lock
                    return take_lock(path, key, owner, timeout, cancelled, self._kind_of, self._kind)
                except FileNotFoundError:
                    if not attempts:
                        raise
                    attempts -= 1
                    ensure_folder_wanted(owner)
                    self._directories.make(path.rpartition(os.sep)[0])
        except StoreError:
            raise
        except OSError as error:
            raise translated(error, "lock the document") from error

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """Asks the system; of a mounted share the server is asked, through an open file."""
        path = self._base + key
        try:
            if not self._kind.is_remote:
                return stat_of(calls.stat(path))
            return stat_of(stat_fresh(path, self._kind, locked=is_locked_here(self._base + lock_key(key))))
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            raise DocumentNotFound("there is no such document", errno=error.errno) from error
        except OSError as error:
            raise translated(error, "look at the document") from error

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """Walks the directories."""
        try:
            return self._lister.keys(prefix)
        except OSError as error:
            raise self._unlisted(error) from error

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> Iterator[FolderItem]:
        """Reads one directory."""
        try:
            yield from self._lister.entries(key, with_stat=stat)
        except OSError as error:
            raise self._unlisted(error) from error

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Walks the directories in which something may fit."""
        try:
            return list(self._lister.matching(prefix, pattern))
        except OSError as error:
            raise self._unlisted(error) from error

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Unlinks the file and synchronises its directory."""
        target = self._base + key
        directory = target.rpartition(os.sep)[0]
        descriptor = -1
        deleted = False
        try:
            if self._kind.is_remote:
                ensure_stands(target, self._kind)
            mode = calls.lstat(target).st_mode
            if stat.S_ISDIR(mode):
                raise not_a_document(mode)
            descriptor = self._directories.open(directory)
            self._check(key, expect, lock)
            deleted = self._unlink(target)
            self._directories.settle(descriptor)
        except StoreError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            raise DocumentNotFound("there is no such document", errno=error.errno) from error
        except OSError as error:
            if deleted:
                raise _unknown("the directory could not be synchronised", error, None) from error
            raise translated(error, "delete the document") from error
        finally:
            if descriptor >= 0:
                try:
                    os.close(descriptor)
                except OSError as error:  # what is durable stays so
                    if came_from_signal_handler(error):
                        raise

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """Unlinks what goes along, removes the directory, and synchronises the one above."""
        try:
            remove_directory(self._base, key, self._directories, self._kind_of, self._kind)
        except StoreError:
            raise
        except FileNotFoundError as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            raise DocumentNotFound("there is no such folder", errno=error.errno) from error
        except OSError as error:
            raise translated(error, "remove the folder") from error

    @hookimpl
    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Copies a file; of a link, none."""
        try:
            return copy_file(self._base + key, self._base + copy, data, self._directories, self._kind, self._mode)
        except StoreError:
            raise
        except OSError as error:
            raise translated(error, "copy the document") from error

    @hookimpl
    def watch_changes(self, prefix: str) -> ChangeSource:
        """Has the kernel tell."""
        import_whole("exlab_store_posix.watching")  # most programs watch nothing
        from exlab_store_posix.watching import DirectorySource

        return DirectorySource(self._base, prefix, self._ignores, self._kind_of)

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Walks the directories; what is held is asked of the kernel, without taking any lock."""
        try:
            return list(TreeSearch(self._base, self._kind_of, self._ignores).find(prefix))
        except (FileNotFoundError, NotADirectoryError):
            self._ensure_root()
            return []
        except OSError as error:
            raise self._unlisted(error) from error

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """Unlinks a temporary file; its directory need not be synchronised, as nobody reads the file."""
        try:
            remove_temporary(self._base, name)
        except StoreError:
            raise
        except FileNotFoundError as error:
            self._ensure_root()
            raise DocumentNotFound("the file is gone already", errno=error.errno) from error
        except OSError as error:
            raise translated(error, "remove the temporary file") from error

    def _read_from_server(self, key: str) -> Snapshot:
        path = self._base + key
        try:
            return Snapshot(read_fresh(path, self._kind, locked=is_locked_here(self._base + lock_key(key))))
        except (FileNotFoundError, NotADirectoryError) as error:
            if came_from_signal_handler(error):
                raise
            self._ensure_root()
            raise DocumentNotFound("there is no such document", errno=error.errno) from error
        except OSError as error:
            raise translated(error, "read the document") from error

    def _unlink(self, target: str) -> bool:
        try:
            calls.unlink(target)
        except OSError as error:
            if did_not_happen(error, remote=self._kind.is_remote):
                raise
            raise _unknown("the deletion failed", error, None) from error
        return True

    def _kind_of(self, device: int, path: str) -> FileSystem:
        kind = self._kinds.get(device)
        if kind is None:
            kind = self._kinds[device] = mount_of(os.path.dirname(path)).kind
        return kind

    def _check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Everything that can refuse a write, as late as possible: right before it takes effect."""
        if lock is not None:
            lock.ensure_held()
        if expect is ANY:
            return
        try:
            found = self.read_snapshot(key).version
        except DocumentNotFound:
            found = None
        ensure_expected(expect, found)

    def _unlisted(self, error: OSError) -> StoreError:
        """The error that names the folder: one among thousands is hard to find."""
        if isinstance(error, StoreError):
            return error
        found = translated(error, "list the folder")
        path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        if path.startswith(self._base):
            found.key = path[len(self._base) :].replace(os.sep, "/") or None
        return found

    def _ensure_root(self) -> None:
        """Tells a missing document from a share that is not mounted any more."""
        if not self._create and not stat.S_ISDIR(mode_at(self._base)):
            raise root_is_gone()


def _unknown(what: str, error: OSError, intended: Version | None) -> WriteOutcomeUnknown:
    if came_from_signal_handler(error):
        raise error
    return WriteOutcomeUnknown(f"{what}: {error.strerror}", intended=intended)


def _remove(temporary: str) -> None:
    with suppress_unless_signalled(OSError):
        os.unlink(temporary)
