"""The guard against a hanging test of the kit: each runs in a thread of its own, and its calls are timed.

A thread that stands in a call cannot be ended. It is left to itself, and the test fails with the name of the call; the
next call that the thread makes ends it. To note a call takes 1 us; a thread for each would cost 100 us.
"""

from __future__ import annotations

import time
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from exlab_store.hooks.backend_lock import BackendLock
from exlab_store.hooks.backend_source import BackendSource
from exlab_store.hooks.calls import BackendHooks
from exlab_store.testing.conformance.running import Hangs, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from exlab_store.hooks.calls import Backend
    from exlab_store.key_pattern import KeyPattern
    from exlab_store.model import Expectation, FolderItem, HeldLock, Leftover, LockOwner, Snapshot, Stat, Version

__all__ = ["Watch", "WatchedHooks", "WatchedLock"]

T = TypeVar("T")

_LOOK = 0.1  # seconds from one look at the calls to the next


class _TimedCall:
    """A call that is under way."""

    __slots__ = ("_watch", "name", "seconds", "until")

    def __init__(self, watch: Watch, name: str, seconds: float) -> None:
        self._watch = watch
        self.name = name
        self.seconds = seconds
        self.until = 0.0

    def __enter__(self) -> Self:
        self._watch.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.end(self)


class Watch:
    """The calls of one test.

    Args:
        patience: Seconds that a call may take.
        limit: Seconds that the test may take.
    """

    def __init__(self, patience: float, limit: float) -> None:
        self._patience = patience
        self._limit = limit
        self._calls: dict[int, _TimedCall] = {}
        self.hung = False
        """Whether a call has not returned in time."""

    def call(self, name: str, more: float = 0.0) -> _TimedCall:
        """A context in which one call of the backend is made.

        Args:
            name: What is called, with the key.
            more: Seconds that it may take beside the patience, as its own timeout allows.
        """
        return _TimedCall(self, name, self._patience + more)

    def begin(self, call: _TimedCall) -> None:
        """Notes a call.

        Raises:
            Hangs: The test has failed already, and whoever makes the call was left to itself.
        """
        if self.hung:
            raise Hangs("another call of this test hangs")
        call.until = time.monotonic() + call.seconds
        self._calls[id(call)] = call

    def end(self, call: _TimedCall) -> None:
        """Forgets a call."""
        self._calls.pop(id(call), None)

    def run(self, what: str, call: Callable[[], T]) -> T:
        """Runs a part of the test in a thread of its own.

        Args:
            what: Its name.
            call: What to run.

        Returns:
            What it returns.

        Raises:
            Hangs: A call of a backend, or the whole, has not ended in time.
        """
        __tracebackhide__ = True
        context = copy_context()
        started = Started(lambda: context.run(call))
        until = time.monotonic() + self._limit
        while not started.ends_within(_LOOK):
            now = time.monotonic()
            late = next((each for each in list(self._calls.values()) if now > each.until), None)
            if late is not None:
                self.hung = True
                raise Hangs(f"{late.name} has not returned after {late.seconds:g} s; {started.stands_at()}")
            if now > until:
                self.hung = True
                raise Hangs(f"{what} has not ended after {self._limit:g} s; {started.stands_at()}")
        return started.result(0)


class WatchedLock(BackendLock):
    """A backend's lock whose calls are timed, and whose release does not hide that it fails."""

    watch: Watch

    def ensure_held(self) -> None:
        """See `BackendLock`."""
        with self.watch.call(f"ensure_held of the lock of {self.key!r}"):
            super().ensure_held()

    def release(self) -> None:
        """Releases the lock; raises what the core would log."""
        with self.watch.call(f"release of the lock of {self.key!r}"):
            self.release_or_raise()


class WatchedSource(BackendSource):
    """A backend's source of changes whose calls are timed."""

    watch: Watch

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> list[str]:
        """Times the wait."""
        with self.watch.call(f"wait of a source of changes (timeout={timeout:g})", timeout):
            return super().wait(timeout, cancelled)

    def close(self) -> None:
        """Times the close."""
        with self.watch.call("close of a source of changes"):
            super().close()


class WatchedHooks(BackendHooks):
    """The hooks of a backend, whose calls are timed.

    Args:
        backend: The backend.
        watch: Of the test.
    """

    def __init__(self, backend: Backend, watch: Watch) -> None:
        super().__init__(backend)
        self._watch = watch

    def close(self) -> None:
        """See `BackendHooks`, as for the other calls."""
        with self._watch.call("close"):
            super().close()

    def read_snapshot(self, key: str) -> Snapshot:
        """Times the hook."""
        with self._watch.call(f"read_snapshot of {key!r}"):
            return super().read_snapshot(key)

    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        """Times the hook."""
        with self._watch.call(f"atomic_write of {key!r}"):
            return super().atomic_write(key, data, expect, lock)

    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> WatchedLock:
        """Times the hook, and the calls of its result."""
        with self._watch.call(f"lock of {key!r} (timeout={timeout:g})", timeout):
            held = super().lock(key, owner, timeout, cancelled)
        return WatchedLock(self, key, held.inner, self._watch)

    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[WatchedLock, Snapshot | None]:
        """Times the hook, and the calls of its result."""
        with self._watch.call(f"lock_and_read of {key!r} (timeout={timeout:g})", timeout):
            held, snapshot = super().lock_and_read(key, owner, timeout, cancelled)
        return WatchedLock(self, key, held.inner, self._watch), snapshot

    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        """Times the hook."""
        with self._watch.call(f"write_and_release of {key!r}"):
            return super().write_and_release(key, data, expect, lock)

    def list_keys(self, prefix: str) -> list[str]:
        """Times the hook."""
        with self._watch.call(f"list_keys of {prefix!r}"):
            return super().list_keys(prefix)

    def stat_document(self, key: str) -> Stat:
        """Times the hook."""
        with self._watch.call(f"stat_document of {key!r}"):
            return super().stat_document(key)

    def list_folder(self, key: str, stat: bool) -> Iterator[list[FolderItem]]:
        """Times the hook, and each step of its result."""
        batches = super().list_folder(key, stat)
        while True:
            with self._watch.call(f"list_folder of {key!r}"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def list_matching(self, prefix: str, pattern: KeyPattern) -> list[FolderItem]:
        """Times the hook."""
        with self._watch.call(f"list_matching of {prefix!r}"):
            return super().list_matching(prefix, pattern)

    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        """Times the hook."""
        with self._watch.call(f"delete of {key!r}"):
            super().delete(key, expect, lock)

    def remove_folder(self, key: str) -> None:
        """Times the hook."""
        with self._watch.call(f"remove_folder of {key!r}"):
            super().remove_folder(key)

    def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """Times the hook."""
        with self._watch.call(f"keep_copy of {key!r}"):
            return super().keep_copy(key, copy, data)

    def list_leftovers(self, prefix: str) -> list[Leftover]:
        """Times the hook."""
        with self._watch.call(f"list_leftovers of {prefix!r}"):
            return super().list_leftovers(prefix)

    def remove_leftover(self, name: str) -> None:
        """Times the hook."""
        with self._watch.call(f"remove_leftover of {name!r}"):
            super().remove_leftover(name)

    def watch_changes(self, prefix: str) -> WatchedSource:
        """Times the hook, and the calls of its result."""
        with self._watch.call(f"watch_changes of {prefix!r}"):
            source = WatchedSource(self, super().watch_changes(prefix).inner)
        source.watch = self._watch
        return source
