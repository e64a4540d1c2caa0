"""`Store`: documents under keys, with the verbs that the library has for them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NoReturn, cast, overload

from exlab_store.errors import DocumentNotFound, LockLost, NotSupported, StoreError
from exlab_store.hooks.retrying import DEFAULT_RETRY, Retry, RetryingHooks
from exlab_store.keys import check_key
from exlab_store.location import url_of
from exlab_store.locks.held import (
    DEFAULT_LOCK_TIMEOUT,
    StoreLock,
    UnreleasedLock,
    check_timeout,
    new_owner,
    this_process,
)
from exlab_store.locks.requests import LockRequest
from exlab_store.locks.turns import ReservedTurn, forsake_turn, take_turn, task_call, this_thread, turn_id
from exlab_store.model import ABSENT, ANY, ProcessBound
from exlab_store.reading_many import DEFAULT_CONCURRENCY, check_concurrency, read_each
from exlab_store.store_path import StorePath, root_of
from exlab_store.updating import Update, attempt_to_delete, attempt_to_write, taker, under_own_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from exlab_store.aio.store import AsyncStore
    from exlab_store.guarantees import Guarantees
    from exlab_store.hooks.backend_lock import BackendLock
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.location import Location
    from exlab_store.model import Expectation, HeldLock, Leftover, Snapshot, Version

__all__ = ["Store", "StoreLock", "StorePath"]


class _ClosedHooks:
    def __getattr__(self, name: str) -> NoReturn:
        raise NotSupported("the store is closed", hint="Open it again.")


class Store(ProcessBound):
    """Documents under keys, kept by one backend. Safe to share between threads; a forked process opens its own.

    `open_store` makes one.

    Args:
        hooks: The backend's hooks.
        location: Where the store is; None for a backend that was given as an object.
        retry: How operations are repeated, or None.
    """

    def __init__(self, hooks: BackendHooks, location: Location | None, retry: Retry | None = DEFAULT_RETRY) -> None:
        self._hooks = hooks
        self._calls = RetryingHooks(hooks, retry)
        self._location = location
        # Once and for all, as every lock needs it: what the URL of each document begins with.
        self.address = url_of(location, "") if location is not None and location.shared else None
        self._guarantees = hooks.guarantees
        self._aio: AsyncStore | None = None
        this_process(os.getpid())  # imports now what could not be imported when no descriptor is left

    @property
    def guarantees(self) -> Guarantees:
        """What the backend promises."""
        return self._guarantees

    @property
    def location(self) -> Location | None:
        """Where the store is; None for one that was opened with a backend object."""
        return self._location

    @property
    def root(self) -> StorePath:
        """The path of the store itself, whose key is empty."""
        return root_of(self)

    @property
    def aio(self) -> AsyncStore:
        """The same verbs as coroutines."""
        if self._aio is None:
            from exlab_store.aio.store import (
                AsyncStore,
            )  # anyio takes 20 ms to import, and sync programs do without

            self._aio = AsyncStore(self)
        return self._aio

    @overload
    def read_snapshot(self, key: str) -> Snapshot: ...
    @overload
    def read_snapshot(self, key: str, *, unless: Version | None) -> Snapshot | None: ...
    def read_snapshot(self, key: str, *, unless: Version | None = None) -> Snapshot | None:
        """Reads a document as it is at one moment; never waits for a writer.

        Args:
            key: The document's key.
            unless: The version that the caller has already; None for none. The document is read all the same, but
                need not be decoded.

        Returns:
            The bytes and, computed when asked for, their version; None if the document is still at ``unless``.

        Raises:
            DocumentNotFound: There is none.
            InvalidKey: The key is not portable, or names a folder.
            AccessDenied: This user may not read it.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        try:
            check_key(key)
            snapshot = self._calls.read_snapshot(key)
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__
        return None if unless is not None and snapshot.version == unless else snapshot

    def read_many(
        self,
        keys: Iterable[str],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> Iterator[tuple[str, Snapshot | None]]:
        """Reads many documents, several at a time where the storage is slow.

        Args:
            keys: The documents' keys. They are taken as they are needed; a repeated key is read again.
            concurrency: How many are read at a time, at most.
            onerror: Called with the error of a document that cannot be read, whose ``key`` says which, instead of
                raising it. A missing document is no error.

        Yields:
            The key and the snapshot, or None for a missing document, as they come. Whoever stops early waits for
            the reads that are under way, and leaves nothing behind.

        Raises:
            ValueError: ``concurrency`` is less than 1.
            StoreError: As `read_snapshot` does, for the first document that cannot be read, without ``onerror``.
        """
        check_concurrency(concurrency)
        return read_each(self.read_snapshot, keys, concurrency, onerror)

    def atomic_write(
        self, key: str, data: bytes, *, expect: Expectation = ANY, lock: HeldLock | None = None
    ) -> Version:
        """Replaces a document as a whole, or makes it, with missing folders.

        Args:
            key: The document's key.
            data: The whole document.
            expect: `ANY` for the last writer wins, `ABSENT` for a new document only, or the version that the
                document must have.
            lock: The lock under which the write happens; the write is refused if that was lost.

        Returns:
            The version as written.

        Raises:
            VersionConflict: The document is at another version; it is untouched.
            DocumentExists: `ABSENT` was given and it exists.
            LockLost: The lock that was given is not held any more, or is another document's; nothing was written.
            LockTimeout: The backend needs the lock for ``expect``, and it could not be had in 30 s.
            NotSupported: The backend does not claim ``conditional_write``, or ``fenced``.
            InvalidKey: The key is not portable, or names a folder.
            AccessDenied: This user may not write it.
            StorageFull: There is no room.
            BackendUnavailable: Nothing was written, after the retries.
            WriteOutcomeUnknown: It may or may not have been written.
        """
        if type(data) is not bytes:
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        try:
            check_key(key)
            if expect is ANY and lock is None:
                return self._calls.atomic_write(key, data, ANY, None)
            if lock is None and self._needs_lock_for(expect):
                take, write = taker(self._calls), attempt_to_write(self._calls, key, data, expect)
                timeout, purpose = DEFAULT_LOCK_TIMEOUT, "conditional write"
                return under_own_lock(self._request, key, timeout, purpose, take, write, self._location)
            return self._calls.atomic_write(key, data, expect, self._backend_lock(key, lock))
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__

    def lock(
        self,
        key: str,
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "",
        cancelled: Callable[[], bool] | None = None,
        holder: Hashable = None,
    ) -> StoreLock:
        """Takes the exclusive lock of a document, which need not exist. Threads of one process queue in order.

        Args:
            key: The document's key.
            timeout: Seconds to wait, finite and not negative; 0 tries once.
            purpose: What for, shown to others who wait.
            cancelled: Asked about every 50 ms while waiting, from this thread; True ends the wait.
            holder: Who asks, where that is not the thread (a task, say); to one holder a lock is given once.

        Returns:
            The lock, a context manager and a fence for writes (``lock=``). Keep it: it is released when nothing
            refers to it any more, as a file is closed.

        Raises:
            LockTimeout: Somebody else holds it; ``.holder`` says who, where that is known.
            LockAlreadyHeld: This thread, or holder, has it already.
            NotSupported: The backend has no locks.
            InvalidKey: The key is not portable.
            AccessDenied: This user may not lock the document.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        request: LockRequest | None = None
        held: BackendLock | None = None
        try:
            take = self._calls.lock  # a closed store refuses here, before there is a turn to be ended
            request = self._request(key, timeout, purpose, cancelled, holder)
            held = request.ask(take)
            return UnreleasedLock(self, self._location, held, request.turn, request.asker)
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__
        except BaseException:
            if held is not None:
                held.release()
            if request is not None:
                request.end()
            raise

    def update(
        self,
        key: str,
        change: Callable[[bytes | None], bytes],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
        lock: HeldLock | None = None,
    ) -> Version:
        """Reads, changes and writes a document under its lock: no other update is lost.

        Args:
            key: The document's key.
            change: Gets the stored bytes, or None where there is no document, and returns the new ones. If it
                returns the very object it was given, nothing is written. Its exceptions pass through. It may be
                called more than once: again where the lock was lost before anything was written and the document
                has changed since, and where somebody has written without the lock meanwhile, with ``expect=``, and
                the backend's ``conditional_write`` is ``native``. If it has a method ``undo``, that is called, under
                the lock, where the write was refused.
            timeout: Seconds to wait for the lock. A lock that was lost before anything was written is taken again
                until then, and calls of ``change`` are repeated for as long again.
            purpose: What for, shown to others who wait.
            lock: The document's lock, if the caller holds it already.

        Returns:
            The version of the document as it now is.

        Raises:
            LockLost: The lock that was given was lost before the document was written, as with a connection that is
                cut; or locks were lost until the time was over. Nothing was written.
            StoreError: As `lock`, `read_snapshot` and `atomic_write` do.
        """
        swaps = self._guarantees.conditional_write == "native"  # then the lock does not exclude who compares and swaps
        where = self._location
        if lock is not None:
            write = self._writer_under(self._own(key, lock))
            work = Update(key, change, timeout, self._read, write, swaps=swaps, own_lock=False, location=where)
            return work.run(lock, self._read(key))
        try:
            calls = self._calls
            take, write = calls.lock_and_read, calls.write_and_release
        except StoreError as error:
            raise error.at(key, where) from error.__cause__
        work = Update(key, change, timeout, self._read, write, swaps=swaps, own_lock=True, location=where)
        return under_own_lock(self._request, key, timeout, purpose, take, work.run, where)

    def list_keys(self, prefix: str = "") -> list[str]:
        """Lists the documents below a folder, at any depth, in order.

        What storage systems keep beside documents (`IGNORED`) is left out, unless the folder itself is such a one.

        Args:
            prefix: The folder's key, or empty text for the whole store. A folder that does not exist is empty.

        Raises:
            NotSupported: The backend does not claim ``lists``.
            InvalidKey: The prefix is not a valid key.
            AccessDenied: This user may not list it.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        try:
            if prefix:
                check_key(prefix)
            if not self._guarantees.lists:
                raise NotSupported("the backend does not list its keys")
            return sorted(self._calls.list_keys(prefix))
        except StoreError as error:
            raise error.at(prefix or None, self._location) from error.__cause__

    def delete(self, key: str, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """Deletes a document; its lock file stays.

        Args:
            key: The document's key.
            expect: `ANY`, or the version that the document must have.
            lock: The lock under which the deletion happens.

        Raises:
            DocumentNotFound: There is none.
            NotSupported: The backend does not claim ``deletes``.
            ValueError: ``expect`` is `ABSENT`, which no deletion can fulfil.
            StoreError: As `atomic_write` does.
        """
        if expect is ABSENT:
            raise ValueError("delete takes ANY or a version as expect, not ABSENT")
        try:
            check_key(key)
            if not self._guarantees.deletes:
                raise NotSupported("the backend does not delete documents")
            if lock is None and expect is not ANY and self._needs_lock_for(expect):
                take, delete = taker(self._calls), attempt_to_delete(self._calls, key, expect)
                timeout, purpose = DEFAULT_LOCK_TIMEOUT, "conditional deletion"
                under_own_lock(self._request, key, timeout, purpose, take, delete, self._location)
                return
            self._calls.delete(key, expect, self._backend_lock(key, lock))
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__

    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Keeps the bytes of a document under a second key, open to nobody who may not read the document.

        Take the document's lock first: what stands at the second key is replaced.

        Args:
            key: The document's key.
            copy: The copy's key.
            data: The document as it was read.

        Returns:
            Whether there is a copy. None is made of a document that is a link: the file that it points to keeps its
            bytes.

        Raises:
            VersionConflict: The document has other bytes by now, where the backend can tell.
            StoreError: As `atomic_write` does.
        """
        try:
            check_key(key)
            check_key(copy)
            if self._hooks.keeps_copies:
                return self._calls.keep_copy(key, copy, data)
            self._calls.atomic_write(copy, data, ANY, None)
        except StoreError as error:
            raise error.at(copy, self._location) from error.__cause__
        return True

    def list_leftovers(self, prefix: str = "") -> list[Leftover]:
        """Lists the lock files and temporary files below a folder, in order: for those who look after a store.

        Args:
            prefix: The folder's key, or empty text for the whole store.

        Raises:
            NotSupported: The backend cannot tell.
            InvalidKey: The prefix is not a valid key.
            AccessDenied: This user may not list it.
            BackendUnavailable: The storage cannot be reached, after the retries.
        """
        try:
            if prefix:
                check_key(prefix)
            if not self._hooks.shows_leftovers:
                raise NotSupported("the backend does not show its lock files and temporary files")
            return sorted(self._calls.list_leftovers(prefix), key=lambda leftover: leftover.name)
        except StoreError as error:
            raise error.at(prefix or None, self._location) from error.__cause__

    def remove_leftover(self, leftover: Leftover) -> None:
        """Removes a temporary file of a writer that is gone; never a lock file, never a document.

        Args:
            leftover: From `list_leftovers`.

        Raises:
            DocumentNotFound: It is gone already.
            NotSupported: The backend does not remove it, or it is a lock file: deleting one splits the lock.
            AccessDenied: This user may not delete it.
            BackendUnavailable: The storage cannot be reached.
        """
        try:
            if leftover.kind != "temporary" or not self._hooks.shows_leftovers:
                raise NotSupported(f"a {leftover.kind} file is not removed", hint="Lock files stay where they are.")
            self._calls.remove_leftover(leftover.name)
        except StoreError as error:
            raise error.at(leftover.name, self._location) from error.__cause__

    def close(self) -> None:
        """Closes the backend; a second call does nothing."""
        if not isinstance(self._calls, _ClosedHooks):
            self._calls = cast("RetryingHooks", _ClosedHooks())
            if self._aio is not None:
                self._aio.leave()
            self._hooks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self, name)

    def __repr__(self) -> str:
        return f"Store({str(self._location)!r})" if self._location is not None else "Store(backend=...)"

    def _request(
        self,
        key: str,
        timeout: float,
        purpose: str,
        cancelled: Callable[[], bool] | None = None,
        holder: Hashable = None,
    ) -> LockRequest:
        """Waits for the turn of this thread, or of the task that it works for."""
        if timeout is not DEFAULT_LOCK_TIMEOUT:
            check_timeout(timeout)
        check_key(key)
        if self._guarantees.lock_scope == "none":
            raise NotSupported("the backend has no locks")
        place = turn_id(self, self.address, key)
        call = task_call.get()
        if call is not None and not call.over:
            if isinstance(call, ReservedTurn) and call.place == place and (turn := call.take()) is not None:
                until = time.monotonic() + call.patience
                return LockRequest(key, call.owner, turn, until, lambda: call.abandoned, call)
            holder = holder or call.holder  # a change may take a lock that its task holds
        owner = new_owner(purpose)
        try:
            deadline = time.monotonic() + timeout
            turn = take_turn(place, this_thread() if holder is None else holder, owner, timeout, cancelled)
            return LockRequest(key, owner, turn, deadline, cancelled)
        except BaseException:
            forsake_turn(place, owner)  # a signal handler may have raised it when the turn had come
            raise

    def _needs_lock_for(self, expect: Expectation) -> bool:
        support = self._guarantees.conditional_write
        if support == "none" and expect is not ANY:
            raise NotSupported("the backend cannot write on a condition (expect)")
        return support == "locked" and expect is not ANY

    def _backend_lock(self, key: str, lock: HeldLock | None) -> HeldLock | None:
        if lock is None:
            return None
        if not self._guarantees.fenced:
            raise NotSupported(
                "the backend cannot refuse a write whose lock was lost (fenced)",
                hint="Write while the lock is held, without lock=, or use update, which does that.",
            )
        held = self._own(key, lock)
        held.ensure_held()
        return held.inner

    def _own(self, key: str, lock: HeldLock) -> StoreLock:
        if isinstance(lock, StoreLock) and lock.guards(self, key):
            return lock
        raise LockLost("the lock that was given is not this document's").at(key, self._location)

    def _writer_under(self, held: StoreLock) -> Callable[[str, bytes, Expectation, HeldLock], Version]:
        def write(key: str, data: bytes, expect: Expectation, _: HeldLock) -> Version:
            if not self._guarantees.fenced:
                held.ensure_held()
                return self._calls.atomic_write(key, data, expect, None)
            return self._calls.atomic_write(key, data, expect, held.inner)  # the backend looks, as late as possible

        return write

    def _read(self, key: str) -> Snapshot | None:
        try:
            return self.read_snapshot(key)
        except DocumentNotFound:
            return None
