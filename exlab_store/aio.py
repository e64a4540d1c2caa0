"""The verbs of a store as coroutines, for asyncio and trio.

The work runs on worker threads, a bounded number for each share, so that a slow one cannot take the threads of
another or of the application. Waiting for a lock takes no thread: tasks of one event loop queue in order, and the
first of them asks for the lock again and again, sleeping on the loop in between.

Cancelling waits for an operation that has begun, so its outcome is known: nothing is left half done, no lock and
no thread is left behind.
"""

from __future__ import annotations

import random
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar, final

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from exlab_store.addresses import place_of, placed
from exlab_store.errors import LockAlreadyHeld, LockTimeout, StoreError
from exlab_store.locks import DEFAULT_LOCK_TIMEOUT, StoreLock, check_timeout
from exlab_store.model import ANY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable
    from contextlib import AbstractAsyncContextManager

    from exlab_store.model import Expectation, HeldLock, LockOwner, Snapshot, Version
    from exlab_store.store import Store

__all__ = ["AsyncStore", "AsyncStorePath", "in_thread"]

T = TypeVar("T")

_THREADS_PER_SHARE = 16
_JOIN_POLL = 0.002

# Pauses between two attempts at a lock that another process holds, in seconds: growing, and jittered.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.064


class _Queue:
    """The tasks of one event loop that want one lock."""

    __slots__ = ("holder", "lock", "owner", "users")

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.users = 0
        self.holder: int | None = None
        self.owner: LockOwner | None = None


# An event loop's own state: anyio's locks and limiters belong to the loop they are used in.
_queues: RunVar[dict[Hashable, _Queue]] = RunVar("exlab_store_queues")
_limiters: RunVar[dict[str, anyio.CapacityLimiter]] = RunVar("exlab_store_limiters")


class _Work(Generic[T]):
    """A call in a worker thread that is not lost sight of when the task that wants it is cancelled."""

    def __init__(self, call: Callable[[Callable[[], bool]], T]) -> None:
        self._call = call
        self._mutex = threading.Lock()
        self._begun = False
        self._abandoned = False
        self.ended = threading.Event()
        self.result: T | None = None

    def __call__(self) -> T | None:
        with self._mutex:
            if self._abandoned:
                return None
            self._begun = True
        try:
            self.result = self._call(self.abandoned)
        finally:
            self.ended.set()
        return self.result

    def abandoned(self) -> bool:
        return self._abandoned

    def abandon(self) -> bool:
        """Whether the call has begun, so that its end is to be awaited."""
        with self._mutex:
            self._abandoned = True
            return self._begun


async def in_thread(
    store: Store | None,
    call: Callable[[Callable[[], bool]], T],
    undo: Callable[[T], None] | None = None,
) -> T:
    """Runs a call in a worker thread; cancelling waits for a call that has begun.

    Args:
        store: Whose share's threads are used; None for those that open stores.
        call: What to run. It is given a function that says whether the task was cancelled meanwhile.
        undo: What to do with the result of a call whose task was cancelled.

    Returns:
        What the call returns.
    """
    work = _Work(call)
    try:
        result = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=_limiter(store))
    except anyio.get_cancelled_exc_class():
        if work.abandon():
            await _joined(work)
            if undo is not None and work.result is not None:
                undo(work.result)
        raise
    return result  # type: ignore[return-value]  # None only for work that was abandoned, which raises above


async def _joined(work: _Work[T]) -> None:
    # anyio's shield does not hold off asyncio's own Task.cancel(), so a second one may arrive here.
    while not work.ended.is_set():
        with anyio.CancelScope(shield=True):
            try:
                await anyio.sleep(_JOIN_POLL)
            except anyio.get_cancelled_exc_class():
                continue


def _limiter(store: Store | None) -> anyio.CapacityLimiter:
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = dict[str, anyio.CapacityLimiter]()
        _limiters.set(limiters)
    share = "" if store is None else _share(store)
    limiter = limiters.get(share)
    if limiter is None:
        limiter = limiters[share] = anyio.CapacityLimiter(_THREADS_PER_SHARE)
    return limiter


def _share(store: Store) -> str:
    """What may be slow as a whole: a server, and of a path what a mount or a share is usually named by."""
    location = store.location
    if location is None:
        return "a backend object"
    return f"{location.scheme}://{location.host}{'/'.join(location.path.split('/')[:3])}"


async def _acquired(lock: anyio.Lock, timeout: float) -> bool:
    try:
        lock.acquire_nowait()  # a timeout of 0 tries once
    except anyio.WouldBlock:
        with anyio.move_on_after(timeout):
            await lock.acquire()
            return True
        return False
    return True


@asynccontextmanager
async def _turn(place: Hashable, timeout: float) -> AsyncGenerator[_Queue]:
    """The turn of this task among the tasks of its event loop; first come, first served."""
    try:
        queues = _queues.get()
    except LookupError:
        queues = dict["Hashable", _Queue]()
        _queues.set(queues)
    queue = queues.setdefault(place, _Queue())
    task = anyio.get_current_task().id
    if queue.holder == task:
        raise LockAlreadyHeld(
            "the lock is held by the task that asks for it",
            hint="Pass the held lock on (lock=...) instead of taking it a second time.",
        )
    queue.users += 1
    try:
        if not await _acquired(queue.lock, timeout):
            raise LockTimeout(
                f"waited {timeout:g} s for another task of this process to release the lock", holder=queue.owner
            )
        queue.holder = task
        try:
            yield queue
        finally:
            queue.holder = queue.owner = None
            queue.lock.release()
    finally:
        queue.users -= 1
        if not queue.users:
            del queues[place]


