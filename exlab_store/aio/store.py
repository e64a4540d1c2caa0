"""The verbs of a store as coroutines, for asyncio and trio.

Each verb is the synchronous one, called on a thread that belongs to the store (see `exlab_store.threads`). Waiting
for a lock that somebody in this process holds takes no thread: a task waits for its turn on its event loop, and only
then calls the verb, which finds the turn reserved for it.

Cancelling waits for a call that has begun, so its outcome is known: nothing is left half done, no lock and no thread
is left behind.
"""

from __future__ import annotations

import random
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeVar, overload

import anyio

from exlab_store.aio.calls import Bell, admitted, on_worker, running_task, to_the_end
from exlab_store.aio.iterating import each
from exlab_store.aio.path import AsyncStorePath
from exlab_store.aio.reading_many import read_each
from exlab_store.aio.watching import AsyncChangeStream
from exlab_store.errors import BackendUnavailable, LockTimeout, StoreError
from exlab_store.first_imports import import_whole
from exlab_store.keys import check_key
from exlab_store.location import url_of
from exlab_store.locks.held import DEFAULT_LOCK_TIMEOUT, StoreLock, check_timeout, new_owner
from exlab_store.locks.turns import (
    ReservedTurn,
    TaskCall,
    TaskHolder,
    Waiter,
    ask_for_turn,
    task_call,
    this_thread,
    turn_id,
)
from exlab_store.model import ANY
from exlab_store.reading_many import DEFAULT_CONCURRENCY, check_concurrency
from exlab_store.threads import workers_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from exlab_store.locks.turns import Turn
    from exlab_store.model import Expectation, FolderItem, HeldLock, Leftover, LockOwner, Snapshot, Stat, Version
    from exlab_store.store import Store

__all__ = ["AsyncStore"]

T = TypeVar("T")

# Pauses between two attempts at a lock that another process holds, in seconds: growing, and jittered. Only for those
# who find all threads busy that may wait for other processes. Together they ask about as often however many they are:
# one alone would be passed over again and again if it asked as rarely as one of many.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.064


class _WaitingTask(Waiter):
    __slots__ = ("_bell",)

    def __init__(self, holder: Hashable, owner: LockOwner) -> None:
        super().__init__(holder, owner)
        self._bell = Bell()

    def wake(self) -> bool:
        return self._bell.ring()

    async def woken(self, timeout: float) -> bool:
        """Whether the turn has come in time."""
        if timeout > 0:
            with anyio.move_on_after(timeout):
                await self._bell.heard()
                return True
        return False


async def _turn(document: Hashable, holder: TaskHolder, owner: LockOwner, timeout: float) -> Turn:
    """As `take_turn`, for a task."""
    turn, waiter = ask_for_turn(document, holder, owner, _WaitingTask)
    if waiter is None:
        return turn
    try:
        if await waiter.woken(timeout):
            return turn
    except BaseException:
        if turn.withdraw(waiter) is None:
            turn.end()
        raise
    turn.give_up(waiter, timeout)
    return turn


def _this_task() -> TaskHolder:
    return TaskHolder(this_thread(), anyio.get_current_task().id)


