"""The shortest correct backend. To write one, read this first, then ``exlab_store.hookspecs``."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from exlab_store.backend import (
    ANY,
    DocumentNotFound,
    Expectation,
    FolderNotEmpty,
    Guarantees,
    HeldLock,
    InvalidKey,
    Latch,
    Leftover,
    Location,
    LocationError,
    LockLost,
    LockOwner,
    LockTimeout,
    ProcessBound,
    Snapshot,
    Stat,
    Version,
    ensure_expected,
    ensure_no_mode,
    hookimpl,
    under_mutex,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

__all__ = ["Memory", "MemoryBackend", "open_backend"]


class Memory:
    """What the openers of one name share: documents, locks, and one lock that guards both."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.written: dict[str, float] = {}
        self.locks: dict[str, LockOwner] = {}
        # No Condition: it is Python code, in which a signal handler's exception leaves it locked for ever.
        self.guard = threading.RLock()
        self.next_change = Latch()
        """Open once something has changed; to be fetched while the guard is held, and waited for while it is not."""
        self.sources: WeakSet[MemoryChangeSource] = WeakSet()

    def note(self, place: str) -> None:
        """Tells whoever watches that a document has changed; the guard is held."""
        for source in self.sources:
            source.places.add(place)
        self.wake()

    def wake(self) -> None:
        """Wakes all who wait for a change; the guard is held."""
        change, self.next_change = self.next_change, Latch()
        change.open()

    def unlock(self, place: str, owner: LockOwner) -> None:
        """Forgets a lock, unless it is another owner's; the guard is held."""
        if self.locks.get(place) is owner:
            del self.locks[place]
            self.wake()


_named: dict[str, Memory] = {}


def open_backend(location: Location, options: Mapping[str, object]) -> MemoryBackend:
    """Opens ``memory://``, ``memory://name`` or ``memory://name/folder``.

    Args:
        location: Where the store is.
        options: None are known.

    Raises:
        NotSupported: A mode is asked for.
        LocationError: There is another option, a user or a port, or a folder without a name.
    """
    ensure_no_mode(options, "documents in memory have no permissions", "Leave mode out.")
    if options:
        raise LocationError(f"memory: has no option {', '.join(map(repr, options))}")
    if location.username is not None or location.port is not None:
        raise LocationError("memory: has no user and no port", hint="Write memory://name.")
    if location.path and not location.host:
        raise LocationError("a folder in memory needs a store's name", hint="Write memory://name/folder.")
    memory = _named.setdefault(location.host, Memory()) if location.host else Memory()
    return MemoryBackend(memory, location.path[1:] + "/" if location.path else "", location.ignores)


class MemoryLock(ProcessBound):
    """A lock that is held for as long as the memory knows its owner, who is another for each lock."""

    def __init__(self, memory: Memory, place: str, key: str, owner: LockOwner) -> None:
        self._memory = memory
        self._place = place
        self.key = key
        self.owner = owner

    def ensure_held(self) -> None:
        """Raises `LockLost` once it was released."""
        if self._memory.locks.get(self._place) is not self.owner:
            raise LockLost("the lock was released")

    def release(self) -> None:
        """Releases the lock; a second call does nothing."""
        under_mutex(self._memory.guard, lambda: self._memory.unlock(self._place, self.owner))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class MemoryChangeSource(ProcessBound):
    """The places that have changed since it was last asked.

    Args:
        memory: Where the documents are.
        keys_of: From places to the keys that are told.
    """

    complete = True

    def __init__(self, memory: Memory, keys_of: Callable[[Iterable[str]], list[str]]) -> None:
        self._memory = memory
        self._keys_of = keys_of
        self.places: set[str] = set()
        under_mutex(memory.guard, lambda: memory.sources.add(self))

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        """Waits for a change."""
        deadline = time.monotonic() + timeout
        while True:
            places, change = under_mutex(self._memory.guard, self._taken)
            keys = self._keys_of(places)
            remaining = deadline - time.monotonic()
            if keys or remaining <= 0 or cancelled():
                return keys
            change.wait(min(remaining, 0.05))

    def _taken(self) -> tuple[set[str], Latch]:
        places, self.places = self.places, set()
        return places, self._memory.next_change

    def close(self) -> None:
        """Is told of nothing more."""
        under_mutex(self._memory.guard, lambda: self._memory.sources.discard(self))