class AsyncStore:
    """A `Store` for coroutines: the same verbs, arguments, results and errors. ``store.aio`` is one.

    Args:
        store: The store that does the work.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def store(self) -> Store:
        """The store that does the work."""
        return self._store

    async def read_snapshot(self, key: str) -> Snapshot:
        """As `Store.read_snapshot`."""
        return await in_thread(self._store, lambda _: self._store.read_snapshot(key))

    async def atomic_write(
        self, key: str, data: bytes, *, expect: Expectation = ANY, lock: HeldLock | None = None
    ) -> Version:
        """As `Store.atomic_write`; a cancelled task learns of it once the write has ended."""
        return await in_thread(self._store, lambda _: self._store.atomic_write(key, data, expect=expect, lock=lock))

    async def update(
        self,
        key: str,
        change: Callable[[bytes | None], bytes],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
        lock: HeldLock | None = None,
    ) -> Version:
        """As `Store.update`; ``change`` is called in a worker thread."""
        if lock is not None:
            return await in_thread(self._store, lambda _: self._store.update(key, change, lock=lock))
        async with self.lock(key, timeout=timeout, purpose=purpose) as held:
            return await in_thread(self._store, lambda _: self._store.update(key, change, lock=held))

    @asynccontextmanager
    async def lock(
        self, key: str, *, timeout: float = DEFAULT_LOCK_TIMEOUT, purpose: str = ""
    ) -> AsyncGenerator[StoreLock]:
        """As `Store.lock`, as an asynchronous context manager; to be left by the task that entered it."""
        check_timeout(timeout)
        deadline = anyio.current_time() + timeout
        async with AsyncExitStack() as stack:
            try:
                queue = await stack.enter_async_context(_turn(place_of(self._store, key), timeout))
            except StoreError as error:
                raise placed(error, key, self._store.location) from error.__cause__
            held = await self._taken(key, timeout, deadline, purpose)
            queue.owner = held.owner
            try:
                yield held
            finally:
                try:
                    with anyio.CancelScope(shield=True):
                        await in_thread(self._store, lambda _: held.release())
                finally:
                    held.release()  # for a task that was cancelled again before the thread began

    async def _taken(self, key: str, timeout: float, deadline: float, purpose: str) -> StoreLock:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await in_thread(self._store, _Take(self._store, key, purpose), undo=StoreLock.release)
            except LockTimeout as error:
                remaining = deadline - anyio.current_time()
                if remaining <= 0:
                    message = f"waited {timeout:g} s for the lock"
                    raise LockTimeout(message, holder=error.holder, key=error.key, location=error.location) from error
            await anyio.sleep(min(remaining, pause * random.uniform(0.5, 1.5)))  # noqa: S311  # no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def list_keys(self, prefix: str = "") -> list[str]:
        """As `Store.list_keys`."""
        return await in_thread(self._store, lambda _: self._store.list_keys(prefix))

    async def delete(self, key: str, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""
        await in_thread(self._store, lambda _: self._store.delete(key, expect=expect, lock=lock))


class _Take:
    """One attempt at a lock, on whichever thread; the thread is not the holder, as another task uses it next."""

    __slots__ = ("_key", "_purpose", "_store")

    def __init__(self, store: Store, key: str, purpose: str) -> None:
        self._store = store
        self._key = key
        self._purpose = purpose

    def __call__(self, cancelled: Callable[[], bool]) -> StoreLock:
        return self._store.lock(self._key, timeout=0, purpose=self._purpose, cancelled=cancelled, holder=object())


@final
class AsyncStorePath:
    """A `StorePath` for coroutines. ``path.aio`` is one.

    Args:
        store: The store, with coroutines.
        key: The document's key.
    """

    __slots__ = ("_key", "_store")

    def __init__(self, store: AsyncStore, key: str) -> None:
        self._store = store
        self._key = key

    async def read_snapshot(self) -> Snapshot:
        """As `Store.read_snapshot`."""
        return await self._store.read_snapshot(self._key)

    async def atomic_write(self, data: bytes, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> Version:
        """As `Store.atomic_write`."""
        return await self._store.atomic_write(self._key, data, expect=expect, lock=lock)

    async def update(
        self,
        change: Callable[[bytes | None], bytes],
        *,
        timeout: float = DEFAULT_LOCK_TIMEOUT,
        purpose: str = "update",
        lock: HeldLock | None = None,
    ) -> Version:
        """As `Store.update`."""
        return await self._store.update(self._key, change, timeout=timeout, purpose=purpose, lock=lock)

    def lock(
        self, *, timeout: float = DEFAULT_LOCK_TIMEOUT, purpose: str = ""
    ) -> AbstractAsyncContextManager[StoreLock]:
        """As `AsyncStore.lock`."""
        return self._store.lock(self._key, timeout=timeout, purpose=purpose)

    async def list_keys(self) -> list[str]:
        """As `Store.list_keys`, for this folder."""
        return await self._store.list_keys(self._key)

    async def delete(self, *, expect: Expectation = ANY, lock: HeldLock | None = None) -> None:
        """As `Store.delete`."""
        await self._store.delete(self._key, expect=expect, lock=lock)
