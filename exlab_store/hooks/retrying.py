"""Repeats the operations that are known to be safe to repeat.

`BackendUnavailable` says that an operation did not happen, so it may be repeated. `WriteOutcomeUnknown` is never
repeated here: only the caller knows whether a second write would overwrite somebody else's. A pluggy wrapper
cannot repeat a call, so this stands between `Store` and the hooks.
"""

from __future__ import annotations

import time
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from exlab_store.errors import BackendUnavailable, DocumentNotFound
from exlab_store.first_imports import import_whole
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exlab_store.hooks.backend_lock import BackendLock
    from exlab_store.hooks.backend_source import BackendSource
    from exlab_store.hooks.calls import BackendHooks
    from exlab_store.key_pattern import KeyPattern
    from exlab_store.model import Expectation, FolderItem, HeldLock, Leftover, LockOwner, Snapshot, Stat, Version

__all__ = ["DEFAULT_RETRY", "Retry", "RetryingHooks"]

T = TypeVar("T")


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How to repeat an operation that a backend was unavailable for.

    Attributes:
        attempts: How often an operation is tried in all, 1 or more.
        wait: Seconds before the second attempt; the wait doubles with each and is jittered.
        longest_wait: Seconds that no single wait exceeds.
        timeout: Seconds after which no further attempt is made.
    """

    attempts: int = 3
    wait: float = 0.1
    longest_wait: float = 2.0
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.wait < 0 or self.longest_wait < 0 or self.timeout <= 0:
            raise ValueError("attempts must be at least 1, waits not negative, and the timeout positive")


DEFAULT_RETRY: Final = Retry()
"""How a store repeats operations that nobody has said anything about."""


def _until(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    return remaining if remaining > 0 else 0.0


def _may_be_repeated(error: Exception) -> bool:
    return isinstance(error, BackendUnavailable) and not error.exhausted and not came_from_signal_handler(error)


class RetryingHooks:
    """The hooks of one store, repeated where that is safe.

    Args:
        hooks: What is called.
        retry: How often and how long, or None for one attempt.
    """

    def __init__(self, hooks: BackendHooks, retry: Retry | None) -> None:
        self._hooks = hooks
        self.combines = hooks.combines
        self.stats = hooks.stats
        self.lists_folders = hooks.lists_folders
        self.matches = hooks.matches
        self._fenced = hooks.guarantees.fenced
        self._retry = None if retry is None or retry.attempts == 1 else retry

    def read_snapshot(self, key: str) -> Snapshot:
        """Reads; a read is always safe to repeat."""
        try:
            return self._hooks.read_snapshot(key)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.read_snapshot(key))

    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """Writes; repeated only when the backend says that nothing was written."""
        try:
            return self._hooks.atomic_write(key, data, expect, lock)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.atomic_write(key, data, expect, lock))

    def lock(self, key: str, owner: LockOwner, deadline: float, cancelled: Callable[[], bool]) -> BackendLock:
        """Takes the lock, until a deadline by the monotonic clock.

        It is repeated only when the backend says that the lock is not held, and not once cancelled.
        """
        remaining = deadline - time.monotonic()
        try:
            return self._hooks.lock(key, owner, remaining if remaining > 0 else 0.0, cancelled)
        except BackendUnavailable as error:
            return self._ask_again(error, self._hooks.lock, key, owner, deadline, cancelled)

    def lock_and_read(
        self, key: str, owner: LockOwner, deadline: float, cancelled: Callable[[], bool]
    ) -> tuple[BackendLock, Snapshot | None]:
        """Takes the lock as `lock` does and reads under it; in one call where the backend can."""
        if self.combines:
            try:
                return self._hooks.lock_and_read(key, owner, _until(deadline), cancelled)
            except BackendUnavailable as error:
                return self._ask_again(error, self._hooks.lock_and_read, key, owner, deadline, cancelled)
        held = self.lock(key, owner, deadline, cancelled)
        try:
            return held, self.read_snapshot(key)
        except DocumentNotFound:
            return held, None
        except BaseException:
            held.release()
            raise

    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """Writes under a lock that nobody needs after it; who calls this releases the lock in any case."""
        if self.combines:
            try:
                return self._hooks.write_and_release(key, data, expect, lock)
            except BackendUnavailable as error:
                return self._again(error, lambda: self._hooks.write_and_release(key, data, expect, lock))
        return self.atomic_write(key, data, expect, self.fence(lock))

    def fence(self, lock: HeldLock) -> HeldLock | None:
        """What to pass to a change under a lock.

        Args:
            lock: The backend's own.

        Returns:
            The lock, for a backend that looks at it as late as possible; None for one that cannot.

        Raises:
            LockLost: It is not held any more, where only the core can look.
        """
        if self._fenced:
            return lock
        lock.ensure_held()
        return None

    def _ask_again(
        self,
        error: BackendUnavailable,
        hook: Callable[[str, LockOwner, float, Callable[[], bool]], T],
        key: str,
        owner: LockOwner,
        deadline: float,
        cancelled: Callable[[], bool],
    ) -> T:
        if cancelled():
            raise error
        return self._again(
            error,
            lambda: hook(key, owner, _until(deadline), cancelled),
            within=_until(deadline),
        )

    def list_keys(self, prefix: str) -> list[str]:
        """Lists; always safe to repeat."""
        try:
            return self._hooks.list_keys(prefix)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.list_keys(prefix))

    def stat_document(self, key: str) -> Stat:
        """Looks; always safe to repeat."""
        try:
            return self._hooks.stat_document(key)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.stat_document(key))

    def list_folder(self, key: str, stat: bool) -> Iterator[list[FolderItem]]:
        """Lists a folder, some entries at a time; repeated up to the first, as the caller has those that came."""

        def begun() -> tuple[list[FolderItem], Iterator[list[FolderItem]]]:
            batches = self._hooks.list_folder(key, stat)
            nothing: list[FolderItem] = []
            return next(batches, nothing), batches

        try:
            first, others = begun()
        except BackendUnavailable as error:
            first, others = self._again(error, begun)
        return chain([first], others)

    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Lists; always safe to repeat."""
        try:
            return self._hooks.list_matching(prefix, pattern)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.list_matching(prefix, pattern))

    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Deletes; repeated only when the backend says that nothing was deleted."""
        try:
            self._hooks.delete(key, expect, lock)
        except BackendUnavailable as error:
            self._again(error, lambda: self._hooks.delete(key, expect, lock))

    def remove_folder(self, key: str) -> None:
        """Removes; repeated only when the backend says that the folder is still there."""
        try:
            self._hooks.remove_folder(key)
        except BackendUnavailable as error:
            self._again(error, lambda: self._hooks.remove_folder(key))

    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Copies; repeated only when the backend says that no copy was made."""
        try:
            return self._hooks.keep_copy(key, copy, data)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.keep_copy(key, copy, data))

    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Lists; always safe to repeat."""
        try:
            return self._hooks.list_leftovers(prefix)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.list_leftovers(prefix))

    def remove_leftover(self, name: str) -> None:
        """Removes; not repeated, as a file that is gone already would then be an error."""
        self._hooks.remove_leftover(name)

    def watch_changes(self, prefix: str) -> BackendSource:
        """Begins to watch; always safe to repeat."""
        try:
            return self._hooks.watch_changes(prefix)
        except BackendUnavailable as error:
            return self._again(error, lambda: self._hooks.watch_changes(prefix))

    def _again(self, first: BackendUnavailable, call: Callable[[], T], within: float | None = None) -> T:
        retry = self._retry
        timeout = 0.0 if retry is None else retry.timeout if within is None else min(retry.timeout, within)
        if retry is None or timeout <= 0 or first.exhausted or came_from_signal_handler(first):
            try:
                raise first
            finally:
                del first  # in a circle with this frame, it and all that it refers to would be freed late
        # 50 ms to import, and a store that works never needs it.
        import_whole("exlab_store.hooks.repeating")
        try:
            from exlab_store.hooks.repeating import repeat
        except (ImportError, OSError) as error:  # a process that is out of descriptors cannot import either
            if came_from_signal_handler(error):
                raise
            raise first from error
        return repeat(
            call,
            first,
            _may_be_repeated,
            attempts=retry.attempts,
            timeout=timeout,
            wait=retry.wait,
            longest_wait=retry.longest_wait,
        )
