"""A simple and correct backend on files; the broken ones differ from it in one thing each."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from exlab_store import (
    ABSENT,
    ANY,
    BackendUnavailable,
    DocumentExists,
    DocumentNotFound,
    Expectation,
    FolderItem,
    FolderNotEmpty,
    Guarantees,
    HeldLock,
    InvalidKey,
    KeyPattern,
    Leftover,
    LockLost,
    LockOwner,
    LockTimeout,
    ProcessBound,
    Snapshot,
    Stat,
    Version,
    VersionConflict,
    hookimpl,
    is_key,
    lock_key,
    shortened,
    temporary_writer,
    version_of,
)
from exlab_store.backend import removal_order

if TYPE_CHECKING:
    from exlab_store.key_pattern import Position


class FlockLock(ProcessBound):
    """Held as long as its descriptor is open."""

    def __init__(self, key: str, owner: LockOwner, descriptor: int) -> None:
        self.key = key
        self.owner = owner
        self.descriptor = descriptor

    def ensure_held(self) -> None:
        if self.descriptor < 0 or not os.fstat(self.descriptor).st_nlink:
            raise LockLost("the lock was released or its file removed")

    def release(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class LookingSource:
    """Looks at the files again and again, as a server does for a client that waits."""

    complete = True

    def __init__(self, backend: FileBackend) -> None:
        self.backend = backend
        self.seen = self.look()
        self.cuts = self.count_cuts()

    def look(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        for name in self.backend.names(""):
            with suppress(FileNotFoundError):
                status = os.stat(self.backend.path(name))
                found[name] = status.st_ino, status.st_mtime_ns
        return found

    def count_cuts(self) -> int:
        with suppress(FileNotFoundError):
            return os.stat(self.backend.path(CUTS)).st_size
        return 0

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        deadline = time.monotonic() + timeout
        while True:
            if self.count_cuts() != self.cuts:
                self.cuts = self.count_cuts()
                self.after_cut()
            seen, before = self.look(), self.seen
            self.seen = seen
            names = self.told([name for name in {**before, **seen} if before.get(name) != seen.get(name)])
            if names or time.monotonic() >= deadline or cancelled():
                return names
            time.sleep(0.002)

    def told(self, names: list[str]) -> list[str]:
        return [name for name in names if is_key(name)]

    def after_cut(self) -> None:
        raise BackendUnavailable("the connection was cut")

    def close(self) -> None:
        pass


CUTS = ".cuts.lock"
"""A file that grows by a byte with each cut of what stands for the network."""


class FileBackend:
    guarantees = Guarantees(
        atomic_replace=True,
        durable=True,
        conditional_write="native",
        lock_scope="host",
        lock_release="crash",
        fenced=True,
        lists=True,
        deletes=True,
        fresh="always",
        watch="pushed",
    )
    lock_type: type[FlockLock] = FlockLock

    def __init__(self, root: str, password: str | None = None) -> None:
        self.root = root
        self.password = password

    def close(self) -> None:
        pass

    def path(self, key: str) -> str:
        return f"{self.root}/{key}"

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        return Snapshot(self.bytes_of(key))

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        target = self.path(key)
        temporary = self.write_temporary(target, data)
        try:
            with self.committing():
                self.check(key, expect, lock)
                os.replace(temporary, target)
        except IsADirectoryError as error:
            self.discard(temporary)
            raise InvalidKey("the key names a folder") from error
        except BaseException:
            self.discard(temporary)
            raise
        self.sync_directory(os.path.dirname(target))
        return self.version(key, data)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        with self.committing():
            self.check(key, expect, lock)
            self.bytes_of(key)
            os.unlink(self.path(key))
        self.sync_directory(os.path.dirname(self.path(key)))

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        return [name for name in self.names(prefix) if is_key(name)]

    @hookimpl
    def watch_changes(self, prefix: str) -> LookingSource:
        return LookingSource(self)

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        path = self.path(self.lock_name(key))
        deadline = time.monotonic() + timeout
        while True:
            self.make_directory(os.path.dirname(path))
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # somebody has removed the folder at this moment
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                if os.fstat(descriptor).st_nlink:
                    return self.lock_type(key, owner, descriptor)
                os.close(descriptor)
            self.pause(deadline, cancelled)

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        held = self.lock(key, owner, timeout, cancelled)
        try:
            return held, self.read_snapshot(key)
        except DocumentNotFound:
            return held, None
        except BaseException:
            held.release()
            raise

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        version = self.atomic_write(key, data, expect, lock)
        lock.release()
        return version

    @hookimpl
    def remove_folder(self, key: str) -> None:
        path = self.path(key)
        if os.path.isfile(path):
            raise InvalidKey("the key names a document")
        if not os.path.isdir(path):
            raise DocumentNotFound("there is no such folder")
        for name in removal_order({name: os.path.isfile(f"{path}/{name}") for name in os.listdir(path)}):
            self.remove_file(f"{path}/{name}")
        try:
            os.rmdir(path)
        except OSError as error:
            raise FolderNotEmpty("somebody has made something meanwhile") from error
        self.sync_directory(os.path.dirname(path))

    def remove_file(self, path: str) -> None:
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            if path.endswith(".lock"):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except BlockingIOError as error:
            raise LockTimeout("the lock is held") from error
        finally:
            os.close(descriptor)

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:
        found: list[Leftover] = []
        for name in self.names(prefix):
            if not is_key(name):
                with suppress(FileNotFoundError):  # it went meanwhile
                    found.append(self.leftover(name))
        return found

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        try:
            status = os.stat(self.path(key))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DocumentNotFound("there is no such document") from error
        if os.path.isdir(self.path(key)):
            return Stat(0, status.st_mtime, kind="folder")
        return Stat(status.st_size, status.st_mtime)

    @hookimpl
    def list_folder(self, key: str, stat: bool) -> list[FolderItem]:
        path = self.path(key) if key else self.root
        names = os.listdir(path) if os.path.isdir(path) else []
        keys = sorted(name for name in (f"{key}/{name}" if key else name for name in names) if is_key(name))
        return [self.entry(each, stat) for each in keys]

    def entry(self, key: str, stat: bool) -> FolderItem:
        if os.path.isdir(self.path(key)):
            return FolderItem(key, "folder")
        found = self.stat_document(key)
        return FolderItem(key, "document", found.size, found.modified) if stat else FolderItem(key)

    @hookimpl
    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        return self.fitting(prefix, pattern.start, pattern)

    def fitting(self, folder: str, position: Position, pattern: KeyPattern) -> list[FolderItem]:
        entries = self.list_folder(folder, False)
        wanted = set(pattern.select(position, [entry.name for entry in entries]))
        found = [entry for entry in entries if entry.name in wanted]
        for entry in entries:
            below = pattern.below(position, entry.name)
            if entry.kind == "folder" and below:
                found += self.fitting(entry.key, below, pattern)
        return found

    def leftover(self, name: str) -> Leftover:
        size = os.stat(self.path(name)).st_size
        if temporary_writer(os.path.basename(name)) is not None:
            return Leftover(name=name, kind="temporary", size=size)
        return Leftover(name=name, kind="lock", size=size)  # who has a flock, this backend cannot tell

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        folder, slash, last = name.rpartition("/")
        if temporary_writer(last) is None or (slash and not is_key(folder)):
            raise InvalidKey("this is not a temporary file")
        try:
            os.unlink(self.path(name))
        except FileNotFoundError as error:
            raise DocumentNotFound("the file is gone already") from error

    def pause(self, deadline: float, cancelled: Callable[[], bool]) -> None:
        if time.monotonic() >= deadline or cancelled():
            raise LockTimeout("somebody else holds the lock")
        time.sleep(0.001)

    def lock_name(self, key: str) -> str:
        return lock_key(key)

    def names(self, prefix: str) -> list[str]:
        top = self.path(prefix) if prefix else self.root
        return [os.path.relpath(f"{folder}/{name}", self.root) for folder, _, names in os.walk(top) for name in names]

    def bytes_of(self, key: str) -> bytes:
        try:
            with open(self.path(key), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DocumentNotFound("there is no such document") from error
        except IsADirectoryError as error:
            raise InvalidKey("the key names a folder") from error

    def version(self, key: str, data: bytes) -> Version:
        return version_of(data)

    def check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        if lock is not None:
            lock.ensure_held()
        if expect is ANY:
            return
        try:
            found = self.version(key, self.bytes_of(key))
        except DocumentNotFound:
            found = None
        if expect is ABSENT:
            if found is not None:
                raise DocumentExists(found=found)
        elif found != expect:
            raise VersionConflict(expected=expect, found=found)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Check and rename are one step, against every other client."""
        descriptor = os.open(f"{self.root}/.commit.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def temporary_name(self, name: str) -> str:
        return shortened(name, f".tmp.{os.getpid()}.{os.urandom(8).hex()}")

    def write_temporary(self, target: str, data: bytes) -> str:
        folder, name = os.path.split(target)
        self.make_directory(folder)
        path = f"{folder}/{self.temporary_name(name)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            self.sync_file(descriptor)
        finally:
            os.close(descriptor)
        return path

    def discard(self, temporary: str) -> None:
        os.unlink(temporary)

    def make_directory(self, path: str) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        self.make_directory(parent)
        try:
            os.mkdir(path)
        except FileExistsError as error:
            if not os.path.isdir(path):
                raise InvalidKey("a part of the key is a document") from error
        except NotADirectoryError as error:
            raise InvalidKey("a part of the key is a document") from error
        self.sync_new_directory(parent)

    def sync_file(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_new_directory(self, parent: str) -> None:
        self.sync_directory(parent)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
