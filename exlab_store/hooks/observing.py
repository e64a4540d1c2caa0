"""Observers: a base class that gives its subclass one `Observation` for each attempt at an operation."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from exlab_store.errors import StoreError
from exlab_store.first_imports import import_whole
from exlab_store.hooks.attempts import current_attempt
from exlab_store.hookspecs import hookimpl
from exlab_store.signal_handlers import came_from_signal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from exlab_store.key_pattern import KeyPattern
    from exlab_store.location import Location
    from exlab_store.model import Expectation, HeldLock, LockOwner

__all__ = ["Observation", "Observer"]


class Observation(msgspec.Struct, kw_only=True):
    """What happened in one attempt at an operation.

    Attributes:
        operation: The hook's name.
        key: The document's key; of a listing, the prefix.
        backend: The scheme of the store's URL; empty text for a backend that was given as an object.
        location: The store's location without secrets; empty text where it has none.
        attempt: 1 for the first attempt, and so on.
        duration: The duration of the attempt in seconds.
        size: Bytes read, written or found, or keys listed; None where there is nothing to count.
        outcome: ``done``, or the ``code`` of the `StoreError`, or the type of another exception.
        error: The error, or None.
    """

    operation: str
    key: str
    backend: str
    location: str
    attempt: int
    duration: float = 0.0
    size: int | None = None
    outcome: str = "done"
    error: BaseException | None = None


class Observer(ABC):
    """Wraps every hook; a subclass says what to do around an attempt.

    What `around` raises is logged and changes nothing: a write that has happened has happened, whoever watches.

    Args:
        location: The store's location, or None for a backend that was given as an object.
    """

    def __init__(self, location: Location | None) -> None:
        self._backend = "" if location is None else location.scheme
        self._location = "" if location is None else str(location)

    @abstractmethod
    def around(self, observation: Observation) -> AbstractContextManager[None]:
        """A context that is entered before an attempt and left after it, when the observation is complete.

        Args:
            observation: Operation, key, backend, location and attempt; the rest is filled in before the end.
        """

    @hookimpl(wrapper=True)
    def read_snapshot(self, key: str) -> Generator[None, Any, Any]:
        """Watches a read."""
        return (yield from self._watched("read_snapshot", key, len))

    @hookimpl(wrapper=True)
    def atomic_write(
        self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None
    ) -> Generator[None, Any, Any]:
        """Watches a write."""
        del expect, lock
        return (yield from self._watched("atomic_write", key, lambda _: len(data)))

    @hookimpl(wrapper=True)
    def lock(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> Generator[None, Any, Any]:
        """Watches the wait for a lock."""
        del owner, timeout, cancelled
        return (yield from self._watched("lock", key, None))

    @hookimpl(wrapper=True)
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> Generator[None, Any, Any]:
        """Watches the wait for a lock, and the read with it: one attempt, whose size is the document's."""
        del owner, timeout, cancelled
        return (yield from self._watched("lock_and_read", key, _read_size))

    @hookimpl(wrapper=True)
    def write_and_release(
        self, key: str, data: bytes, expect: Expectation, lock: HeldLock
    ) -> Generator[None, Any, Any]:
        """Watches a write, and the release with it: one attempt."""
        del expect, lock
        return (yield from self._watched("write_and_release", key, lambda _: len(data)))

    @hookimpl(wrapper=True)
    def list_keys(self, prefix: str) -> Generator[None, Any, Any]:
        """Watches a listing; the keys are counted, so an iterator becomes a list."""
        return (yield from self._watched("list_keys", prefix, len, list))

    @hookimpl(wrapper=True)
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> Generator[None, Any, Any]:
        """Watches a deletion."""
        del expect, lock
        return (yield from self._watched("delete", key, None))

    @hookimpl(wrapper=True)
    def keep_copy(self, key: str, copy: str, data: bytes) -> Generator[None, Any, Any]:
        """Watches the copying of a document."""
        del key
        return (yield from self._watched("keep_copy", copy, lambda kept: len(data) if kept else 0))

    @hookimpl(wrapper=True)
    def list_leftovers(self, prefix: str) -> Generator[None, Any, Any]:
        """Watches a listing of lock files and temporary files."""
        return (yield from self._watched("list_leftovers", prefix, len, list))

    @hookimpl(wrapper=True)
    def remove_leftover(self, name: str) -> Generator[None, Any, Any]:
        """Watches the removal of a temporary file."""
        return (yield from self._watched("remove_leftover", name, None))

    @hookimpl(wrapper=True)
    def remove_folder(self, key: str) -> Generator[None, Any, Any]:
        """Watches the removal of a folder."""
        return (yield from self._watched("remove_folder", key, None))

    @hookimpl(wrapper=True)
    def stat_document(self, key: str) -> Generator[None, Any, Any]:
        """Watches a look at a document; the size is the document's."""
        return (yield from self._watched("stat_document", key, lambda stat: stat.size))

    @hookimpl(wrapper=True)
    def list_folder(self, key: str, stat: bool) -> Generator[None, Any, Any]:
        """Watches a listing of a folder; the entries are counted, so an iterator becomes a list."""
        del stat
        return (yield from self._watched("list_folder", key, len, list))

    @hookimpl(wrapper=True)
    def list_matching(self, prefix: str, pattern: KeyPattern) -> Generator[None, Any, Any]:
        """Watches a search; the entries are counted, so an iterator becomes a list."""
        del pattern
        return (yield from self._watched("list_matching", prefix, len, list))

    @hookimpl(wrapper=True)
    def watch_changes(self, prefix: str) -> Generator[None, Any, Any]:
        """Watches the beginning of a watch, and not what it tells."""
        return (yield from self._watched("watch_changes", prefix, None))

    def _watched(
        self,
        operation: str,
        key: str,
        size: Callable[[Any], int | None] | None,
        whole: Callable[[Any], Any] | None = None,
    ) -> Generator[None, Any, Any]:
        observation = Observation(
            operation=operation,
            key=key,
            backend=self._backend,
            location=self._location,
            attempt=current_attempt.get(),
        )
        with self._harmless(observation):
            began = time.monotonic()
            try:
                result = yield
                if whole is not None and result is not None:
                    result = whole(result)
                if size is not None and result is not None:
                    observation.size = size(result)
            except BaseException as error:
                observation.error = error
                observation.outcome = error.code if isinstance(error, StoreError) else type(error).__name__
                raise
            finally:
                observation.duration = time.monotonic() - began
        return result

    @contextmanager
    def _harmless(self, observation: Observation) -> Generator[None]:
        context = None
        try:
            context = self.around(observation)
            context.__enter__()
        except Exception as fault:
            if came_from_signal_handler(fault):
                raise
            self._complain(fault)
            context = None
        try:
            yield
        except BaseException as error:
            self._leave(context, error)
            raise
        self._leave(context, None)

    def _leave(self, context: AbstractContextManager[None] | None, error: BaseException | None) -> None:
        if context is None:
            return
        try:
            # Whatever it returns, an error of the operation goes on.
            if error is None:
                context.__exit__(None, None, None)
            else:
                context.__exit__(type(error), error, error.__traceback__)
        except Exception as fault:
            if came_from_signal_handler(fault) and fault is not error:
                raise
            if fault is not error:
                self._complain(fault)

    def _complain(self, fault: Exception) -> None:
        import_whole("logging")  # who has no observers needs none
        import logging

        log = logging.getLogger("exlab_store")
        log.error("the observer %s failed: %s: %s", type(self).__qualname__, type(fault).__name__, fault)


def _read_size(result: Any) -> int | None:
    _, snapshot = result
    return None if snapshot is None else len(snapshot)