class MemoryBackend:
    """The hooks.

    Args:
        memory: Where the documents are.
        folder: What is put before each key: empty, or ends with ``/``.
        ignores: Tells which names of documents and folders are not listed.
    """

    guarantees = Guarantees(
        atomic_replace=True,
        durable=False,
        conditional_write="native",
        lock_scope="process",
        lock_release="crash",
        fenced=True,
        lists=True,
        deletes=True,
        fresh="always",
        watch="pushed",
    )

    def __init__(self, memory: Memory, folder: str = "", ignores: Callable[[str], bool] = lambda _: False) -> None:
        self._memory = memory
        self._folder = folder
        self._ignores = ignores

    def close(self) -> None:
        """Does nothing: the documents belong to the name."""

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        """See ``exlab_store.hookspecs``, as for the other hooks."""
        memory, place = self._memory, self._folder + key
        data = memory.documents.get(place)
        if data is None:
            self._refuse_folder(place)
            raise DocumentNotFound("there is no such document")
        return Snapshot(data, None, memory.written.get(place))

    @hookimpl
    def stat_document(self, key: str) -> Stat:
        """Looks at the document."""
        try:
            snapshot = self.read_snapshot(key)
        except InvalidKey:
            return Stat(0, kind="folder")
        return Stat(len(snapshot), snapshot.modified, snapshot.version)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """Checks and replaces in one step."""
        place = self._folder + key

        def replace() -> None:
            if place not in self._memory.documents:
                self._refuse_folder(place)
                self._refuse_below_document(place)
            self._check(key, expect, lock)
            self._memory.documents[place] = data
            self._memory.written[place] = time.time()
            self._memory.note(place)

        under_mutex(self._memory.guard, replace)
        return version_of(data)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Checks and deletes in one step."""
        place = self._folder + key

        def remove() -> None:
            if place not in self._memory.documents:
                self._refuse_folder(place)
                raise DocumentNotFound("there is no such document")
            self._check(key, expect, lock)
            del self._memory.documents[place]
            self._memory.written.pop(place, None)
            self._memory.note(place)

        under_mutex(self._memory.guard, remove)

    @hookimpl
    def list_keys(self, prefix: str) -> list[str]:
        """Lists what starts with the folder."""
        return self._keys_below(prefix, list(self._memory.documents))

    @hookimpl
    def watch_changes(self, prefix: str) -> MemoryChangeSource:
        """Is told by whoever changes a document."""
        return MemoryChangeSource(self._memory, partial(self._keys_below, prefix))

    @hookimpl
    def remove_folder(self, key: str) -> None:
        """A folder goes with its last document; there is nothing to be done."""
        start = f"{self._folder}{key}/"

        def documents_below() -> list[str]:
            for place, holder in self._memory.locks.items():
                if place.startswith(start):
                    raise LockTimeout(f"the lock of {place[len(self._folder) :]!r} is held", holder=holder)
            below = [place[len(self._folder) :] for place in self._memory.documents if place.startswith(start)]
            if not below:
                if start[:-1] in self._memory.documents:
                    raise InvalidKey("the key names a document, not a folder")
                raise DocumentNotFound("there is no such folder")
            return below

        below = under_mutex(self._memory.guard, documents_below)
        raise FolderNotEmpty("there are documents in the folder", left=below)

    @hookimpl
    def list_leftovers(self, prefix: str) -> list[Leftover]:  # noqa: ARG002  # pluggy passes by name
        """Nothing: locks are no files here, and no write is ever unfinished."""
        return []

    @hookimpl
    def remove_leftover(self, name: str) -> None:
        """Refuses, as what is never listed is none."""
        raise InvalidKey(f"{name!r} is not a temporary file", hint="A memory has none.")

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        """Waits until the lock's place is empty, then takes it."""
        place = self._folder + key
        deadline = time.monotonic() + timeout
        held = MemoryLock(self._memory, place, key, owner)

        def take() -> tuple[LockOwner, Latch]:
            self._refuse_below_document(place)
            return self._memory.locks.setdefault(place, owner), self._memory.next_change

        try:
            while True:
                holder, change = under_mutex(self._memory.guard, take)
                if holder is owner:
                    return held
                remaining = deadline - time.monotonic()
                if remaining <= 0 or cancelled():
                    raise _waited_in_vain(timeout, holder)  # noqa: TRY301  # nothing is taken yet
                change.wait(min(remaining, 0.05))
        except BaseException:
            held.release()  # a signal handler's exception may come when the lock is taken
            raise

    def _keys_below(self, prefix: str, places: Iterable[str]) -> list[str]:
        start = f"{self._folder}{prefix}/" if prefix else self._folder
        return [
            place[len(self._folder) :]
            for place in places
            if place.startswith(start) and not any(map(self._ignores, place[len(start) :].split("/")))
        ]

    # A name is a document's or a folder's: a file system has no room for both.

    def _refuse_folder(self, place: str) -> None:
        if any(other.startswith(place + "/") for other in list(self._memory.documents)):
            raise InvalidKey("the key names a folder, not a document", hint="Choose another key for the document.")

    def _refuse_below_document(self, place: str) -> None:
        above = place.rpartition("/")[0]
        while above:
            if above in self._memory.documents:
                raise InvalidKey("a part of the key is a document", hint="Choose another key for the document.")
            above = above.rpartition("/")[0]

    def _check(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        if lock is not None:
            lock.ensure_held()
        if expect is ANY:
            return
        stored = self._memory.documents.get(self._folder + key)
        ensure_expected(expect, None if stored is None else version_of(stored))


def _waited_in_vain(timeout: float, holder: LockOwner) -> LockTimeout:
    return LockTimeout(f"waited {timeout:g} s for the lock", holder=holder)
