"""What a backend's lock raises passes the same gate as its hooks, and a lock stays in the process that took it."""

from __future__ import annotations

import copy
import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from exlab_store_memory import MemoryBackend
from exlab_store_memory.backend import Memory, MemoryLock

from exlab_store import (
    BackendUnavailable,
    HeldLock,
    LockLost,
    LockOwner,
    PluginError,
    Secret,
    Snapshot,
    Store,
    StoreError,
    Version,
    hookimpl,
    open_store,
    version_of,
)
from exlab_store.hooks.calls import BackendHooks
from exlab_store.location import Location
from exlab_store.testing.faults import FaultPlan, after

SECRET = "correct horse"


class Stubborn(MemoryLock):
    """A lock whose release fails when it has let go."""

    def release(self) -> NoReturn:
        super().release()
        raise OSError(f"the server at somebody:{SECRET}@nas has gone away")


class Ignorant(MemoryLock):
    """A lock that cannot tell whether it is held."""

    def ensure_held(self) -> NoReturn:
        raise OSError(f"the server at somebody:{SECRET}@nas has gone away")


class StubbornBackend(MemoryBackend):
    """Its locks are stubborn."""

    kind: type[MemoryLock] = Stubborn

    def __init__(self) -> None:
        super().__init__(Memory())

    @hookimpl
    def lock(self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]) -> HeldLock:
        held = super().lock(key, owner, timeout, cancelled)
        assert isinstance(held, MemoryLock)
        held.__class__ = self.kind
        return held


class IgnorantBackend(StubbornBackend):
    """Its locks cannot tell whether they are held."""

    kind = Ignorant


class Unfenced(IgnorantBackend):
    """The core itself has to ask whether a lock is held."""

    guarantees = msgspec.structs.replace(StubbornBackend.guarantees, fenced=False, conditional_write="locked")


class CombiningBackend(StubbornBackend):
    """It locks and reads in one call."""

    @hookimpl
    def lock_and_read(
        self, key: str, owner: LockOwner, timeout: float, cancelled: Callable[[], bool]
    ) -> tuple[HeldLock, Snapshot | None]:
        return self.lock(key, owner, timeout, cancelled), None

    @hookimpl
    def write_and_release(self, key: str, data: bytes, expect: Any, lock: HeldLock) -> Version:
        self._memory.documents[key] = data
        return version_of(data)


def opened(backend: MemoryBackend) -> Store:
    hooks = BackendHooks(backend, secrets=[Secret(SECRET)], url_of=lambda key: f"memory://lab/{key}")
    return Store(hooks, Location.parse("memory://lab"), None)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "exlab_store")
    return caplog


def _write_locked(store: Store) -> object:
    with store.lock("a.json"):
        return store.atomic_write("a.json", b"1")


def _update_locked(store: Store) -> object:
    with store.lock("a.json") as held:
        return store.update("a.json", lambda _: b"1", lock=held)


