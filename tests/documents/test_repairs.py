"""A repair keeps one copy of the corrupt bytes, only when the document is replaced [§11.9]."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from exlab_store_memory.backend import Memory, MemoryBackend
from exlab_store_posix.directories import Directories
from lab_documents import CONFOCAL, TEST_RUNS, stored_equipment

from exlab_store import (
    ANY,
    LockLost,
    LockOwner,
    LockTimeout,
    StorageFull,
    Store,
    WriteOutcomeUnknown,
    hookimpl,
    open_store,
)
from exlab_store.documents import DocumentInvalid, DocumentKind, EquipmentCacheWriter, EquipmentJson
from exlab_store.testing.faults import FaultPlan, after, before, lost_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exlab_store import HeldLock, Version
    from exlab_store.model import Expectation
    from exlab_store.testing.faults import Fault

KIND = DocumentKind(EquipmentJson, "1.0")
KEY = "E/equipment.json"
CORRUPT = b'{"id": 1'
OTHER = LockOwner(id="0123456789abcdef", host="other", user="anna", pid=1, since="2026-01-01T00:00:00Z")


def write(store: Store) -> None:
    KIND.update(store / KEY, lambda _: CONFOCAL)


def awrite(store: Store) -> None:
    anyio.run(EquipmentCacheWriter().write_equipment, store / KEY, CONFOCAL)


def mark(store: Store) -> None:
    anyio.run(EquipmentCacheWriter().write_test_runs_marker, store / KEY, TEST_RUNS)


def copies(store: Store) -> list[bytes]:
    return [store.read_snapshot(key).data for key in store.list_keys() if ".corrupt-" in key]


def failing(place: Path, *faults: Fault) -> Store:
    """A store whose documents cannot be replaced. The copy is no write of a document there."""
    (place / "E").mkdir(exist_ok=True)
    (place / KEY).write_bytes(CORRUPT)
    return open_store(place, observers=[FaultPlan(*faults)], retry=None)


@pytest.fixture(params=[write, awrite, mark])
def repair(request: pytest.FixtureRequest) -> Callable[[Store], None]:
    found: Callable[[Store], None] = request.param
    return found


def test_a_repair_that_fails_adds_nothing(tmp_path: Path, repair: Callable[[Store], None]) -> None:
    with failing(tmp_path, before("atomic_write", times=None, raises=StorageFull("full"))) as store:
        for _ in range(3):
            with pytest.raises(StorageFull):
                repair(store)
        assert store.list_keys() == [KEY]


def test_a_repair_that_fails_does_not_say_that_it_was_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = before("atomic_write", raises=StorageFull("full"))
    with (
        failing(tmp_path, full) as store,
        caplog.at_level(logging.WARNING, logger="exlab_store"),
        pytest.raises(StorageFull),
    ):
        write(store)
    assert caplog.records == []


def test_a_copy_stays_where_the_document_may_have_been_replaced(tmp_path: Path) -> None:
    unknown = after("atomic_write", raises=WriteOutcomeUnknown("lost", intended=None))
    with failing(tmp_path, unknown) as store:
        with pytest.raises(WriteOutcomeUnknown):
            write(store)
        assert copies(store) == [CORRUPT]


@pytest.mark.parametrize("times", [2, 3])
def test_one_content_is_kept_once_however_often_it_comes_back(
    store: Store, repair: Callable[[Store], None], times: int
) -> None:
    for _ in range(times):
        store.atomic_write(KEY, CORRUPT)
        repair(store)
    assert copies(store) == [CORRUPT]


def test_the_copy_of_a_failed_repair_that_could_not_be_taken_back_is_used_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "E").mkdir()
    (tmp_path / "E" / "equipment.json.corrupt-20200101T000000Z").write_bytes(CORRUPT)
    (tmp_path / KEY).write_bytes(CORRUPT)
    with open_store(tmp_path) as store:
        write(store)
        assert copies(store) == [CORRUPT]


def test_a_long_name_is_kept_once_too(store: Store) -> None:
    key = "x" * 250 + ".json"
    for _ in range(2):
        for data in (b"corrupt 1", b"corrupt 2", b"corrupt 3"):
            store.atomic_write(key, data)
            KIND.update(store / key, lambda _: CONFOCAL)
    assert sorted(copies(store)) == [b"corrupt 1", b"corrupt 2", b"corrupt 3"]


def test_the_copies_of_another_document_are_not_taken_for_this_ones(store: Store) -> None:
    for name in ("a.json", "b.json"):
        store.atomic_write(name, CORRUPT)
        KIND.update(store / name, lambda _: CONFOCAL)
    assert copies(store) == [CORRUPT, CORRUPT]


@pytest.mark.parametrize("bad", [{"label": 5}, None], ids=["a payload that does not fit", "no payload"])
def test_what_cannot_be_written_makes_no_copy(memory: Store, bad: dict[str, Any] | None) -> None:
    import msgspec

    memory.atomic_write(KEY, CORRUPT)
    new: Any = None if bad is None else msgspec.structs.replace(CONFOCAL, **bad)
    with pytest.raises((DocumentInvalid, TypeError)):
        KIND.update(memory / KEY, lambda _: new)
    assert memory.list_keys() == [KEY]


def test_a_change_that_fails_makes_no_copy(memory: Store) -> None:
    def change(_: EquipmentJson | None) -> EquipmentJson:
        raise LookupError

    memory.atomic_write(KEY, CORRUPT)
    with pytest.raises(LookupError):
        KIND.update(memory / KEY, change)
    assert memory.list_keys() == [KEY]


def test_who_puts_a_sound_document_there_meanwhile_is_not_told_of_a_copy(memory: Store) -> None:
    memory.atomic_write(KEY, CORRUPT)

    def change(found: EquipmentJson | None) -> EquipmentJson:
        if found is None:  # somebody who takes no lock writes between the reading and the writing
            memory.atomic_write(KEY, stored_equipment(site="B7"))
            return CONFOCAL
        return found

    KIND.update(memory / KEY, change)
    assert memory.list_keys() == [KEY]
    assert b'"site":"B7"' in memory.read_snapshot(KEY).data


def test_a_folder_below_that_may_not_be_listed_does_not_stop_a_repair(tmp_path: Path) -> None:
    (tmp_path / "E" / "closed").mkdir(parents=True)
    (tmp_path / KEY).write_bytes(CORRUPT)
    with open_store(
        tmp_path, observers=[FaultPlan(before("list_keys", raises=StorageFull("no")))], retry=None
    ) as store:
        write(store)
        assert copies(store) == [CORRUPT]


# Repairs that end halfway


def test_a_repair_whose_lock_is_lost_until_the_time_is_over_adds_nothing(tmp_path: Path) -> None:
    with failing(tmp_path, lost_lock(times=None)) as store:
        with pytest.raises(LockLost):
            KIND.update(store / KEY, lambda _: CONFOCAL, timeout=0.2)
        assert (store.list_keys(), store.read_snapshot(KEY).data) == ([KEY], CORRUPT)


def test_a_marker_whose_lock_is_lost_until_the_time_is_over_adds_nothing(tmp_path: Path) -> None:
    with failing(tmp_path, lost_lock(times=None)) as store:
        writer = EquipmentCacheWriter(lock_timeout=0.2)
        with pytest.raises(LockLost):
            anyio.run(writer.write_test_runs_marker, store / KEY, TEST_RUNS)
        assert (store.list_keys(), store.read_snapshot(KEY).data) == ([KEY], CORRUPT)


class LosingItsLocks(MemoryBackend):
    """Its locks are lost right before each write under them; then others have a moment."""

    def __init__(self, others: Callable[[MemoryBackend], object]) -> None:
        memory = Memory()
        super().__init__(memory)
        self._others = others
        self._other = MemoryBackend(memory)

    @hookimpl
    def atomic_write(self, key: str, data: bytes, expect: Expectation, lock: HeldLock | None) -> Version:
        if lock is not None:
            lock.release()
            self._others(self._other)
        return super().atomic_write(key, data, expect, lock)


def test_a_copy_stays_that_another_may_have_found_who_repaired_the_document_meanwhile() -> None:
    with open_store(
        backend=LosingItsLocks(lambda other: other.atomic_write(KEY, stored_equipment(), ANY, None))
    ) as store:
        store.atomic_write(KEY, CORRUPT)
        with pytest.raises(LockLost):
            KIND.update(store / KEY, lambda _: CONFOCAL, timeout=0.2)
        assert copies(store) == [CORRUPT]


def test_a_copy_stays_where_another_has_the_lock_when_the_time_is_over() -> None:
    with open_store(backend=LosingItsLocks(lambda other: other.lock(KEY, OTHER, 0.0, lambda: False))) as store:
        store.atomic_write(KEY, CORRUPT)
        with pytest.raises(LockTimeout):
            KIND.update(store / KEY, lambda _: CONFOCAL, timeout=0.2)
        assert copies(store) == [CORRUPT]


def test_a_copy_that_may_not_survive_a_power_cut_is_taken_back(
    tmp_path: Path, repair: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    with failing(tmp_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(Directories, "settle", refuse)
            with pytest.raises(WriteOutcomeUnknown):
                repair(store)
        assert (store.list_keys(), store.read_snapshot(KEY).data) == ([KEY], CORRUPT)


class TimeUp(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("when", [before, after])
def test_a_strike_while_the_copy_is_made_leaves_none(
    tmp_path: Path, repair: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch, when: Callable[..., Fault]
) -> None:
    keep_copy = Store.keep_copy

    def struck(self: Store, key: str, copy: str, data: bytes) -> bool:
        if when is after:
            keep_copy(self, key, copy, data)
        raise TimeUp

    with failing(tmp_path) as store:
        with monkeypatch.context() as patched:
            patched.setattr(Store, "keep_copy", struck)
            with pytest.raises(TimeUp):
                repair(store)
        assert (store.list_keys(), store.read_snapshot(KEY).data) == ([KEY], CORRUPT)