class AsyncStore:
    """A `Store` for coroutines: the same verbs, arguments, results and errors. ``store.aio`` is one.

    ``store.aio / "a" / "b.json"`` is an `AsyncStorePath`. A store is closed with `Store.close`.

    Args:
        store: The store that does the work.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._workers = workers_for(store.location)
        self._workers.join()
        # Gives the threads back, once: when the store is closed, or when nobody has it any more.
        self.leave = weakref.finalize(self, self._workers.leave)
        self.leave.atexit = False

    @property
    def store(self) -> Store:
        """The store that does the work."""
        return self._store

    @property
    def root(self) -> AsyncStorePath:
        """The path of the store itself, whose key is empty."""
        return AsyncStorePath(self, "")

    @overload
    async def read_snapshot(self, key: str) -> Snapshot: ...
    @overload
    async def read_snapshot(self, key: str, *, unless: Version | None) -> Snapshot | None: ...
    async def read_snapshot(self, key: str, *, unless: Version | None = None) -> Snapshot | None:
        """As `Store.read_snapshot`."""
        return await self._called(key, lambda: self._store.read_snapshot(key, unless=unless))

    def read_many(
        self,
        keys: Iterable[str],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> AsyncGenerator[tuple[str, Snapshot | None]]:
        """As `Store.read_many`, as an asynchronous generator; ``concurrency`` is 8 at most.

        Whoever stops early closes it: ``async with contextlib.aclosing(store.aio.read_many(keys)) as found:``.
        Otherwise the event loop does so some time later.
        """
        check_concurrency(concurrency)
        return read_each(self._workers, self._store.read_snapshot, keys, concurrency, onerror)

    async def atomic_write(
        self, key: str, data: bytes, *, expect: Expectation = ANY, lock: HeldLock | None = None
    ) -> Version:
        """As `Store.atomic_write`; a cancelled task learns of it once the write has ended."""

        def write() -> Version:
            return self._store.atomic_write(key, data, expect=expect, lock=lock)

        if lock is None and self._locks_for(expect):
            return await self._locking(key, DEFAULT_LOCK_TIMEOUT, "conditional write", write)
        return await self._called(key, write, changes=True)

    async def update(
        self,
        key: str,
        change: Callable[[bytes | None], bytes],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
        lock: HeldLock | None = None,
    ) -> Version:
        """As `Store.update`; ``change`` is called on a worker thread."""

        def update() -> Version:
            return self._store.update(key, change, timeout=timeout, purpose=purpose, lock=lock)

        if lock is None:
            return await self._locking(key, timeout, purpose, update)
        call = TaskCall(_this_task())

        def locked_update() -> Version:
            task_call.set(call)
            return update()

        try:
            return await self._called(key, locked_update, changes=True)
        finally:
            call.end()

    def lock(
        self, key: str, *, timeout: float = DEFAULT_LOCK_TIMEOUT, purpose: str = ""
    ) -> AbstractAsyncContextManager[StoreLock]:
        """As `Store.lock`, as an asynchronous context manager. Tasks and threads of one process queue in order."""

        def take() -> StoreLock:
            return self._store.lock(key, timeout=timeout, purpose=purpose)

        log = partial(self._log, key)
        return _Locking(
            lambda: self._locking(key, timeout, purpose, take, undo=StoreLock.release),
            lambda held: to_the_end(self._workers, held.release, log),
        )

    async def stat(self, key: str) -> Stat:
        """As `Store.stat`."""
        return await self._called(key, lambda: self._store.stat(key))

    async def exists(self, key: str) -> bool:
        """As `Store.exists`."""
        return await self._called(key, lambda: self._store.exists(key))

    def list_folder(self, key: str = "", *, stat: bool = False) -> AsyncGenerator[FolderItem]:
        """As `Store.list_folder`, as an asynchronous generator."""
        return each(partial(self._called, key or None), lambda: self._store.list_folder(key, stat=stat))

    async def list_keys(self, prefix: str = "", *, pattern: str | None = None) -> list[str]:
        """As `Store.list_keys`."""
        return await self._called(prefix or None, lambda: self._store.list_keys(prefix, pattern=pattern))

    async def list_matching(self, prefix: str, pattern: str) -> list[FolderItem]:
        """As `Store.list_matching`."""
        return await self._called(prefix or None, lambda: self._store.list_matching(prefix, pattern))

    def watch(
        self,
        prefix: str = "",
        *,
        pattern: str | None = None,
        since: Mapping[str, Version | None] | None = None,
        timeout: float | None = None,
        interval: float | None = None,
        onerror: Callable[[StoreError], object] | None = None,
    ) -> AsyncChangeStream:
        """As `Store.watch`, as an asynchronous iterator; ``onerror`` is called on the watch's own thread."""
        begin = partial(
            self._store.watch,
            prefix,
            pattern=pattern,
            since=since,
            timeout=timeout,
            interval=interval,
            onerror=onerror,
        )
        return AsyncChangeStream(begin)

    async def delete(self, key: str, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""

        def delete() -> None:
            self._store.delete(key, expect=expect, lock=lock)

        if lock is None and self._locks_for(expect):
            await self._locking(key, DEFAULT_LOCK_TIMEOUT, "conditional deletion", delete)
        else:
            await self._called(key, delete, changes=True)

    async def delete_folder(self, key: str, *, expect_empty: bool = False) -> None:
        """As `Store.delete_folder`; where the task is cancelled, it ends before the next document."""
        await admitted()
        cancelled = threading.Event()

        def delete() -> None:
            self._store.delete_folder(key, expect_empty=expect_empty, cancelled=cancelled.is_set)

        await self._on_worker(key, delete, changes=True, abandon=cancelled.set)

    async def keep_copy(self, key: str, copy: str, data: bytes) -> bool:
        """As `Store.keep_copy`."""
        return await self._called(copy, lambda: self._store.keep_copy(key, copy, data), changes=True)

    async def list_leftovers(self, prefix: str = "") -> list[Leftover]:
        """As `Store.list_leftovers`."""
        return await self._called(prefix or None, lambda: self._store.list_leftovers(prefix))

    async def remove_leftover(self, leftover: Leftover) -> None:
        """As `Store.remove_leftover`."""
        await self._called(leftover.name, lambda: self._store.remove_leftover(leftover), changes=True)

    def __truediv__(self, name: str) -> AsyncStorePath:
        return AsyncStorePath(self, (self._store / name).key)

    async def _called(self, key: str | None, call: Callable[[], T], *, changes: bool = False) -> T:
        await admitted()
        return await self._on_worker(key, call, changes=changes)

    async def _on_worker(
        self,
        key: str | None,
        call: Callable[[], T],
        *,
        changes: bool,
        abandon: Callable[[], object] | None = None,
        undo: Callable[[T], object] | None = None,
    ) -> T:
        unheard = partial(self._log, key) if changes else None
        try:
            return await on_worker(self._workers, call, abandon=abandon, undo=undo, unheard=unheard)
        except BackendUnavailable as error:  # there was no thread, and nobody has named the document yet
            raise error.at(key, self._store.location) from error.__cause__

    def _log(self, key: str | None, failure: BaseException) -> None:
        """Logs the failure of a call whose task was cancelled and raises the cancellation."""
        if isinstance(failure, LockTimeout):
            return  # it was to give up
        import_whole("logging")
        import logging  # 10 ms to import

        where = url_of(self._store.location, key or "")
        why = failure.message if isinstance(failure, StoreError) else failure
        message = "a task was cancelled, so nobody is told that its call for %s has failed: %s: %s"
        logging.getLogger("exlab_store").warning(message, where, type(failure).__name__, why)

    def _locks_for(self, expect: Expectation) -> bool:
        return expect is not ANY and self._store.guarantees.conditional_write == "locked"

    async def _locking(
        self,
        key: str,
        timeout: float,
        purpose: str,
        call: Callable[[], T],
        undo: Callable[[T], object] | None = None,
    ) -> T:
        """Makes a call that takes the lock, when it is this task's turn."""
        check_timeout(timeout)
        if self._store.guarantees.lock_scope == "none":
            return await self._called(key, call)  # which says so
        await admitted()
        deadline = anyio.current_time() + timeout
        holder = _this_task()
        owner = new_owner(purpose)
        try:
            check_key(key)
            document = turn_id(self._store, self._store.address, key)
            turn = await _turn(document, holder, owner, timeout)
        except StoreError as error:
            raise error.at(key, self._store.location) from error.__cause__
        reserved = ReservedTurn(holder, document, owner, turn)
        try:
            pause = _FIRST_PAUSE
            while True:
                try:
                    return await self._attempt(key, reserved, deadline, call, undo)
                except LockTimeout as error:
                    if reserved.taken:
                        raise  # another lock's, within the call
                    remaining = deadline - anyio.current_time()
                    if remaining <= 0:
                        message = f"waited {timeout:g} s for the lock"
                        raise LockTimeout(
                            message, holder=error.holder, key=error.key, location=error.location
                        ) from error
                with self._workers.asking() as tasks:
                    pause = min(pause, tasks * _FIRST_PAUSE, _LONGEST_PAUSE)
                    await anyio.sleep(min(remaining, pause * random.uniform(0.5, 1.5)))  # noqa: S311  # no secret
                pause *= 2
        finally:
            reserved.end()

    async def _attempt(
        self,
        key: str,
        reserved: ReservedTurn,
        deadline: float,
        call: Callable[[], T],
        undo: Callable[[T], object] | None,
    ) -> T:
        def with_turn() -> T:
            task_call.set(reserved)
            return call()

        patient = self._workers.take_patience()
        try:
            reserved.patience = max(0.0, deadline - anyio.current_time()) if patient else 0.0
            return await self._on_worker(key, with_turn, changes=undo is None, abandon=reserved.abandon, undo=undo)
        finally:
            if patient:
                self._workers.give_patience_back()


class _Locking:
    """What ``async with store.aio.lock(key)`` enters."""

    __slots__ = ("_held", "_release", "_take", "_task")

    def __init__(
        self,
        take: Callable[[], Awaitable[StoreLock]],
        release: Callable[[StoreLock], Awaitable[None]],
    ) -> None:
        self._take = take
        self._release = release
        self._held: list[StoreLock] = []
        self._task: int | None = None

    async def __aenter__(self) -> StoreLock:
        held = await self._take()
        self._held.append(held)
        self._task = running_task()
        return held

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        held = self._held.pop()
        # A generator that is closed early may wait, in the task that closes it; a task that is thrown away may not.
        if isinstance(exc, GeneratorExit) and running_task() != self._task:
            held.release()
            return
        await self._release(held)
