"""`Store`: documents under keys, with the verbs that the library has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from exlab_store.deleting import FolderDeletion
from exlab_store.errors import NotSupported, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hooks.new_folders import question_before_folder
from exlab_store.hooks.retrying import DEFAULT_RETRY, Retry, RetryingHooks
from exlab_store.keys import check_key
from exlab_store.locks.fencing import fence_of, lock_of, writer_under
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT, StoreLock, UnreleasedLock
from exlab_store.locks.requests import LockRequest
from exlab_store.locks.turns import turn_id
from exlab_store.model import ABSENT, ANY
from exlab_store.readable_store import ReadableStore
from exlab_store.store_path import StorePath, root_of
from exlab_store.updating import (
    Update,
    attempt_to_delete,
    attempt_to_write,
    needs_own_lock,
    taker,
    under_own_lock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from types import TracebackType
    from typing import Self

    from exlab_store.aio.store import AsyncStore
    from exlab_store.hooks.backend_lock import BackendLock
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.location import Location
    from exlab_store.model import Expectation, HeldLock, Leftover, Version

__all__ = ["Store", "StoreLock", "StorePath"]


class _ClosedHooks:
    def __getattr__(self, name: str) -> NoReturn:
        raise NotSupported("the store is closed", hint="Open it again.")


class Store(ReadableStore):
    """Documents under keys, kept by one backend. Safe to share between threads; a forked process opens its own.

    `open_store` makes one.

    Args:
        hooks: The backend's hooks.
        location: Where the store is; None for a backend that was given as an object.
        retry: How operations are repeated, or None.
    """

    def __init__(self, hooks: BackendHooks, location: Location | None, retry: Retry | None = DEFAULT_RETRY) -> None:
        super().__init__(hooks, location, retry)
        self._aio: AsyncStore | None = None

    @property
    def root(self) -> StorePath:
        """The path of the store itself, whose key is empty."""
        return root_of(self)

    @property
    def aio(self) -> AsyncStore:
        """The same verbs as coroutines."""
        if self._aio is None:
            import_whole("exlab_store.aio.store")  # anyio takes 20 ms to import, and sync programs do without
            from exlab_store.aio.store import AsyncStore

            self._aio = AsyncStore(self)
        return self._aio

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
            if lock is None and needs_own_lock(expect, self._guarantees, self._why_not("conditional_write")):
                take, write = taker(self._calls), attempt_to_write(self._calls, key, data, expect)
                timeout, purpose = DEFAULT_LOCK_TIMEOUT, "conditional write"
                return under_own_lock(self._request, key, timeout, purpose, take, write, self._location)
            return self._calls.atomic_write(
                key, data, expect, fence_of(lock, self, key, self._guarantees, self._location)
            )
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
            refers to it any more, as a file is closed, and with a `ResourceWarning`.

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
        except BaseException as error:  # a signal handler may raise a StoreError, too
            try:
                if held is not None:
                    held.release()
            finally:
                if request is not None:
                    request.end()
            if isinstance(error, StoreError):
                raise error.at(key, self._location) from error.__cause__
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
                returns the very object it was given, nothing is written. Its exceptions pass through. Where the
                document's folder is missing, it is called before that is made, without the lock: if it raises, no
                folder is made. It may be called more than once: again where the document has changed since, as
                somebody else made the folder, or the lock was lost before anything was written, or somebody has
                written without the lock meanwhile, with ``expect=``, and the backend's ``conditional_write`` is
                ``native``. If it has a method ``undo``, that is called, under
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
            held = lock_of(lock, self, key, where)
            write = writer_under(held, self._calls, fenced=self._guarantees.fenced)
            work = Update(key, change, timeout, self._read, write, where, swaps=swaps, own_lock=False)
            return work.run(lock, self._read(key))
        try:
            calls = self._calls
            take, write = calls.lock_and_read, calls.write_and_release
        except StoreError as error:
            raise error.at(key, where) from error.__cause__
        work = Update(key, change, timeout, self._read, write, where, swaps=swaps, own_lock=True)
        asked = question_before_folder.set(work.ask_before_folder)
        try:
            return under_own_lock(self._request, key, timeout, purpose, work.taker(take), work.run, where)
        finally:
            question_before_folder.reset(asked)

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
                raise NotSupported("the backend does not delete documents", hint=self._why_not("deletes"))
            if (
                lock is None
                and expect is not ANY
                and needs_own_lock(expect, self._guarantees, self._why_not("conditional_write"))
            ):
                take, delete = taker(self._calls), attempt_to_delete(self._calls, key, expect)
                timeout, purpose = DEFAULT_LOCK_TIMEOUT, "conditional deletion"
                under_own_lock(self._request, key, timeout, purpose, take, delete, self._location)
                return
            self._calls.delete(key, expect, fence_of(lock, self, key, self._guarantees, self._location))
        except StoreError as error:
            raise error.at(key, self._location) from error.__cause__

    def delete_folder(
        self, key: str, *, expect_empty: bool = False, cancelled: Callable[[], bool] | None = None
    ) -> None:
        """Deletes a folder: the documents below it, their lock files, temporary files and folders.

        Each document is deleted under its lock. It is for a folder in which nobody works any more: whoever writes into
        it meanwhile makes it again.

        Args:
            key: The folder's key.
            expect_empty: Delete nothing if there is a document below.
            cancelled: Asked before each document is deleted; True ends the deletion.

        Raises:
            DocumentNotFound: There is no such folder.
            FolderNotEmpty: There is a document, with ``expect_empty``; or something else that the store does not
                delete is left, such as a file whose name is no key; or it was cancelled. ``.left`` has it.
            LockTimeout: A lock below is held. Nothing was deleted, unless the message says so.
            NotSupported: The backend does not delete folders, or not in this place.
            InvalidKey: The key is not portable, or names a document.
            StoreError: As `delete` does; the message says what was deleted and what is left.
        """
        try:
            check_key(key)
            if not (self._guarantees.deletes and self._guarantees.lists and self._hooks.removes_folders):
                raise NotSupported("the backend does not delete folders", hint="Delete the documents one by one.")
            FolderDeletion(self, key, self._calls.remove_folder, cancelled).run(expect_empty=expect_empty)
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
        check_key(key)
        if self._guarantees.lock_scope == "none":
            raise NotSupported("the backend has no locks", hint=self._why_not("lock_scope"))
        return LockRequest.in_turn(turn_id(self, self.address, key), key, timeout, purpose, cancelled, holder)