CHANGES = {
    "a write in the block of a lock": _write_locked,
    "an update": lambda store: store.update("a.json", lambda _: b"1"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("backend", [StubbornBackend, CombiningBackend])
def test_a_release_that_fails_is_logged_and_no_failure_of_the_write(
    backend: type[StubbornBackend], change: Callable[[Store], object], log: pytest.LogCaptureFixture
) -> None:
    with opened(backend()) as store:
        change(store)
        assert store.read_snapshot("a.json").data == b"1"
    (record,) = log.records
    assert record.name == "exlab_store"
    assert "memory://lab/a.json could not be released" in record.getMessage()
    assert SECRET not in log.text


@pytest.mark.anyio
async def test_a_release_that_fails_is_no_failure_of_a_coroutine_either(log: pytest.LogCaptureFixture) -> None:
    with opened(StubbornBackend()) as store:
        async with store.aio.lock("a.json"):
            await store.aio.atomic_write("a.json", b"1")
        assert (await store.aio.read_snapshot("a.json")).data == b"1"
    assert "could not be released" in log.text
    assert SECRET not in log.text


def test_after_a_release_that_failed_the_turn_is_somebody_elses() -> None:
    with opened(StubbornBackend()) as store:
        for _ in range(3):
            store.lock("a.json", timeout=0).release()


def test_the_error_of_a_block_comes_out_whatever_its_release_does() -> None:
    with opened(StubbornBackend()) as store, pytest.raises(ZeroDivisionError), store.lock("a.json"):
        raise ZeroDivisionError


def test_the_error_of_a_change_comes_out_whatever_its_release_does() -> None:
    def fails(_: bytes | None) -> bytes:
        raise ZeroDivisionError

    with opened(StubbornBackend()) as store, pytest.raises(ZeroDivisionError):
        store.update("a.json", fails)


def test_an_ordered_fault_comes_out_whatever_the_release_does() -> None:
    plan = FaultPlan(after("lock", raises=BackendUnavailable("the cable")))
    store = open_store(backend=StubbornBackend(), observers=[plan], retry=None)
    with pytest.raises(BackendUnavailable, match="the cable"):
        store.lock("a.json")


def test_a_lock_that_cannot_tell_whether_it_is_held_is_a_fault_of_the_plugin() -> None:
    with opened(IgnorantBackend()) as store, store.lock("a.json") as held:
        with pytest.raises(PluginError) as caught:
            held.ensure_held()
        assert caught.value.key == "a.json"
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None  # it would tell the secret


@pytest.mark.parametrize("change", [_update_locked, CHANGES["an update"]], ids=["own lock", "the core's lock"])
def test_a_write_before_which_the_core_cannot_look_at_the_lock_says_so_and_does_not_happen(
    change: Callable[[Store], object],
) -> None:
    with opened(Unfenced()) as store:
        with pytest.raises(PluginError) as caught:
            change(store)
        assert SECRET not in str(caught.value)
        with pytest.raises(FileNotFoundError):
            store.read_snapshot("a.json")


def test_a_lost_lock_is_said_as_the_backend_says_it() -> None:
    with open_store("memory://") as store:
        held = store.lock("a.json")
        held.inner.release()
        with pytest.raises(LockLost, match="released"):
            held.ensure_held()


def test_a_lock_without_an_owner_is_a_fault_of_the_plugin() -> None:
    with open_store("memory://") as store, store.lock("a.json") as held:
        held.inner.owner = "me"  # type: ignore[misc,assignment]
        with pytest.raises(PluginError, match="LockOwner"):
            _ = held.owner


def test_a_release_that_a_store_error_ends_is_logged_too(log: pytest.LogCaptureFixture) -> None:
    class Unreachable(MemoryLock):
        def release(self) -> NoReturn:
            super().release()
            raise StoreError(f"no answer from somebody:{SECRET}@nas")

    with opened(StubbornBackend()) as store, store.lock("a.json") as held:
        held.inner.__class__ = Unreachable
    assert "no answer from somebody:***@nas" in log.text


WAYS = {"pickled": pickle.dumps, "copied": copy.copy, "copied deeply": copy.deepcopy}
if sys.version_info >= (3, 13):
    WAYS["copied with changes"] = copy.replace


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_held_lock_belongs_to_its_process(way: Callable[[object], object], store: Store) -> None:
    with store.lock("a.json") as held:
        for lock in (held, held.inner):
            with pytest.raises(TypeError, match="belongs to the process"):
                way(lock)


def test_a_lock_is_refused_on_the_way_to_another_process(tmp_path: Path) -> None:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with open_store(tmp_path) as store, store.lock("a.json") as held:
        process = context.Process(target=print, args=(held,))
        with pytest.raises(TypeError, match="belongs to the process"):
            process.start()


def test_a_store_is_opened_in_each_process(store: Store) -> None:
    with pytest.raises(TypeError, match="open the store"):
        pickle.dumps(store)
