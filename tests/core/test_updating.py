"""Updates and conditional changes under a lock of the core's own: which hooks they use, and when they begin again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory

from exlab_store import (
    ABSENT,
    BackendUnavailable,
    DocumentExists,
    DocumentNotFound,
    Expectation,
    HeldLock,
    LockAlreadyHeld,
    LockLost,
    LockOwner,
    LockTimeout,
    NotSupported,
    Observation,
    Observer,
    PluginError,
    Snapshot,
    Store,
    StoreError,
    StoreLock,
    Version,
    VersionConflict,
    hookimpl,
    open_store,
    version_of,
)
from exlab_store.testing.faults import FaultPlan


class Combining(MemoryBackend):
    """A memory with the combined hooks, which keeps what it was asked for and can fail."""

    guarantees = msgspec.structs.replace(MemoryBackend.guarantees, conditional_write="locked")

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__(memory or Memory())
        self.asked: list[str] = []
        self.losing: list[Callable[[], object]] = []
        self.failing: list[Exception] = []

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        self.asked.append("lock_and_read")
        if self.failing:
            raise self.failing.pop()
        held = MemoryBackend.lock(self, key, owner, timeout, cancelled)
        try:
            return held, MemoryBackend.read_snapshot(self, key)
        except DocumentNotFound:
            return held, None

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
        self.asked.append("write_and_release")
        self._lose(lock)
        version = MemoryBackend.atomic_write(self, key, data, expect, lock)
        lock.release()
        return version

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        self.asked.append("lock")
        return super().lock(key, owner, timeout, cancelled)

    @hookimpl
    def read_snapshot(self, key: str) -> Snapshot:
        self.asked.append("read_snapshot")
        return super().read_snapshot(key)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        self.asked.append("atomic_write")
        self._lose(lock)
        return super().atomic_write(key, data, expect, lock)

    @hookimpl
    def delete(self, key: str, expect: Expectation, lock: HeldLock | None) -> None:
        self.asked.append("delete")
        self._lose(lock)
        super().delete(key, expect, lock)

    def _lose(self, lock: HeldLock | None) -> None:
        if lock is not None and self.losing:
            lock.release()
            self.losing.pop(0)()


@pytest.fixture
def backend() -> Combining:
    return Combining()


@pytest.fixture
def store(backend: Combining) -> Store:
    return open_store(backend=backend)


def nothing() -> None:
    pass


def count(current: bytes | None) -> bytes:
    return str(int(current or b"0") + 1).encode()


# Which hooks


def test_an_update_is_two_calls(store: Store, backend: Combining) -> None:
    assert store.update("a", count) == version_of(b"1")
    assert store.update("a", count) == version_of(b"2")
    assert backend.asked == ["lock_and_read", "write_and_release"] * 2
    store.lock("a", timeout=0).release()


def test_an_update_that_changes_nothing_releases_the_lock(store: Store, backend: Combining) -> None:
    version = store.atomic_write("a", b"1")
    assert store.update("a", lambda current: current or b"") == version
    store.lock("a", timeout=0).release()


def test_an_update_under_a_lock_of_the_caller_keeps_it(store: Store, backend: Combining) -> None:
    with store.lock("a") as held:
        store.update("a", count, lock=held)
        held.ensure_held()
    assert backend.asked == ["lock", "read_snapshot", "atomic_write"]


def test_a_condition_is_compared_under_the_lock_in_two_calls(store: Store, backend: Combining) -> None:
    store.atomic_write("a", b"1", expect=ABSENT)
    store.atomic_write("a", b"2", expect=version_of(b"1"))
    with pytest.raises(DocumentExists) as exists:
        store.atomic_write("a", b"3", expect=ABSENT)
    with pytest.raises(VersionConflict) as conflict:
        store.atomic_write("a", b"3", expect=version_of(b"1"))
    assert backend.asked == ["lock_and_read", "write_and_release"] * 2 + ["lock_and_read"] * 2
    assert exists.value.found == conflict.value.found == version_of(b"2")
    assert (conflict.value.key, conflict.value.expected) == ("a", version_of(b"1"))
    store.lock("a", timeout=0).release()


def test_a_conditional_deletion_compares_under_the_lock(store: Store, backend: Combining) -> None:
    with pytest.raises(DocumentNotFound):
        store.delete("a", expect=version_of(b"1"))
    store.atomic_write("a", b"1")
    with pytest.raises(VersionConflict):
        store.delete("a", expect=version_of(b"2"))
    store.delete("a", expect=version_of(b"1"))
    with pytest.raises(DocumentNotFound):
        store.read_snapshot("a")
    store.lock("a", timeout=0).release()


class Watching(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.seen: list[Observation] = []

    def around(self, observation: Observation) -> Any:
        from contextlib import nullcontext

        self.seen.append(observation)
        return nullcontext()


def test_an_observer_of_the_package_sees_each_combined_call_once(backend: Combining) -> None:
    watching = Watching()
    store = open_store(backend=backend, observers=[watching])
    store.update("a", lambda _: b"123")
    store.update("a", lambda _: b"45")
    assert [(each.operation, each.size, each.outcome) for each in watching.seen] == [
        ("lock_and_read", None, "done"),
        ("write_and_release", 3, "done"),
        ("lock_and_read", 3, "done"),
        ("write_and_release", 2, "done"),
    ]


def test_an_observer_that_knows_only_the_single_hooks_misses_nothing(backend: Combining) -> None:
    class Writes:
        seen = 0

        @hookimpl(wrapper=True)
        def atomic_write(self) -> Any:
            self.seen += 1
            return (yield)

    writes = Writes()
    store = open_store(backend=backend, observers=[Watching(), writes])
    store.update("a", count)
    assert writes.seen == 1
    assert backend.asked == ["lock", "read_snapshot", "atomic_write"]


def test_a_plan_of_faults_meets_the_single_hooks(backend: Combining) -> None:
    plan = FaultPlan()
    open_store(backend=backend, observers=[plan]).update("a", count)
    assert [plan.calls(hook) for hook in ("lock", "read_snapshot", "atomic_write")] == [1, 1, 1]


def test_a_backend_with_one_of_the_two_hooks_is_asked_for_neither() -> None:
    class Half(MemoryBackend):
        @hookimpl
        def lock_and_read(
            self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
        ) -> tuple[HeldLock, Snapshot | None]:
            raise AssertionError

    assert open_store(backend=Half(Memory())).update("a", count) == version_of(b"1")


def test_a_lock_with_something_else_than_a_document_is_the_backends_fault_and_is_released(backend: Combining) -> None:
    class Wrong(Combining):
        @hookimpl
        def lock_and_read(  # type: ignore[override]
            self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
        ) -> tuple[HeldLock, bytes]:
            return MemoryBackend.lock(self, key, owner, timeout, cancelled), b"1"

    store = open_store(backend=Wrong())
    with pytest.raises(PluginError, match="lock_and_read"):
        store.update("a", count)
    store.lock("a", timeout=0).release()


def test_a_lock_that_was_unavailable_is_asked_for_again(store: Store, backend: Combining) -> None:
    backend.failing = [BackendUnavailable("not now")]
    assert store.update("a", count) == version_of(b"1")
    assert backend.asked == ["lock_and_read", "lock_and_read", "write_and_release"]


@pytest.mark.parametrize(
    "work",
    [
        lambda store: store.lock("a"),
        lambda store: store.update("a", count),
        lambda store: store.atomic_write("a", b"1", expect=ABSENT),
        lambda store: store.delete("a", expect=version_of(b"1")),
    ],
)
def test_a_store_that_was_closed_leaves_no_turn_behind(work: Callable[[Store], object]) -> None:
    address = "memory://closed-without-a-turn"
    closed = open_store(address)
    closed.close()
    with pytest.raises(NotSupported):
        work(closed)
    with open_store(address) as store:
        store.lock("a", timeout=0, holder="another").release()


# A lock that is lost


def test_an_update_that_has_lost_its_lock_takes_a_new_one(store: Store, backend: Combining) -> None:
    store.atomic_write("a", b"1")
    backend.losing = [nothing, nothing]
    calls: list[bytes | None] = []

    def change(current: bytes | None) -> bytes:
        calls.append(current)
        return count(current)

    assert store.update("a", change) == version_of(b"2")
    assert calls == [b"1"], "the document was the same, so there was nothing to change anew"


def test_a_change_is_called_again_where_the_document_has_changed_since_the_lock_was_lost(
    store: Store, backend: Combining
) -> None:
    other = open_store(backend=MemoryBackend(backend._memory))
    backend.losing = [lambda: other.update("a", count)]
    assert store.update("a", count) == version_of(b"2")


def test_a_change_on_a_condition_that_has_lost_its_lock_compares_again(store: Store, backend: Combining) -> None:
    other = open_store(backend=MemoryBackend(backend._memory))
    store.atomic_write("a", b"1")
    backend.losing = [nothing]
    store.atomic_write("a", b"2", expect=version_of(b"1"))
    backend.losing = [nothing]
    store.delete("a", expect=version_of(b"2"))
    backend.losing = [lambda: other.atomic_write("a", b"theirs")]
    with pytest.raises(DocumentExists):
        store.atomic_write("a", b"3", expect=ABSENT)
    backend.losing = [lambda: other.atomic_write("a", b"and theirs")]
    with pytest.raises(VersionConflict):
        store.delete("a", expect=version_of(b"theirs"))
    store.lock("a", timeout=0).release()


def test_the_lock_of_the_caller_is_lost_for_good(store: Store, backend: Combining) -> None:
    backend.losing = [nothing]
    with store.lock("a") as held, pytest.raises(LockLost):
        store.update("a", count, lock=held)
    backend.losing = [nothing]
    with store.lock("a") as held, pytest.raises(LockLost):
        store.atomic_write("a", b"1", lock=held)
    assert store.list_keys() == []


def test_locks_that_are_lost_again_and_again_are_given_up_when_the_time_is_over(
    store: Store, backend: Combining
) -> None:
    backend.losing = [nothing] * 10_000
    with pytest.raises(LockLost) as lost:
        store.update("a", count, timeout=0.2)
    assert lost.value.key == "a"
    assert 2 < backend.asked.count("write_and_release") < 10_000
    backend.losing = [nothing]
    assert store.update("a", count, timeout=0) == version_of(b"1"), "one new lock is always asked for"


def test_a_lost_lock_that_somebody_else_keeps_is_waited_for_until_the_time_is_over(
    store: Store, backend: Combining
) -> None:
    other = open_store(backend=MemoryBackend(backend._memory))
    theirs: list[StoreLock] = []
    backend.losing = [lambda: theirs.append(other.lock("a"))]
    with pytest.raises(LockTimeout) as caught:
        store.update("a", count, timeout=0.1)
    assert isinstance(caught.value.__cause__, LockLost)


def test_a_lost_lock_that_the_change_itself_speaks_of_is_the_callers(store: Store, backend: Combining) -> None:
    mine = LockLost("mine")

    def change(_: bytes | None) -> bytes:
        raise mine

    with pytest.raises(LockLost) as caught:
        store.update("a", change)
    assert caught.value is mine
    assert backend.asked == ["lock_and_read"]
    store.lock("a", timeout=0).release()


def test_others_of_this_process_queue_until_the_update_that_lost_its_lock_is_done(
    store: Store, backend: Combining
) -> None:
    order: list[str] = []
    second = threading.Thread(target=lambda: store.update("a", lambda _: (order.append("second"), b"2")[1]))
    backend.losing = [nothing, nothing, second.start]

    def change(_: bytes | None) -> bytes:
        order.append("first")
        return b"1"

    store.update("a", change)
    second.join(10)
    assert order == ["first", "second"]
    assert store.read_snapshot("a").data == b"2"


def test_a_change_cannot_take_the_lock_that_it_is_called_under(store: Store) -> None:
    with pytest.raises(LockAlreadyHeld):
        store.update("a", lambda _: store.lock("a") and b"")


@pytest.mark.anyio
async def test_an_update_of_a_task_that_has_lost_its_lock_takes_a_new_one(store: Store, backend: Combining) -> None:
    backend.losing = [nothing, nothing]
    assert await store.aio.update("a", count) == version_of(b"1")
    backend.losing = [nothing]
    await store.aio.atomic_write("a", b"2", expect=version_of(b"1"))
    assert store.read_snapshot("a").data == b"2"
    async with store.aio.lock("a", timeout=0):
        pass


def test_a_release_that_fails_is_no_failure_of_the_write(backend: Combining, caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Combining):
        @hookimpl
        def lock_and_read(
            self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
        ) -> tuple[HeldLock, Snapshot | None]:
            held, snapshot = super().lock_and_read(key, owner, timeout, cancelled)
            release = held.release

            def fails() -> None:
                release()
                raise StoreError("the cable")

            held.release = fails  # type: ignore[method-assign]
            return held, snapshot

        @hookimpl
        def write_and_release(self, key: str, data: bytes, expect: Expectation, lock: HeldLock) -> Version:
            return MemoryBackend.atomic_write(self, key, data, expect, lock)

    with caplog.at_level(logging.WARNING, "exlab_store"):
        assert open_store(backend=Stuck()).update("a", count) == version_of(b"1")
    assert "could not be released" in caplog.text
